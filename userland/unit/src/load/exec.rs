//! How processes are set up, systemd.exec(5).
//!
//! Each chapter looks whether a key is one of its own; the first that knows it takes it.

mod credential;
mod directory;
pub(super) mod environment;
mod identity;
pub(super) mod limit;
mod path;
mod sandbox;
mod scheduling;
pub(super) mod stream;
mod system_call;

use super::value::{absolute, boolean, mode, span};
use super::{Draft, Outcome, Taken};
use crate::exec::words;
use crate::settings::{Told, WorkingDirectory};

pub(super) use sandbox::implied;

/// Settings that are told to who asks, and otherwise warned of (`unenforced`): property names.
const TOLD: &[&str] = &["RootImage", "RootHash", "RootHashSignature", "RootVerity"];
const TOLD_LISTS: &[&str] = &["ExtensionDirectories", "ExtensionImages", "MountImages", "RootImageOptions"];

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    const CHAPTERS: [fn(&mut Draft<'_>, &str, &str) -> Outcome; 10] = [
        limit::set,
        directory::set,
        environment::set,
        identity::set,
        scheduling::set,
        stream::set,
        credential::set,
        sandbox::set,
        path::set,
        rest,
    ];
    for chapter in CHAPTERS {
        match chapter(draft, key, value) {
            Ok(Taken::Unknown) => {}
            taken => return taken,
        }
    }
    Ok(Taken::Unknown)
}

/// What has no chapter of its own.
fn rest(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let exec = &mut draft.exec;
    let optional = |text: &str| context.resolve(text).map(|text| Some(text).filter(|text| !text.is_empty()));
    match key {
        "WorkingDirectory" if value.is_empty() => exec.working_directory = None,
        "WorkingDirectory" => {
            let path = context.resolve(value)?;
            let (path, missing_ok) = match path.strip_prefix('-') {
                Some(path) => (path.to_string(), true),
                None => (path, false),
            };
            let path = if path == "~" { None } else { Some(absolute(&path)?) };
            exec.working_directory = Some(WorkingDirectory { path, missing_ok });
        }
        "RootDirectory" => {
            let path = optional(value)?.map(|path| absolute(&path)).transpose()?;
            exec.root_directory = path.filter(|path| path != "/");
        }
        "UMask" => exec.umask = Some(mode(value)?),
        "TimeoutCleanSec" => exec.timeout_clean = Some(span(value)?).filter(|usec| *usec > 0),
        "IgnoreSIGPIPE" => exec.keep_sigpipe = !boolean(value)?,
        "NonBlocking" => exec.non_blocking = boolean(value)?,
        "UtmpIdentifier" => exec.utmp_identifier = optional(value)?,
        "UtmpMode" => match value {
            "init" | "login" | "user" => exec.utmp_mode = Some(value.into()),
            _ => return Err(format!("\"{value}\" is not init, login or user")),
        },
        "Capabilities" => return Err("support for Capabilities= has been removed".into()),
        _ => return told(draft, key, value),
    }
    Ok(Taken::Yes)
}

fn told(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let expanded = draft.context.resolve(value)?;
    let list = &mut draft.exec.told;
    if let Some(name) = TOLD.iter().copied().find(|name| *name == key) {
        list.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            list.push((name, Told::Text(expanded)));
        }
        return Ok(Taken::Yes);
    }
    let Some(name) = TOLD_LISTS.iter().copied().find(|name| *name == key) else {
        return Ok(Taken::Unknown);
    };
    let mut all = match list.iter().position(|(known, _)| *known == name).map(|at| list.swap_remove(at)) {
        Some((_, Told::Texts(texts))) if !value.is_empty() => texts,
        _ => Vec::new(),
    };
    all.extend(words(&expanded).map_err(|error| error.to_string())?);
    if !all.is_empty() {
        list.push((name, Told::Texts(all)));
    }
    Ok(Taken::Yes)
}

/// Adds words to a list; nothing empties it.
fn names(list: &mut Vec<String>, value: &str) {
    if value.is_empty() {
        list.clear();
    }
    list.extend(value.split_whitespace().map(str::to_string));
}
