//! Verbs about the manager itself: reload, environment, default target, log.

use wire::Message;
use zvariant::Value;

use super::properties::Properties;
use super::{Outcome, Session, Trouble};
use crate::dbus::path::LOG_CONTROL;

pub(super) fn daemon_reload(session: &mut Session<'_>, _: &[String]) -> Outcome {
    session.client.manager::<_, ()>("Reload", &())?;
    Ok(0)
}

pub(super) fn daemon_reexec(session: &mut Session<'_>, _: &[String]) -> Outcome {
    match session.client.manager::<_, ()>("Reexecute", &()) {
        // it is disconnected rather than answered
        Err(Trouble::Lost(_)) => Ok(0),
        answer => answer.map(|()| 0),
    }
}

pub(super) fn get_default(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let target: String = session.client.manager("GetDefaultTarget", &())?;
    session.say(&target)?;
    Ok(0)
}

pub(super) fn show_environment(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let properties = Properties::of_manager(&mut session.client)?;
    for assignment in properties.list("Environment") {
        session.say(&assignment)?;
    }
    Ok(0)
}

pub(super) fn set_environment(session: &mut Session<'_>, assignments: &[String]) -> Outcome {
    session.client.manager::<_, ()>("SetEnvironment", &assignments)?;
    Ok(0)
}

pub(super) fn unset_environment(session: &mut Session<'_>, names: &[String]) -> Outcome {
    session.client.manager::<_, ()>("UnsetEnvironment", &names)?;
    Ok(0)
}

pub(super) fn set_default(session: &mut Session<'_>, targets: &[String]) -> Outcome {
    let Some(target) = targets.first() else { return Ok(1) };
    let target = if target.contains('.') { target.clone() } else { format!("{target}.target") };
    type Links = Vec<(String, String, String)>;
    let links: Links = match session.client.manager("SetDefaultTarget", &(&target, true)) {
        Err(Trouble::Refused { text, .. }) => {
            session.complain(&format!("Failed to set default target: {text}"));
            return Ok(1);
        }
        links => links?,
    };
    for (kind, link, to) in links {
        match kind.as_str() {
            "symlink" => session.complain(&format!("Created symlink {link} → {to}.")),
            _ => session.complain(&format!("Removed \"{link}\".")),
        }
    }
    daemon_reload(session, &[])
}

/// Without names all of them, as systemctl does, though few of them mean anything to a service.
pub(super) fn import_environment(session: &mut Session<'_>, names: &[String]) -> Outcome {
    let mut assignments = Vec::new();
    for (name, value) in std::env::vars() {
        if names.is_empty() || names.contains(&name) {
            assignments.push(format!("{name}={value}"));
        }
    }
    for name in names.iter().filter(|name| std::env::var_os(name).is_none()) {
        session.complain(&format!("Environment variable ${name} not set, ignoring."));
    }
    set_environment(session, &assignments)
}

pub(super) fn log_level(session: &mut Session<'_>, words: &[String]) -> Outcome {
    const INTERFACE: &str = "org.freedesktop.LogControl1";
    const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
    match words.first() {
        Some(level) => {
            let arguments = (INTERFACE, "LogLevel", Value::from(level.as_str()));
            session.client.call::<()>(Message::call(LOG_CONTROL, PROPERTIES, "Set").with(&arguments)?)?;
        }
        None => {
            let call = Message::call(LOG_CONTROL, PROPERTIES, "Get").with(&(INTERFACE, "LogLevel"))?;
            let level: zvariant::OwnedValue = session.client.call(call)?;
            let level = <&str>::try_from(&*level).unwrap_or_default().to_owned();
            session.say(&level)?;
        }
    }
    Ok(0)
}

pub(super) fn log_target(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let target = Properties::of_manager(&mut session.client)?.text("LogTarget").to_owned();
    session.say(&target)?;
    Ok(0)
}

pub(super) fn service_watchdogs(session: &mut Session<'_>, words: &[String]) -> Outcome {
    if !words.is_empty() {
        session.complain("Watchdogs of services are always minded here.");
        return Ok(1);
    }
    session.say("yes")?;
    Ok(0)
}
