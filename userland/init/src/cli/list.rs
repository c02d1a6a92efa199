//! `list-units`, `list-unit-files`, `list-jobs`: tables.

use std::path::Path;

use unit::UnitName;
use zvariant::OwnedObjectPath;

use super::names::by_type;
use super::table::Table;
use super::{Outcome, Session, Trouble, colour};

/// The mark in front of a unit: only what needs attention has one.
fn attention(load: &str, active: &str) -> &'static str {
    match (load, active) {
        (_, "failed") => "●",
        ("loaded", _) => " ",
        ("masked", _) => "○",
        _ => "●",
    }
}

pub(super) fn units(session: &mut Session<'_>, patterns: &[String]) -> Outcome {
    let mut states = session.options.state.clone();
    if session.options.failed {
        states.push("failed".into());
    }
    let mut lines = session.units(&states, patterns)?;
    let everything = session.options.all || !states.is_empty() || !patterns.is_empty();
    let types = session.options.types.clone();
    lines.retain(|(name, _, _, active, _, following, _, job, ..)| {
        let kind = name.rsplit('.').next().unwrap_or_default();
        let shown = everything || (following.is_empty() && (active != "inactive" || *job > 0));
        shown && (types.is_empty() || types.iter().any(|wanted| wanted == kind))
    });
    let with_jobs = lines.iter().any(|line| line.7 > 0);
    let mut table = match with_jobs {
        true => Table::new(&["UNIT", "LOAD", "ACTIVE", "SUB", "JOB", "DESCRIPTION"]),
        false => Table::new(&["UNIT", "LOAD", "ACTIVE", "SUB", "DESCRIPTION"]),
    };
    for (name, description, load, active, sub, _, _, _, job, _) in lines {
        let mark = colour::of_state(attention(&load, &active), &active, session.options.colour);
        let mut cells = vec![name, load, active, sub];
        if with_jobs {
            cells.push(job);
        }
        cells.push(description);
        table.row(&mark, cells);
    }
    let legend = !session.options.no_legend;
    write!(session.out, "{}", table.text(!session.options.plain, legend))?;
    if legend {
        let count = table.len();
        if table.is_empty() {
            closing(session, count, &states)?;
            return Ok(0);
        }
        session.say(concat!(
            "\nLOAD   = Reflects whether the unit definition was properly loaded.\n",
            "ACTIVE = The high-level unit activation state, i.e. generalization of SUB.\n",
            "SUB    = The low-level unit activation state, values depend on unit type."
        ))?;
        if with_jobs {
            session.say("JOB    = Pending job for the unit.")?;
        }
        closing(session, count, &states)?;
    }
    Ok(0)
}

/// How many there are, and how to see more.
fn closing(session: &mut Session<'_>, count: usize, states: &[String]) -> Result<(), Trouble> {
    let all = session.options.all || states.iter().any(|state| state == "inactive");
    let text = match (all, states.is_empty()) {
        (true, _) => format!("{count} loaded units listed."),
        (false, true) => {
            format!("{count} loaded units listed. Pass --all to see loaded but inactive units, too.")
        }
        (false, false) => return session.say(&format!("{count} loaded units listed.")),
    };
    session.say(&text)?;
    session.say("To show all installed unit files use 'systemctl list-unit-files'.")
}

pub(super) fn unit_files(session: &mut Session<'_>, patterns: &[String]) -> Outcome {
    let arguments = (&session.options.state, patterns);
    let mut files: Vec<(String, String)> = session.client.manager("ListUnitFilesByPatterns", &arguments)?;
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    files.sort_by_cached_key(|(path, _)| by_type(&name(path)));
    let types = &session.options.types;
    let mut table = Table::new(&["UNIT FILE", "STATE", "PRESET"]);
    for (path, state) in files {
        let name = name(&path);
        if types.is_empty() || types.iter().any(|wanted| name.ends_with(&format!(".{wanted}"))) {
            let preset = preset(&name, &state).to_owned();
            table.row("", vec![name, state, preset]);
        }
    }
    let legend = !session.options.no_legend;
    write!(session.out, "{}", table.text(false, legend))?;
    if legend {
        session.say(&format!("\n{} unit files listed.", table.len()))?;
    }
    Ok(u8::from(table.is_empty() && !patterns.is_empty()))
}

/// What the preset files say of it, where that is of any use.
fn preset(name: &str, state: &str) -> &'static str {
    let name = UnitName::parse(name)
        .ok()
        .filter(|_| !matches!(state, "alias" | "static" | "generated" | "transient"));
    match name.map(|name| crate::catalog::is_preset(Path::new("/"), &name)) {
        Some(true) => "enabled",
        Some(false) => "disabled",
        None => "-",
    }
}

pub(super) fn jobs(session: &mut Session<'_>, patterns: &[String]) -> Outcome {
    type Job = (u32, String, String, String, OwnedObjectPath, OwnedObjectPath);
    let mut jobs: Vec<Job> = session.client.manager("ListJobs", &())?;
    let named = |unit: &str| patterns.iter().any(|pattern| crate::dbus::glob::matches(pattern, unit));
    jobs.retain(|job| patterns.is_empty() || named(&job.1));
    jobs.sort_by_key(|job| job.0);
    let mut table = Table::new(&["JOB", "UNIT", "TYPE", "STATE"]);
    for (id, unit, kind, state, ..) in jobs {
        table.row("", vec![id.to_string(), unit, kind, state]);
    }
    let legend = !session.options.no_legend;
    if table.is_empty() {
        if legend {
            session.say("No jobs running.")?;
        }
        return Ok(0);
    }
    write!(session.out, "{}", table.text(false, legend))?;
    if legend {
        session.say(&format!("\n{} jobs listed.", table.len()))?;
    }
    Ok(0)
}
