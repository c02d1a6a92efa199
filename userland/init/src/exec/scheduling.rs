//! Resource limits, the OOM killer's score, and when and where a child runs.

use std::fs;
use std::io;
use std::num::NonZeroU64;

use linux::scheduling::{set_io_priority, set_memory_policy, set_policy};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};
use unit::settings::{ExecSettings, Scheduling};

use super::{Failure, status};

/// What systemd gives to services: programs that use select(2) break above the soft limit.
const DEFAULT_FILES: (u64, u64) = (1024, 524_288);
const ONLINE_NODES: &str = "/sys/devices/system/node";

/// Tells the kernel everything but the limits, which PID 1's own values came down to.
pub fn apply(exec: &ExecSettings) -> Result<(), Failure> {
    let wanted = &exec.scheduling;
    if let Some(score) = wanted.oom_score_adjust {
        // in a container, not even PID 1 may lower it: the unit runs without, as under systemd
        match fs::write("/proc/self/oom_score_adj", score.to_string()) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
                return Err(Failure::new(status::OOM_ADJUST, "cannot adjust the OOM score", error));
            }
            _ => {}
        }
    }
    if let Some(filter) = wanted.coredump_filter {
        fs::write("/proc/self/coredump_filter", format!("{filter:#x}"))
            .map_err(|error| Failure::new(status::LIMITS, "cannot set the core dump filter", error))?;
    }
    if let Some(nice) = wanted.nice {
        setpriority_process(None, nice)
            .map_err(|error| Failure::new(status::NICE, format!("cannot set the niceness {nice}"), error))?;
    }
    if wanted.cpu_policy.is_some() || wanted.cpu_priority.is_some() || wanted.reset_on_fork {
        let (policy, priority) = (wanted.cpu_policy.unwrap_or(0), wanted.cpu_priority.unwrap_or(0));
        set_policy(policy, priority, wanted.reset_on_fork)
            .map_err(|error| Failure::new(status::SETSCHEDULER, "cannot set the CPU scheduling", error))?;
    }
    affinity(wanted)
        .map_err(|error| Failure::new(status::CPUAFFINITY, "cannot bind to the processors", error))?;
    if let Some(policy) = wanted.numa_policy {
        let nodes = wanted.numa_nodes.iter().filter(|node| **node < u64::BITS);
        let nodes = nodes.fold(0, |mask, node| mask | (1_u64 << node)) & online_nodes();
        set_memory_policy(policy, nodes)
            .map_err(|error| Failure::new(status::NUMA_POLICY, "cannot set the memory policy", error))?;
    }
    if wanted.io_class.is_some() || wanted.io_priority.is_some() {
        const BEST_EFFORT: i32 = 2;
        const MIDDLE: i32 = 4;
        let class = wanted.io_class.unwrap_or(BEST_EFFORT);
        set_io_priority(class, wanted.io_priority.unwrap_or(MIDDLE))
            .map_err(|error| Failure::new(status::IOPRIO, "cannot set the disk priority", error))?;
    }
    if let Some(slack) = wanted.timer_slack_nsec {
        set_current_timer_slack(NonZeroU64::new(slack))
            .map_err(|error| Failure::new(status::TIMERSLACK, "cannot set the timer slack", error))?;
    }
    Ok(())
}

fn affinity(wanted: &Scheduling) -> std::io::Result<()> {
    let mut cpus = wanted.cpu_affinity.clone();
    if wanted.cpu_affinity_from_numa {
        for node in &wanted.numa_nodes {
            let text = fs::read_to_string(format!("{ONLINE_NODES}/node{node}/cpulist")).unwrap_or_default();
            cpus.extend(ranges(text.trim()));
        }
    }
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus.iter().filter_map(|cpu| usize::try_from(*cpu).ok()) {
        if cpu < CpuSet::MAX_CPU {
            set.set(cpu);
        }
    }
    Ok(sched_setaffinity(None, &set)?)
}

fn online_nodes() -> u64 {
    let text = fs::read_to_string(format!("{ONLINE_NODES}/online")).unwrap_or_else(|_| "0".into());
    ranges(text.trim()).filter(|node| *node < u64::BITS).fold(0, |mask, node| mask | (1_u64 << node))
}

/// `0-3,5`, as the kernel writes sets.
fn ranges(text: &str) -> impl Iterator<Item = u32> {
    text.split(',').flat_map(|word| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (first.parse(), last.parse::<u32>()) {
            (Ok(first), Ok(last)) => first..last.saturating_add(1),
            _ => 0..0,
        }
    })
}

/// Sets the limits of resources.
pub fn limit(exec: &ExecSettings) -> Result<(), Failure> {
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
        setrlimit(resource, wanted).map_err(|error| {
            Failure::new(status::LIMITS, format!("cannot set the limit {}", limit.name), error)
        })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_as_the_kernel_writes_them() {
        assert_eq!(ranges("0-2,7").collect::<Vec<_>>(), [0, 1, 2, 7]);
        assert_eq!(ranges("x,3-").count(), 0);
        assert_eq!(online_nodes() & 1, 1);
    }
}
