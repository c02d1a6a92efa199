//! Resource limits, niceness and the OOM killer's score of a child.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use unit::settings::ExecSettings;

use super::Failure;

const NICE: u8 = 201;
const LIMITS: u8 = 205;
const OOM_ADJUST: u8 = 206;
/// What systemd gives to services: programs that use select(2) break above the soft limit.
const DEFAULT_FILES: (u64, u64) = (1024, 524_288);

/// Applies them to this process, which PID 1's own values came down to.
pub fn apply(exec: &ExecSettings) -> Result<(), Failure> {
    let score = exec.oom_score_adjust.unwrap_or(0);
    fs::write("/proc/self/oom_score_adj", score.to_string())
        .or_else(|error| if exec.oom_score_adjust.is_none() { Ok(()) } else { Err(error) })
        .map_err(|error| Failure::new(OOM_ADJUST, "cannot adjust the OOM score", error))?;
    if let Some(nice) = exec.nice {
        setpriority_process(None, nice)
            .map_err(|error| Failure::new(NICE, format!("cannot set the niceness {nice}"), error))?;
    }
    if !exec.limits.iter().any(|limit| limit.name == "NOFILE") {
        let (soft, hard) = DEFAULT_FILES;
        // May only be lowered without privilege: not worth failing for.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(hard) });
    }
    for limit in &exec.limits {
        let Some(resource) = resource(limit.name) else { continue };
        let value = |number: u64| (number != u64::MAX).then_some(number);
        let mut wanted = Rlimit { current: value(limit.soft), maximum: value(limit.hard) };
        if setrlimit(resource, wanted).is_ok() {
            continue;
        }
        // As systemd does: where the kernel's maximum is lower, take that.
        let maximum = getrlimit(resource).maximum;
        let lower = |one: Option<u64>| match (one, maximum) {
            (Some(one), Some(maximum)) => Some(one.min(maximum)),
            (one, maximum) => one.or(maximum),
        };
        wanted = Rlimit { current: lower(wanted.current), maximum: lower(wanted.maximum) };
        setrlimit(resource, wanted)
            .map_err(|error| Failure::new(LIMITS, format!("cannot set the limit {}", limit.name), error))?;
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "AS" => Resource::As,
        "CORE" => Resource::Core,
        "CPU" => Resource::Cpu,
        "DATA" => Resource::Data,
        "FSIZE" => Resource::Fsize,
        "LOCKS" => Resource::Locks,
        "MEMLOCK" => Resource::Memlock,
        "MSGQUEUE" => Resource::Msgqueue,
        "NICE" => Resource::Nice,
        "NOFILE" => Resource::Nofile,
        "NPROC" => Resource::Nproc,
        "RSS" => Resource::Rss,
        "RTPRIO" => Resource::Rtprio,
        "RTTIME" => Resource::Rttime,
        "SIGPENDING" => Resource::Sigpending,
        "STACK" => Resource::Stack,
        _ => return None,
    })
}
