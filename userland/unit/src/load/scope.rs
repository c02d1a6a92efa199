//! The [Scope] section, systemd.scope(5). Scopes are made at run time: see `PIDs`.

use super::value::{number, span, timeout};
use super::{Draft, Outcome, Taken};
use crate::Pid;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let scope = &mut draft.scope;
    match key {
        // no directive of systemd's files: whoever makes a scope hands its processes in by it
        "PIDs" => {
            for word in value.split_whitespace() {
                scope.pids.push(Pid(number(word)?));
            }
        }
        "TimeoutStopSec" => scope.timeout_stop = timeout(value)?,
        "RuntimeMaxSec" => scope.runtime_max = timeout(value)?,
        "RuntimeRandomizedExtraSec" => scope.runtime_randomized_extra = span(value)?,
        "OOMPolicy" => match value {
            "continue" | "stop" | "kill" => scope.oom_policy = value.to_string(),
            _ => return Err(format!("\"{value}\" is not continue, stop or kill")),
        },
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}
