//! When a container's program runs, when its disk is served, and what kind of Linux it sees.
//!
//! Sources: sched(7), ioprio_set(2), personality(2), set_mempolicy(2), OCI runtime specification "Process".

use std::io;

use linux::scheduling as door;
use oci_spec::runtime::{
    IOPriorityClass, LinuxMemoryPolicy, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler, Spec,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::ranges;

/// Sets what the process's part of the configuration asks for.
pub(super) fn apply(process: &Process) -> io::Result<()> {
    if let Some(scheduler) = process.scheduler() {
        schedule(scheduler)?;
    }
    if let Some(priority) = process.io_priority() {
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = i32::try_from(priority.priority()).ok().filter(|level| (0..8).contains(level));
        let bad = || io::Error::new(io::ErrorKind::InvalidInput, "ioPriority.priority is 0 to 7");
        door::set_io_priority(class, level.ok_or_else(bad)?)?;
    }
    Ok(())
}

fn schedule(scheduler: &Scheduler) -> io::Result<()> {
    let flags = scheduler.flags().as_deref().unwrap_or_default();
    let reset = flags.contains(&LinuxSchedulerFlag::SchedResetOnFork);
    let policy = match scheduler.policy() {
        LinuxSchedulerPolicy::SchedOther => libc::SCHED_OTHER,
        LinuxSchedulerPolicy::SchedFifo => libc::SCHED_FIFO,
        LinuxSchedulerPolicy::SchedRr => libc::SCHED_RR,
        LinuxSchedulerPolicy::SchedBatch => libc::SCHED_BATCH,
        LinuxSchedulerPolicy::SchedIdle => libc::SCHED_IDLE,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "Linux has no SCHED_ISO"));
        }
        LinuxSchedulerPolicy::SchedDeadline => {
            let time = |part: &Option<u64>| part.unwrap_or(0);
            let (runtime, deadline) = (time(scheduler.runtime()), time(scheduler.deadline()));
            return door::set_deadline(runtime, deadline, time(scheduler.period()), u64::from(reset));
        }
    };
    door::set_policy(policy, scheduler.priority().unwrap_or(0), reset)?;
    if let Some(nice) = scheduler.nice() {
        rustix::process::setpriority_process(None, *nice)?;
    }
    Ok(())
}

/// Where the calling process is from now on, once it is in its cgroup: see `process.execCPUAffinity`.
pub(super) fn set_final_affinity(process: &Process) -> io::Result<()> {
    let wanted = process.exec_cpu_affinity().as_ref().and_then(|both| both.cpu_affinity_final().as_deref());
    wanted.map_or(Ok(()), |list| set_affinity(list).map(drop))
}

/// Lets the calling thread run on these processors only; returns them as bits.
///
/// # Errors
/// When the list is none, or none of them is there.
pub fn set_affinity(list: &str) -> io::Result<u128> {
    let mut set = CpuSet::new();
    let mut bits = 0;
    for number in ranges::read(list)? {
        if number >= CpuSet::MAX_CPU {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no processor {number}")));
        }
        set.set(number);
        bits |= u32::try_from(number).ok().and_then(|shift| 1_u128.checked_shl(shift)).unwrap_or(0);
    }
    sched_setaffinity(None, &set)?;
    Ok(bits)
}

/// Sets what holds for all processes of a container: the execution domain, and where their memory is from.
pub(super) fn set_surroundings(spec: &Spec) -> io::Result<()> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    match linux.personality().as_ref().map(|personality| personality.domain()) {
        None => {}
        Some(LinuxPersonalityDomain::PerLinux) => door::set_personality(0)?,
        Some(LinuxPersonalityDomain::PerLinux32) => door::set_personality(8)?,
    }
    linux.memory_policy().as_ref().map_or(Ok(()), set_memory_policy)
}

fn set_memory_policy(wanted: &LinuxMemoryPolicy) -> io::Result<()> {
    let mode = match wanted.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = wanted.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
                MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
                MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            }
    });
    let mut nodes = 0_u64;
    for number in ranges::read(wanted.nodes().as_deref().unwrap_or_default())? {
        let bit = u32::try_from(number).ok().and_then(|shift| 1_u64.checked_shl(shift));
        nodes |= bit.ok_or_else(|| io::Error::other("memory nodes above 63 are not supported"))?;
    }
    let named = |error: io::Error| io::Error::new(error.kind(), format!("memoryPolicy: {error}"));
    door::set_memory_policy(mode | flags, nodes).map_err(named)
}
