//! `set-property`, `freeze`, `thaw`, `clean`: what is done to units while they run, or after.

use super::{Outcome, Session, assignment};

pub(super) fn set_property(session: &mut Session<'_>, words: &[String]) -> Outcome {
    let Some((unit, assignments)) = words.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        session.complain("Too few arguments: systemctl set-property UNIT NAME=VALUE…");
        return Ok(1);
    };
    let mut settings = Vec::new();
    for text in assignments {
        match assignment::parse(text) {
            Ok(parsed) => settings.extend(parsed),
            Err(complaint) => {
                session.complain(&complaint);
                return Ok(1);
            }
        }
    }
    let runtime = session.options.runtime;
    session.each(std::slice::from_ref(unit), "set properties of", |session, name| {
        session.client.manager("SetUnitProperties", &(name, runtime, &settings))
    })
}

pub(super) fn freeze(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.each(units, "freeze", |session, name| session.client.manager("FreezeUnit", &name))
}

pub(super) fn thaw(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.each(units, "thaw", |session, name| session.client.manager("ThawUnit", &name))
}

pub(super) fn clean(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let kinds = match session.options.what.as_slice() {
        [] => vec!["cache".to_owned(), "runtime".to_owned()],
        kinds => kinds.to_vec(),
    };
    session.each(units, "clean", |session, name| session.client.manager("CleanUnit", &(name, &kinds)))
}

/// Verbs of systemctl that this system has no use for.
pub(super) fn refused(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let why = match session.options.command.as_deref().unwrap_or_default() {
        "kexec" => "No kernel can be loaded for kexec here: use reboot.",
        "bind" | "mount-image" => {
            "Mounting into a running unit is not supported: use BindPaths= and restart it."
        }
        "switch-root" => {
            "There is no other root to go to: an update is booted into, see update_engine_client."
        }
        "exit" => "Only a user's or a container's manager can exit: use poweroff.",
        _ => "This system does not sleep.",
    };
    session.complain(why);
    Ok(1)
}
