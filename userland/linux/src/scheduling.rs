//! When a process runs and when its disk is served: sched_setscheduler(2), sched_setattr(2), ioprio_set(2),
//! personality(2), set_mempolicy(2).

use std::io;

const RESET_ON_FORK: libc::c_int = 0x4000_0000;
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_SHIFT: libc::c_int = 13;

/// Gives the calling thread a policy (`SCHED_…`) and, for the real-time ones, a priority from 1 to 99.
///
/// # Errors
/// What sched_setscheduler(2) says.
pub fn set_policy(policy: i32, priority: i32, reset_on_fork: bool) -> io::Result<()> {
    let policy = if reset_on_fork { policy | RESET_ON_FORK } else { policy };
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters are read and live through the call; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }.into())
}

/// Gives the calling thread a class (1 real time, 2 best effort, 3 idle) and a priority (0 to 7) for its disk work.
///
/// # Errors
/// What ioprio_set(2) says.
pub fn set_io_priority(class: i32, priority: i32) -> io::Result<()> {
    let value = (class << IOPRIO_CLASS_SHIFT) | (priority & 7);
    // SAFETY: takes integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, value) })
}

/// Sets the memory policy (`MPOL_…`) over these nodes, at most 64.
///
/// # Errors
/// What set_mempolicy(2) says.
pub fn set_memory_policy(policy: i32, nodes: u64) -> io::Result<()> {
    let (mask, bits) = if nodes == 0 { (std::ptr::null(), 0) } else { (&raw const nodes, u64::BITS + 1) };
    // SAFETY: the mask is one word that lives through the call; `bits` is how many of them count, plus one.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, policy, mask, bits) })
}

/// The execution domain: 0 is Linux, 8 is Linux of 32 bits.
///
/// # Errors
/// What personality(2) says.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: takes an integer only.
    check(unsafe { libc::personality(domain) }.into())
}

/// The execution domain now.
#[must_use]
pub fn personality() -> u64 {
    // SAFETY: takes an integer only; this one asks.
    u64::try_from(unsafe { libc::personality(0xffff_ffff) }).unwrap_or(0)
}

/// Runs the calling thread by deadline: `runtime` of each `period`, done by `deadline`; all in nanoseconds.
///
/// # Errors
/// What sched_setattr(2) says: `EBUSY` the processors are promised to others.
pub fn set_deadline(runtime: u64, deadline: u64, period: u64, flags: u64) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let size = u32::try_from(size_of::<Attributes>()).unwrap_or(0);
    let policy = libc::SCHED_DEADLINE.unsigned_abs();
    let attributes = Attributes { size, policy, flags, nice: 0, priority: 0, runtime, deadline, period };
    // SAFETY: the attributes are of the size they tell and live through the call; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nonsense_is_refused() {
        assert!(set_policy(77, 0, false).is_err());
        // IOPRIO_CLASS_INVALID
        assert!(set_io_priority(7, 0).is_err());
        assert_eq!(personality() & 0xff, 0);
    }
}
