//! The control protocol of /run/systemd/journal/io.systemd.journal: varlink, that is JSON objects that end in a
//! zero byte. It is what `journalctl --sync`, `--rotate` and `--flush` speak. Source: varlink.org, and systemd's
//! varlink-io.systemd.Journal.

use serde_json::{Value, json};

/// A request may not be longer.
pub const REQUEST_MAX: usize = 64 << 10;

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Bring everything to the disk.
    Sync,
    /// Begin a new file.
    Rotate,
    /// Move from memory to the disk.
    MoveToDisk,
    /// Go on in memory.
    MoveToMemory,
    /// What we do not know.
    Unknown,
}

/// Takes the whole requests off the front of `pending`.
pub fn split_requests(pending: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    while let Some(end) = pending.iter().position(|byte| *byte == 0) {
        let mut rest = pending.split_off(end);
        rest.remove(0);
        requests.push(std::mem::replace(pending, rest));
    }
    requests
}

fn method_of(request: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(request).ok()?;
    Some(value.get("method")?.as_str()?.to_owned())
}

/// What a request asks for.
#[must_use]
pub fn parse(request: &[u8]) -> Action {
    match method_of(request).as_deref() {
        Some("io.systemd.Journal.Synchronize") => Action::Sync,
        Some("io.systemd.Journal.Rotate") => Action::Rotate,
        Some("io.systemd.Journal.FlushToVar") => Action::MoveToDisk,
        Some("io.systemd.Journal.RelinquishVar") => Action::MoveToMemory,
        _ => Action::Unknown,
    }
}

/// The answer to a request, zero byte included.
#[must_use]
pub fn reply(action: Action, request: &[u8]) -> Vec<u8> {
    let value = match action {
        Action::Unknown => json!({
            "error": "org.varlink.service.MethodNotFound",
            "parameters": { "method": method_of(request).unwrap_or_default() },
        }),
        _ => json!({ "parameters": {} }),
    };
    let mut bytes = value.to_string().into_bytes();
    bytes.push(0);
    bytes
}

/// The request for a method of `io.systemd.Journal`, zero byte included.
#[must_use]
pub fn request(method: &str) -> Vec<u8> {
    let mut bytes = json!({ "method": format!("io.systemd.Journal.{method}"), "parameters": {} })
        .to_string()
        .into_bytes();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies() {
        let mut pending = [request("Rotate"), request("Dance"), b"{\"meth".to_vec()].concat();
        let requests = split_requests(&mut pending);
        assert_eq!(
            requests.iter().map(|request| parse(request)).collect::<Vec<_>>(),
            [Action::Rotate, Action::Unknown]
        );
        assert_eq!(pending, b"{\"meth");
        assert_eq!(reply(Action::Rotate, b""), b"{\"parameters\":{}}\0");
        assert!(reply(Action::Unknown, b"rubbish").ends_with(b"\0"));
    }
}
