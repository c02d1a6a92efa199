//! One line an entry, as syslog wrote it: time, machine, program or unit, process, message.

use std::io::{self, Write};

use super::text::{LONG, Lines, blob, is_printable, plain};
use super::{Format, Row, Style};
use crate::query::{catalog, time};

/// What stands before a message.
#[derive(Default)]
struct Head<'a> {
    message: Option<&'a [u8]>,
    hostname: Option<&'a [u8]>,
    identifier: Option<&'a [u8]>,
    comm: Option<&'a [u8]>,
    pid: Option<&'a [u8]>,
    syslog_pid: Option<&'a [u8]>,
    unit: Option<&'a [u8]>,
    user_unit: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    fn of(row: &'a Row<'_>) -> Head<'a> {
        let mut head = Head::default();
        for field in row.fields {
            let Some(end) = field.iter().position(|byte| *byte == b'=') else { continue };
            let value = field.get(end + 1..);
            match field.get(..end) {
                Some(b"MESSAGE") => head.message = value,
                Some(b"_HOSTNAME") => head.hostname = value,
                Some(b"SYSLOG_IDENTIFIER") => head.identifier = value,
                Some(b"_COMM") => head.comm = value,
                Some(b"_PID") => head.pid = value,
                Some(b"SYSLOG_PID") => head.syslog_pid = value,
                Some(b"_SYSTEMD_UNIT") => head.unit = value,
                Some(b"_SYSTEMD_USER_UNIT") => head.user_unit = value,
                _ => {}
            }
        }
        head
    }
}

/// Prints an entry; one without a message is passed over.
pub fn print(row: &Row<'_>, style: &Style, out: &mut dyn Write) -> io::Result<()> {
    let head = Head::of(row);
    let Some(message) = head.message else { return Ok(()) };
    let shown = |value: Option<&'_ [u8]>| {
        value.filter(|value| style.all || value.len() < LONG && is_printable(value)).map(<[u8]>::to_vec)
    };
    let mut line = time_of(row, style.format).into_bytes();
    if let Some(hostname) = shown(head.hostname).filter(|_| !style.no_hostname) {
        line.push(b' ');
        line.extend(hostname);
    }
    // Where further lines begin, the original counts a user's unit as long as the system's, and the word for a nameless
    // program not at all.
    let (mut counted, mut uncounted) = (0, 0);
    line.push(b' ');
    let units = (shown(head.unit), shown(head.user_unit));
    if style.format == Format::WithUnit && units != (None, None) {
        let (unit, user_unit) = units;
        let slash = unit.is_some() && user_unit.is_some();
        uncounted = user_unit.as_ref().map_or(0, Vec::len);
        counted = if slash { unit.as_ref().map_or(0, Vec::len) } else { 0 };
        line.extend(unit.unwrap_or_default());
        if slash {
            line.push(b'/');
        }
        line.extend(user_unit.unwrap_or_default());
    } else if let Some(name) = shown(head.identifier).or_else(|| shown(head.comm)) {
        line.extend(name);
    } else {
        line.extend(b"unknown");
        uncounted = " unknown".len();
    }
    if let Some(pid) = shown(head.pid).or_else(|| shown(head.syslog_pid)) {
        line.push(b'[');
        line.extend(pid);
        line.push(b']');
    }
    line.extend(b": ");
    out.write_all(&line)?;

    let text = if style.all { message.into() } else { plain(message) };
    if !style.all && !is_printable(&text) {
        writeln!(out, "{}", blob(text.len()))?;
    } else {
        let colour = if style.colour { colour(row) } else { ("", "", "") };
        let highlight = row.found.clone().filter(|_| style.colour && text.len() == message.len());
        let columns = style.columns.filter(|_| !style.all);
        let lines =
            Lines { indent: (line.len() + counted).saturating_sub(uncounted), columns, colour, highlight };
        lines.print(&text, out)?;
    }
    if style.catalog { catalog::print(row, out) } else { Ok(()) }
}

/// What turns the colour of the entry's priority on and off, and a highlight within it on.
pub fn colour(row: &Row<'_>) -> (&'static str, &'static str, &'static str) {
    let on = match row.get("PRIORITY") {
        Some(b"0" | b"1" | b"2" | b"3") => "\x1b[0;1;31m",
        Some(b"4") => "\x1b[0;1;38;5;185m",
        Some(b"5") => "\x1b[0;1;39m",
        Some(b"7") => "\x1b[0;38;5;245m",
        _ => return ("", "\x1b[0m", "\x1b[0;1;31m"),
    };
    (on, "\x1b[0m", "\x1b[0;1;31m")
}

/// Seconds since boot, then those since the entry before: by the clock that may be set where that was another boot, and
/// marked so.
fn with_delta(row: &Row<'_>) -> String {
    let now = row.moment();
    let seconds = |micros: u64| format!("{:5}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let delta = match row.before {
        None => " ".repeat(16),
        Some(then) if then.boot == now.boot => {
            format!(" <{} >", seconds(now.monotonic.saturating_sub(then.monotonic)))
        }
        Some(then) => format!(" <{}*>", seconds(now.realtime.saturating_sub(then.realtime))),
    };
    format!("[{}{delta}]", seconds(now.monotonic))
}

fn time_of(row: &Row<'_>, format: Format) -> String {
    let realtime = || row.moment().realtime;
    let directives = match format {
        Format::ShortFull | Format::WithUnit => "%a %Y-%m-%d %H:%M:%S UTC",
        Format::ShortIso => "%Y-%m-%dT%H:%M:%S+0000",
        Format::ShortIsoPrecise => "%Y-%m-%dT%H:%M:%S.%6f+0000",
        Format::ShortPrecise => "%b %d %H:%M:%S.%6f",
        Format::ShortUnix => {
            let time = realtime();
            return format!("{}.{:06}", time / 1_000_000, time % 1_000_000);
        }
        Format::ShortDelta => return with_delta(row),
        Format::ShortMonotonic => {
            let time = row.moment().monotonic;
            return format!("[{:5}.{:06}]", time / 1_000_000, time % 1_000_000);
        }
        _ => "%b %d %H:%M:%S",
    };
    time::format(realtime(), directives)
}
