//! Changes to the configuration of an image, written as lines of a Dockerfile, and a new configuration with one
//! more layer.

use serde_json::{Map, Value, json};

use super::ArchiveError;

/// Applies lines such as `CMD ["sh"]` or `ENV A=b` to `config`, the part of a configuration that says how to run.
///
/// # Errors
/// When one is no change that can be made here.
pub fn apply<'a>(config: &mut Value, lines: impl IntoIterator<Item = &'a str>) -> Result<(), ArchiveError> {
    for line in lines.into_iter().map(str::trim).filter(|line| !line.is_empty()) {
        let bad = || ArchiveError::Change(line.chars().take(200).collect());
        let (word, rest) = line.split_once(char::is_whitespace).ok_or_else(bad)?;
        let rest = rest.trim();
        match word.to_ascii_uppercase().as_str() {
            "CMD" => set(config, "Cmd", command(rest)),
            "ENTRYPOINT" => set(config, "Entrypoint", command(rest)),
            "USER" => set(config, "User", json!(rest)),
            "WORKDIR" => set(config, "WorkingDir", json!(rest)),
            "STOPSIGNAL" => set(config, "StopSignal", json!(rest)),
            "ENV" => {
                for (name, value) in pairs(rest).ok_or_else(bad)? {
                    environment(config, &name, &value);
                }
            }
            "LABEL" => {
                for (name, value) in pairs(rest).ok_or_else(bad)? {
                    insert(config, "Labels", &name, json!(value));
                }
            }
            "EXPOSE" => {
                for port in rest.split_whitespace() {
                    let port = if port.contains('/') { port.to_owned() } else { format!("{port}/tcp") };
                    insert(config, "ExposedPorts", &port, json!({}));
                }
            }
            "VOLUME" => {
                let list: Vec<String> = serde_json::from_str(rest)
                    .unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect());
                for path in list {
                    insert(config, "Volumes", &path, json!({}));
                }
            }
            _ => return Err(bad()),
        }
    }
    Ok(())
}

/// A configuration like `base`, or like nothing, with one more layer on top.
#[must_use]
pub fn with_layer(base: Option<Value>, config: Value, diff_id: &str, step: &Step<'_>) -> Value {
    let architecture = oci_spec::image::Arch::default().to_string();
    let mut new = base.unwrap_or_else(|| json!({ "architecture": architecture, "os": "linux" }));
    let created = jiff::Timestamp::now().to_string();
    set(&mut new, "created", json!(created));
    set(&mut new, "config", config);
    if !step.author.is_empty() {
        set(&mut new, "author", json!(step.author));
    }
    let mut layers = new.pointer("/rootfs/diff_ids").and_then(Value::as_array).cloned().unwrap_or_default();
    layers.push(json!(diff_id));
    set(&mut new, "rootfs", json!({ "type": "layers", "diff_ids": layers }));
    let mut history = new.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    history.push(json!({ "created": created, "created_by": step.by, "comment": step.comment }));
    set(&mut new, "history", json!(history));
    new
}

/// What the history shall say of a layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step<'a> {
    /// Who made it.
    pub author: &'a str,
    /// By what.
    pub by: &'a str,
    /// A remark.
    pub comment: &'a str,
}

/// Sets a member of an object; what is none becomes one.
pub(super) fn set(object: &mut Value, name: &str, value: Value) {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

fn insert(config: &mut Value, member: &str, name: &str, value: Value) {
    let mut all = config.get(member).cloned().unwrap_or_default();
    set(&mut all, name, value);
    set(config, member, all);
}

/// A list in JSON as it is, anything else for a shell.
fn command(text: &str) -> Value {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(list) => json!(list),
        Err(_) => json!(["/bin/sh", "-c", text]),
    }
}

fn environment(config: &mut Value, name: &str, value: &str) {
    let mut all = config.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
    all.retain(|one| one.as_str().and_then(|one| one.split('=').next()) != Some(name));
    all.push(json!(format!("{name}={value}")));
    set(config, "Env", json!(all));
}

/// `NAME=VALUE NAME="VALUE WITH SPACES"…`, or the old form `NAME VALUE`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let first = text.split_whitespace().next()?;
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let mut words = vec![String::new()];
    let (mut quote, mut escaped) = (None, false);
    for char in text.chars() {
        let word = words.last_mut()?;
        match char {
            _ if escaped => {
                word.push(char);
                escaped = false;
            }
            '\\' if quote != Some('\'') => escaped = true,
            '"' | '\'' if quote.is_none() => quote = Some(char),
            _ if quote == Some(char) => quote = None,
            _ if quote.is_none() && char.is_whitespace() => words.push(String::new()),
            _ => word.push(char),
        }
    }
    if quote.is_some() {
        return None;
    }
    let words = words.iter().filter(|word| !word.is_empty());
    words.map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_change_what_is_there() {
        let mut config = json!({ "Env": ["A=old", "B=b"], "Cmd": ["x"] });
        let lines = [
            "CMD [\"sh\", \"-c\"]",
            "entrypoint echo hi",
            "ENV A=new C=\"with space\" D='x y'",
            "ENV E old form",
            "LABEL a.b=c",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/data\"]",
            "VOLUME /more",
            "USER me",
            "WORKDIR /w",
            "STOPSIGNAL SIGINT",
            "",
        ];
        apply(&mut config, lines).unwrap();
        assert_eq!(
            config,
            json!({
                "Env": ["B=b", "A=new", "C=with space", "D=x y", "E=old form"],
                "Cmd": ["sh", "-c"], "Entrypoint": ["/bin/sh", "-c", "echo hi"], "Labels": { "a.b": "c" },
                "ExposedPorts": { "80/tcp": {}, "53/udp": {} }, "Volumes": { "/data": {}, "/more": {} },
                "User": "me", "WorkingDir": "/w", "StopSignal": "SIGINT",
            })
        );
        for bad in ["RUN true", "CMD", "ENV A=\"open", "ENV A"] {
            assert!(apply(&mut config, [bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_layer_is_added_on_top() {
        let base =
            json!({ "os": "linux", "rootfs": { "type": "layers", "diff_ids": ["a"] }, "history": [{}] });
        let step = Step { author: "me", by: "true", comment: "c" };
        let new = with_layer(Some(base), json!({ "Cmd": ["x"] }), "b", &step);
        assert_eq!(new.pointer("/rootfs/diff_ids"), Some(&json!(["a", "b"])));
        assert_eq!(new.pointer("/history/1/created_by"), Some(&json!("true")));
        assert_eq!(new.pointer("/config/Cmd/0"), Some(&json!("x")));
    }
}
