//! Programs of the operator's that run at turns of a container's life, with its state on standard input.
//!
//! Source: OCI runtime specification "POSIX-platform Hooks".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, Spec};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::Serialize;

/// The version of the specification that the runtime follows.
pub const VERSION: &str = "1.2.0";
/// How much of what a failed hook said is passed on.
const SAID_LIMIT: u64 = 4 << 10;

/// The state of a container, as the specification writes it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState<'a> {
    /// Of the specification.
    pub oci_version: &'static str,
    /// The container's.
    pub id: &'a str,
    /// `creating`, `created`, `running` or `stopped`.
    pub status: &'static str,
    /// The first process, as the runtime sees its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The bundle's directory.
    pub bundle: &'a Path,
    /// The configuration's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<&'a str, &'a str>,
}

impl<'a> ContainerState<'a> {
    /// The state of a container of this configuration.
    #[must_use]
    pub fn new(
        id: &'a str,
        status: &'static str,
        pid: Option<u32>,
        bundle: &'a Path,
        spec: &'a Spec,
    ) -> Self {
        let annotations = spec.annotations().iter().flatten();
        let annotations = annotations.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { oci_version: VERSION, id, status, pid, bundle, annotations }
    }
}

/// Runs them one after another; the first that fails ends it.
///
/// # Errors
/// When one cannot be run, fails, or takes longer than it may; with what it said.
pub fn run(kind: &str, hooks: Option<&Vec<Hook>>, state: &ContainerState<'_>) -> io::Result<()> {
    let Some(hooks) = hooks.filter(|hooks| !hooks.is_empty()) else { return Ok(()) };
    let state = serde_json::to_vec(state)?;
    for hook in hooks {
        run_one(hook, &state).map_err(|error| {
            io::Error::new(error.kind(), format!("{kind} hook {}: {error}", hook.path().display()))
        })?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &[u8]) -> io::Result<()> {
    if !hook.path().is_absolute() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its path is not absolute"));
    }
    let mut said = File::from(memfd_create("hook", MemfdFlags::CLOEXEC)?);
    let mut command = Command::new(hook.path());
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(said.try_clone()?);
    if let Some((name, rest)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
        command.args(rest);
    }
    for entry in hook.env().iter().flatten() {
        if let Some((name, value)) = entry.split_once('=') {
            command.env(name, value);
        }
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read it; what fits into the pipe does not hold us up.
        let _ = stdin.write_all(state);
    }
    let until = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let status = loop {
        if let (Some(until), None) = (until, child.try_wait()?) {
            if Instant::now() >= until {
                let _ = child.kill();
                let _ = child.wait();
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it took longer than its timeout"));
            }
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        break child.wait()?;
    };
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    let _ = said.rewind();
    let _ = said.take(SAID_LIMIT).read_to_string(&mut text);
    Err(io::Error::other(format!("{status}: {}", text.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(json: &str) -> Vec<Hook> {
        vec![serde_json::from_str(json).unwrap()]
    }

    #[test]
    fn the_state_is_on_its_input_and_its_failure_is_told() {
        let state = ContainerState {
            oci_version: VERSION,
            id: "abc",
            status: "creating",
            pid: Some(7),
            bundle: Path::new("/b"),
            annotations: BTreeMap::from([("k", "v")]),
        };
        let good = hook(
            r#"{"path":"/bin/sh","args":["sh","-c","grep -q '\"id\":\"abc\",\"status\":\"creating\",\"pid\":7' && [ \"$A\" = b ]"],"env":["A=b"]}"#,
        );
        run("prestart", Some(&good), &state).unwrap();
        let bad = hook(r#"{"path":"/bin/sh","args":["sh","-c","echo sorry >&2; exit 3"]}"#);
        let told = run("prestart", Some(&bad), &state).unwrap_err().to_string();
        assert!(told.contains("prestart hook /bin/sh") && told.contains("sorry"), "{told}");
        let slow = hook(r#"{"path":"/bin/sleep","args":["sleep","100"],"timeout":1}"#);
        assert_eq!(run("poststop", Some(&slow), &state).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(run("poststop", Some(&hook(r#"{"path":"relative"}"#)), &state).is_err());
    }
}
