//! Paths in the sandbox: what is bound, hidden, read-only.

use super::super::value::boolean;
use super::{Draft, Outcome, Taken, absolute, words};
use crate::settings::{Bind, PathRule};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let sandbox = &mut draft.exec.sandbox;
    let list = match key {
        "ReadWritePaths" | "ReadWriteDirectories" => &mut sandbox.read_write,
        "ReadOnlyPaths" | "ReadOnlyDirectories" => &mut sandbox.read_only,
        "InaccessiblePaths" | "InaccessibleDirectories" => &mut sandbox.inaccessible,
        "ExecPaths" => &mut sandbox.exec,
        "NoExecPaths" => &mut sandbox.no_exec,
        "BindPaths" | "BindReadOnlyPaths" => return bind(draft, value, key == "BindReadOnlyPaths"),
        "TemporaryFileSystem" if value.is_empty() => {
            sandbox.temporary.clear();
            return Ok(Taken::Yes);
        }
        "TemporaryFileSystem" => {
            for word in words(value).map_err(|error| error.to_string())? {
                let (path, options) = word.split_once(':').unwrap_or((word.as_str(), ""));
                let path = absolute(&context.resolve(path)?)?;
                sandbox.temporary.push((path, context.resolve(options)?));
            }
            return Ok(Taken::Yes);
        }
        _ => return Ok(Taken::Unknown),
    };
    if value.is_empty() {
        list.clear();
    }
    let mut bad = Vec::new();
    for word in words(value).map_err(|error| error.to_string())? {
        let expanded = context.resolve(&word)?;
        let (missing_ok, path) = mark(&expanded, '-');
        let (in_root, path) = mark(path, '+');
        match absolute(path) {
            Ok(path) => list.push(PathRule { path, missing_ok, in_root }),
            Err(_) => bad.push(word),
        }
    }
    if bad.is_empty() { Ok(Taken::Yes) } else { Err(format!("not absolute paths: {}", bad.join(" "))) }
}

fn mark(text: &str, mark: char) -> (bool, &str) {
    text.strip_prefix(mark).map_or((false, text), |rest| (true, rest))
}

fn bind(draft: &mut Draft<'_>, value: &str, read_only: bool) -> Outcome {
    let context = draft.context;
    let binds = &mut draft.exec.sandbox.binds;
    if value.is_empty() {
        binds.retain(|bind| bind.read_only != read_only);
    }
    for word in words(value).map_err(|error| error.to_string())? {
        let parts = word.split(':').map(|part| context.resolve(part)).collect::<Result<Vec<_>, _>>()?;
        let (source, destination, options) = match parts.as_slice() {
            [source] => (source, None, None),
            [source, destination] => (source, Some(destination), None),
            [source, destination, options] => (source, Some(destination), Some(options.as_str())),
            _ => return Err(format!("\"{word}\" has too many colons")),
        };
        let (missing_ok, source) = mark(source, '-');
        let source = absolute(source)?;
        let destination = match destination.filter(|path| !path.is_empty()) {
            Some(path) => absolute(path)?,
            None => source.clone(),
        };
        let recursive = match options {
            None | Some("" | "rbind") => true,
            Some("norbind") => false,
            Some(other) => return Err(format!("\"{other}\" is neither rbind nor norbind")),
        };
        binds.push(Bind { source, destination, missing_ok, recursive, read_only });
    }
    Ok(Taken::Yes)
}

/// For settings of a word that may also be yes or no.
pub(super) fn word_or_boolean<T>(value: &str, parse: fn(&str) -> Option<T>) -> Result<T, String> {
    let word = match boolean(value) {
        Ok(true) => "yes",
        Ok(false) => "no",
        Err(_) => value,
    };
    parse(word).ok_or_else(|| format!("\"{value}\" is not a value that we know"))
}
