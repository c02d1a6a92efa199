//! Environment=, EnvironmentFile= and what is passed on.

use super::{Draft, Outcome, Taken, names, words};
use crate::environment;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let exec = &mut draft.exec;
    match key {
        "Environment" if value.is_empty() => exec.environment.clear(),
        "Environment" => {
            let mut bad = Vec::new();
            for word in words(value).map_err(|error| error.to_string())? {
                let word = context.expand(&word);
                match word.split_once('=') {
                    Some((name, value)) if environment::is_name(name) => {
                        environment::set(&mut exec.environment, name, value);
                    }
                    _ => bad.push(word),
                }
            }
            if !bad.is_empty() {
                return Err(format!("not assignments: {}", bad.join(" ")));
            }
        }
        "EnvironmentFile" if value.is_empty() => exec.environment_files.clear(),
        "EnvironmentFile" => {
            let path = context.expand(value);
            let (path, optional) = match path.strip_prefix('-') {
                Some(path) => (path.to_string(), true),
                None => (path, false),
            };
            if !path.starts_with('/') {
                return Err(format!("{path} is not absolute"));
            }
            exec.environment_files.push((path, optional));
        }
        "PassEnvironment" => names(&mut exec.pass_environment, &context.expand(value)),
        "UnsetEnvironment" => names(&mut exec.unset_environment, &context.expand(value)),
        "ExecSearchPath" if value.is_empty() => exec.search_path.clear(),
        "ExecSearchPath" => {
            for path in context.expand(value).split(':').filter(|path| !path.is_empty()) {
                exec.search_path.push(super::absolute(path)?);
            }
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}
