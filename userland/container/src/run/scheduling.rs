//! When a container's program runs, when its disk is served, and what kind of Linux it sees.
//!
//! Sources: sched(7), ioprio_set(2), personality(2), OCI runtime specification "Process".

use std::io;

use linux::scheduling as door;
use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler,
    Spec,
};

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

/// Sets the execution domain.
pub(super) fn set_personality(spec: &Spec) -> io::Result<()> {
    let wanted = spec.linux().as_ref().and_then(|linux| linux.personality().as_ref());
    match wanted.map(|personality| personality.domain()) {
        None => Ok(()),
        Some(LinuxPersonalityDomain::PerLinux) => door::set_personality(0),
        Some(LinuxPersonalityDomain::PerLinux32) => door::set_personality(8),
    }
}
