//! Environment=, EnvironmentFile= and what is passed on.

use super::{Draft, Outcome, Taken, names, words};
use crate::environment;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let exec = &mut draft.exec;
    match key {
        "Environment" if value.is_empty() => exec.environment.clear(),
        "Environment" => assign(&mut exec.environment, value, &|word| Ok(context.resolve(word)?))?,
        "EnvironmentFile" if value.is_empty() => exec.environment_files.clear(),
        "EnvironmentFile" => {
            let path = context.resolve(value)?;
            let (path, optional) = match path.strip_prefix('-') {
                Some(path) => (path.to_string(), true),
                None => (path, false),
            };
            if !path.starts_with('/') {
                return Err(format!("{path} is not absolute"));
            }
            exec.environment_files.push((path, optional));
        }
        "PassEnvironment" => names(&mut exec.pass_environment, &context.resolve(value)?),
        "UnsetEnvironment" => names(&mut exec.unset_environment, &context.resolve(value)?),
        "ExecSearchPath" if value.is_empty() => exec.search_path.clear(),
        "ExecSearchPath" => {
            for path in context.resolve(value)?.split(':').filter(|path| !path.is_empty()) {
                exec.search_path.push(super::absolute(path)?);
            }
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

/// Takes assignments in; those that are none are an error, and the others count all the same.
pub(in crate::load) fn assign(
    to: &mut Vec<(String, String)>,
    value: &str,
    resolve: &dyn Fn(&str) -> Result<String, String>,
) -> Result<(), String> {
    let mut bad = Vec::new();
    for word in words(value).map_err(|error| error.to_string())? {
        let word = resolve(&word)?;
        match word.split_once('=') {
            Some((name, value)) if environment::is_name(name) => environment::set(to, name, value),
            _ => bad.push(word),
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(format!("not assignments: {}", bad.join(" "))) }
}
