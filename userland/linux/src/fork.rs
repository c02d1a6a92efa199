//! A child of a single-threaded program, born straight into a cgroup (clone3(2), `CLONE_INTO_CGROUP`).
//!
//! The child goes on in a copy of the whole program, so that it may run any code before it executes another one:
//! nothing is locked in it, because the parent has no other thread. That is checked, not assumed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A child that was just born.
#[derive(Debug)]
pub struct Child {
    /// Its process id in the caller's namespace.
    pub pid: u32,
    /// Its descriptor: readable when it has ended (pidfd_open(2)).
    pub pidfd: OwnedFd,
}

/// linux/sched.h; the libc crate has it in too narrow a type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The status of a child whose closure panicked: the same as of a killed `abort`, 128 + SIGABRT.
const PANICKED: i32 = 134;

/// Forks; the child runs `work` and ends with its value as exit status.
///
/// `cgroup` is the directory of a version 2 cgroup that the child is born in. The child is told of to the parent by
/// SIGCHLD, and it has the parent's signal mask and dispositions: see [`crate::signal::reset_all`].
///
/// # Errors
/// The program has more than one thread or `/proc` is not mounted; otherwise what clone3(2) says: `EAGAIN` no more
/// processes are allowed, `EOPNOTSUPP` the cgroup is not a leaf, `ENODEV` it was removed.
pub fn fork_into(cgroup: Option<BorrowedFd<'_>>, work: impl FnOnce() -> i32) -> io::Result<Child> {
    // A directory has two links and one more for each directory in it: here for each thread.
    let threads = std::fs::metadata("/proc/self/task")?.nlink().saturating_sub(2);
    if threads != 1 {
        return Err(io::Error::other(format!("a program with {threads} threads cannot fork safely")));
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers, for which zero means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is fork(2): the child has its own copy of the memory and goes on here on a copy of
    // this stack. There is no other thread that could hold a lock (checked above). `args` and `pidfd` outlive the call.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut args), size_of::<libc::clone_args>())
    };
    match pid {
        0 => {
            let status = catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
            // SAFETY: ends the child without running what the parent registered for its own end.
            unsafe { libc::_exit(status) }
        }
        pid if pid > 0 => {
            // SAFETY: the kernel stored a descriptor that nobody else owns, as CLONE_PIDFD promises on success.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: u32::try_from(pid).unwrap_or_default(), pidfd })
        }
        _ => Err(io::Error::last_os_error()),
    }
}
