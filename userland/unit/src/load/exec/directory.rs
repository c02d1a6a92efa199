//! RuntimeDirectory= and its kin.

use super::super::value::{boolean, mode};
use super::{Draft, Outcome, Taken, words};
use crate::settings::{Directories, DirectoryKind, Preserve};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if key == "RuntimeDirectoryPreserve" {
        draft.exec.runtime_preserve = match value {
            "restart" => Preserve::Restart,
            _ if boolean(value)? => Preserve::Yes,
            _ => Preserve::No,
        };
        return Ok(Taken::Yes);
    }
    if let Some(kind) = key.strip_suffix("Mode").and_then(kind) {
        let bits = mode(value)?;
        of_kind(draft, kind).mode = bits;
        return Ok(Taken::Yes);
    }
    match kind(key) {
        Some(kind) => directories(draft, kind, value),
        None => Ok(Taken::Unknown),
    }
}

fn kind(key: &str) -> Option<DirectoryKind> {
    Some(match key {
        "RuntimeDirectory" => DirectoryKind::Runtime,
        "StateDirectory" => DirectoryKind::State,
        "CacheDirectory" => DirectoryKind::Cache,
        "LogsDirectory" => DirectoryKind::Logs,
        "ConfigurationDirectory" => DirectoryKind::Configuration,
        _ => return None,
    })
}

fn of_kind<'a>(draft: &'a mut Draft<'_>, kind: DirectoryKind) -> &'a mut Directories {
    let list = &mut draft.exec.directories;
    let index = list.iter().position(|set| set.kind == kind).unwrap_or(list.len());
    if index == list.len() {
        list.push(Directories { kind, names: Vec::new(), links: Vec::new(), mode: 0o755 });
    }
    &mut list[index]
}

/// Words, each a name or `name:link`. They are kept sorted, so that a directory comes before what is in it.
fn directories(draft: &mut Draft<'_>, kind: DirectoryKind, value: &str) -> Outcome {
    let context = draft.context;
    let mut bad = Vec::new();
    let set = of_kind(draft, kind);
    if value.is_empty() {
        set.names.clear();
        set.links.clear();
    }
    for word in words(value).map_err(|error| error.to_string())? {
        let (name, link) = match word.split_once(':') {
            Some((name, link)) if kind != DirectoryKind::Configuration => (name, Some(link)),
            _ => (word.as_str(), None),
        };
        let Some(name) = relative(&context.resolve(name)?) else {
            bad.push(word);
            continue;
        };
        match link.map(|link| context.resolve(link)).transpose()?.map(|link| relative(&link)) {
            Some(Some(link)) => set.links.push((name.clone(), link)),
            Some(None) => {
                bad.push(word);
                continue;
            }
            None => {}
        }
        if !set.names.contains(&name) {
            set.names.push(name);
        }
    }
    set.names.sort_unstable();
    if bad.is_empty() {
        return Ok(Taken::Yes);
    }
    Err(format!("not relative paths without \"..\": {}", bad.join(" ")))
}

/// A relative path that stays below where it begins; `private` is where dynamic users' directories are.
fn relative(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let fine = !name.starts_with('/') && !parts.is_empty() && !parts.contains(&"..");
    (fine && parts.first() != Some(&"private")).then(|| parts.join("/"))
}
