//! `is-active`, `is-failed`, `is-enabled`, `is-system-running`: a word and an exit code.

use super::job::full_names;
use super::properties::Properties;
use super::{Outcome, Session, Trouble};

/// LSB: program is not running.
const NOT_RUNNING: u8 = 3;

pub(super) fn is_active(session: &mut Session<'_>, units: &[String]) -> Outcome {
    check(session, units, NOT_RUNNING, |state| matches!(state, "active" | "reloading"))
}

pub(super) fn is_failed(session: &mut Session<'_>, units: &[String]) -> Outcome {
    check(session, units, 1, |state| state == "failed")
}

fn check(session: &mut Session<'_>, units: &[String], otherwise: u8, good: fn(&str) -> bool) -> Outcome {
    let mut code = otherwise;
    for name in session.expand(units)? {
        let properties = Properties::of_unit(&mut session.client, &name)?;
        let state = properties.text("ActiveState").to_owned();
        if good(&state) {
            code = 0;
        }
        if !session.options.quiet {
            session.say(&state)?;
        }
    }
    Ok(code)
}

pub(super) fn is_enabled(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let mut code = 1;
    for name in full_names(units) {
        match session.client.manager::<_, String>("GetUnitFileState", &name) {
            Ok(state) => {
                let good = ["enabled", "enabled-runtime", "static", "alias", "indirect", "generated"];
                if good.contains(&state.as_str()) {
                    code = 0;
                }
                if !session.options.quiet {
                    session.say(&state)?;
                }
            }
            Err(trouble @ Trouble::Refused { .. }) => {
                session.complain(&format!("Failed to get unit file state for {name}: {trouble}"));
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(code)
}

pub(super) fn is_system_running(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let state = Properties::of_manager(&mut session.client)?.text("SystemState").to_owned();
    if !session.options.quiet {
        session.say(&state)?;
    }
    Ok(u8::from(state != "running"))
}
