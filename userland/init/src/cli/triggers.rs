//! `list-sockets`, `list-timers`, `list-automounts`, `list-paths`: the units that start others, and when.

use zvariant::Value;

use super::names::Line;
use super::properties::Properties;
use super::table::Table;
use super::{Outcome, Session, Trouble, time};

/// What is not known.
const NONE: &str = "-";

/// The units of a type, with their properties.
fn of_type(
    session: &mut Session<'_>,
    kind: &str,
    patterns: &[String],
) -> Result<Vec<(String, Properties)>, Trouble> {
    let all = session.options.all;
    let states = session.options.state.clone();
    let meant = |line: &Line| line.0.ends_with(kind) && (all || line.3 != "inactive" || !states.is_empty());
    let names: Vec<String> =
        session.units(&states, patterns)?.into_iter().filter(meant).map(|line| line.0).collect();
    names
        .into_iter()
        .map(|name| Ok((name.clone(), Properties::of_unit(&mut session.client, &name)?)))
        .collect()
}

/// The table, and how many there are of what.
fn tell(session: &mut Session<'_>, table: &Table, count: usize, what: &str) -> Outcome {
    let legend = !session.options.no_legend;
    write!(session.out, "{}", table.text(false, legend))?;
    if legend {
        session.say(&format!("\n{count} {what} listed."))?;
        if !session.options.all {
            session.say(&format!("Pass --all to see loaded but inactive {what}, too."))?;
        }
    }
    Ok(0)
}

fn activates(properties: &Properties) -> String {
    let units = properties.list("Triggers");
    if units.is_empty() { NONE.into() } else { units.join(", ") }
}

/// An array of two texts each.
fn pairs(properties: &Properties, name: &str) -> Vec<(String, String)> {
    let Some(Value::Array(array)) = properties.get(name) else { return Vec::new() };
    let pair = |item: &Value<'_>| match item {
        Value::Structure(fields) => match fields.fields() {
            [Value::Str(left), Value::Str(right)] => Some((left.to_string(), right.to_string())),
            _ => None,
        },
        _ => None,
    };
    array.iter().filter_map(pair).collect()
}

pub(super) fn sockets(session: &mut Session<'_>, patterns: &[String]) -> Outcome {
    let mut rows = Vec::new();
    let units = of_type(session, ".socket", patterns)?;
    for (name, properties) in &units {
        for (_, address) in pairs(properties, "Listen") {
            rows.push(vec![address, name.clone(), activates(properties)]);
        }
    }
    rows.sort();
    let mut table = Table::new(&["LISTEN", "UNIT", "ACTIVATES"]);
    let count = rows.len();
    rows.into_iter().for_each(|row| table.row("", row));
    tell(session, &table, count, "sockets")
}

pub(super) fn paths(session: &mut Session<'_>, patterns: &[String]) -> Outcome {
    let mut rows = Vec::new();
    for (name, properties) in of_type(session, ".path", patterns)? {
        for (kind, path) in pairs(&properties, "Paths") {
            rows.push(vec![path, kind, name.clone(), activates(&properties)]);
        }
    }
    rows.sort();
    let mut table = Table::new(&["PATH", "CONDITION", "UNIT", "ACTIVATES"]);
    let count = rows.len();
    rows.into_iter().for_each(|row| table.row("", row));
    tell(session, &table, count, "paths")
}

pub(super) fn timers(session: &mut Session<'_>, patterns: &[String]) -> Outcome {
    let (now, since_boot) = crate::manager::now();
    let mut rows: Vec<(u64, Vec<String>)> = Vec::new();
    for (name, properties) in of_type(session, ".timer", patterns)? {
        let next = next(&properties, now, since_boot);
        let last = properties.number("LastTriggerUSec");
        let moment = |usec: u64| if usec == 0 { NONE.into() } else { time::moment(usec) };
        let left = if next == 0 { NONE.into() } else { time::ago(next, now) };
        let passed = if last == 0 { NONE.into() } else { time::ago(last, now) };
        let row = vec![moment(next), left, moment(last), passed, name, activates(&properties)];
        rows.push((if next == 0 { u64::MAX } else { next }, row));
    }
    rows.sort();
    let mut table = Table::new(&["NEXT", "LEFT", "LAST", "PASSED", "UNIT", "ACTIVATES"]);
    let count = rows.len();
    rows.into_iter().for_each(|(_, row)| table.row("", row));
    tell(session, &table, count, "timers")
}

/// When a timer elapses next, by either clock, in µs since 1970; zero: never.
fn next(properties: &Properties, now: u64, since_boot: u64) -> u64 {
    let known = |name: &str| Some(properties.number(name)).filter(|usec| *usec > 0 && *usec != u64::MAX);
    let monotonic = known("NextElapseUSecMonotonic").map(|usec| (now + usec).saturating_sub(since_boot));
    known("NextElapseUSecRealtime").into_iter().chain(monotonic).min().unwrap_or(0)
}

pub(super) fn automounts(session: &mut Session<'_>, patterns: &[String]) -> Outcome {
    let mut rows = Vec::new();
    for (name, properties) in of_type(session, ".automount", patterns)? {
        let place = properties.text("Where").to_owned();
        let mount = properties.list("Triggers").into_iter().next().unwrap_or_default();
        let mounted = match mount.is_empty() {
            true => None,
            false => Some(Properties::of_unit(&mut session.client, &mount)?),
        };
        let what = mounted.as_ref().map(|mount| mount.text("What").to_owned()).unwrap_or_default();
        let active = mounted.as_ref().is_some_and(|mount| mount.text("ActiveState") == "active");
        let idle = match properties.number("TimeoutIdleUSec") {
            0 | u64::MAX => NONE.to_owned(),
            usec => time::span(usec, 1_000_000),
        };
        let or_none = |text: String| if text.is_empty() { NONE.to_owned() } else { text };
        rows.push(vec![or_none(what), place, if active { "yes" } else { "no" }.into(), idle, name]);
    }
    rows.sort_by(|a, b| a.get(1).cmp(&b.get(1)));
    let mut table = Table::new(&["WHAT", "WHERE", "MOUNTED", "IDLE TIMEOUT", "UNIT"]);
    let count = rows.len();
    rows.into_iter().for_each(|row| table.row("", row));
    tell(session, &table, count, "automounts")
}
