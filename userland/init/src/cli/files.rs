//! `enable`, `disable`, `mask` and their kin: change links, say which, read unit files again.

use super::job::full_names;
use super::{Outcome, Session, Trouble};

type Links = Vec<(String, String, String)>;

pub(super) fn enable(session: &mut Session<'_>, units: &[String]) -> Outcome {
    install(session, "EnableUnitFiles", units, Some("StartUnit"))
}

pub(super) fn reenable(session: &mut Session<'_>, units: &[String]) -> Outcome {
    install(session, "ReenableUnitFiles", units, Some("StartUnit"))
}

pub(super) fn preset(session: &mut Session<'_>, units: &[String]) -> Outcome {
    install(session, "PresetUnitFiles", units, None)
}

pub(super) fn preset_all(session: &mut Session<'_>, _: &[String]) -> Outcome {
    let arguments =
        (session.options.preset_mode.as_str(), session.options.runtime, session.options.force > 0);
    let links: Result<Links, Trouble> = session.client.manager("PresetAllUnitFiles", &arguments);
    changed(session, "preset all", links, &[], None)
}

pub(super) fn link(session: &mut Session<'_>, paths: &[String]) -> Outcome {
    let here = std::env::current_dir()?;
    let paths: Vec<String> =
        paths.iter().map(|path| here.join(path).to_string_lossy().into_owned()).collect();
    let arguments = (&paths, session.options.runtime, session.options.force > 0);
    let links: Result<Links, Trouble> = session.client.manager("LinkUnitFiles", &arguments);
    changed(session, "link", links, &paths, None)
}

pub(super) fn add_wants(session: &mut Session<'_>, words: &[String]) -> Outcome {
    add_dependency(session, words, "Wants")
}

pub(super) fn add_requires(session: &mut Session<'_>, words: &[String]) -> Outcome {
    add_dependency(session, words, "Requires")
}

fn add_dependency(session: &mut Session<'_>, words: &[String], kind: &str) -> Outcome {
    let Some((target, units)) = words.split_first().filter(|(_, units)| !units.is_empty()) else {
        session.complain("Too few arguments: a target and units are needed.");
        return Ok(1);
    };
    let target = if target.contains('.') { target.clone() } else { format!("{target}.target") };
    let names = full_names(units);
    let (runtime, force) = (session.options.runtime, session.options.force > 0);
    let arguments = (&names, target.as_str(), kind, runtime, force);
    let links: Result<Links, Trouble> = session.client.manager("AddDependencyUnitFiles", &arguments);
    changed(session, "add dependency of", links, &names, None)
}

pub(super) fn disable(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let names = full_names(units);
    let arguments = (&names, session.options.runtime);
    let links: Result<Links, Trouble> = session.client.manager("DisableUnitFiles", &arguments);
    changed(session, "disable", links, &names, Some("StopUnit"))
}

pub(super) fn mask(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let names = full_names(units);
    let arguments = (&names, session.options.runtime, session.options.force > 0);
    let links: Result<Links, Trouble> = session.client.manager("MaskUnitFiles", &arguments);
    changed(session, "mask", links, &names, Some("StopUnit"))
}

pub(super) fn unmask(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let names = full_names(units);
    let arguments = (&names, session.options.runtime);
    let links: Result<Links, Trouble> = session.client.manager("UnmaskUnitFiles", &arguments);
    changed(session, "unmask", links, &names, None)
}

pub(super) fn revert(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let names = full_names(units);
    let links: Result<Links, Trouble> = session.client.manager("RevertUnitFiles", &names);
    changed(session, "revert", links, &names, None)
}

fn install(session: &mut Session<'_>, method: &str, units: &[String], then: Option<&str>) -> Outcome {
    let names = full_names(units);
    let arguments = (&names, session.options.runtime, session.options.force > 0);
    let answer: Result<(bool, Links), Trouble> = session.client.manager(method, &arguments);
    if let (Ok((false, _)), true) = (&answer, method != "PresetUnitFiles") {
        session.complain(concat!(
            "The unit files have no installation config (WantedBy=, RequiredBy=, Also=, Alias= in the [Install]\n",
            "section): they are not meant to be enabled or disabled, but are started by other units, or by hand."
        ));
    }
    changed(session, "enable", answer.map(|(_, links)| links), &names, then)
}

/// Tells the links, reads the files again, and with `--now` does what follows.
fn changed(
    session: &mut Session<'_>,
    what: &str,
    links: Result<Links, Trouble>,
    names: &[String],
    then: Option<&str>,
) -> Outcome {
    let links = match links {
        Err(trouble @ Trouble::Refused { .. })
            if trouble.name() != "org.freedesktop.DBus.Error.AccessDenied" =>
        {
            let _ = writeln!(session.err, "Failed to {what} unit: {trouble}");
            return Ok(1);
        }
        links => links?,
    };
    for (kind, link, target) in links {
        match kind.as_str() {
            "symlink" => session.complain(&format!("Created symlink {link} → {target}.")),
            "unlink" => session.complain(&format!("Removed \"{link}\".")),
            _ => {}
        }
    }
    session.client.manager::<_, ()>("Reload", &())?;
    match then {
        Some(method) if session.options.now => {
            let what = if method == "StartUnit" { "start" } else { "stop" };
            session.jobs(method, what, names, "replace")
        }
        _ => Ok(0),
    }
}
