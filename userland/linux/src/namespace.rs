//! Children in namespaces of their own.
//!
//! `fork_into` is fork(2) by clone3(2): the child starts in the asked namespaces and, where given, in a
//! cgroup, so it never runs a moment outside of them. A fork of a process with several threads copies
//! locks held by threads that do not exist in the child; the door therefore refuses to open unless
//! the caller is the only thread, and that is what makes it safe. `fork_sibling` makes a child of the caller's
//! parent instead: for a process that joins namespaces only to give birth in them.
//!
//! Sources: clone(2), namespaces(7), cgroups(7).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `CLONE_INTO_CGROUP`, which does not fit the type that libc gives it.
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Kinds of namespaces, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(u64);

impl Namespaces {
    /// None: a plain fork.
    pub const NONE: Self = Self(0);
    /// Mount points.
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS as u64);
    /// Process ids.
    pub const PID: Self = Self(libc::CLONE_NEWPID as u64);
    /// Network stack.
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET as u64);
    /// Host and domain name.
    pub const UTS: Self = Self(libc::CLONE_NEWUTS as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Self = Self(libc::CLONE_NEWIPC as u64);
    /// Users, groups and capabilities.
    pub const USER: Self = Self(libc::CLONE_NEWUSER as u64);
    /// The view of the cgroup tree.
    pub const CGROUP: Self = Self(libc::CLONE_NEWCGROUP as u64);
    /// Offsets of the monotonic and boot-time clocks.
    pub const TIME: Self = Self(libc::CLONE_NEWTIME as u64);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A child just made.
#[derive(Debug)]
pub struct Child {
    /// Its id, seen from the caller's pid namespace.
    pub pid: u32,
    /// Refers to this very process, however ids are reused.
    pub pidfd: OwnedFd,
}

/// Forks; the child runs `child` in new namespaces and exits with what it returns.
///
/// A panic in the child ends it with status 70. With `cgroup`, a directory of a v2 cgroup, the child
/// starts inside it.
///
/// # Errors
/// `EDEADLK` when the caller has more than one thread; otherwise what clone3(2) says.
pub fn fork_into(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    fork(namespaces.0, cgroup, child)
}

/// The same, but the new process is a child of the caller's parent, which is told of its end.
///
/// # Errors
/// As [`fork_into`]; `EINVAL` for the first process of a pid namespace.
pub fn fork_sibling(
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> io::Result<Child> {
    fork(namespaces.0 | libc::CLONE_PARENT as u64, cgroup, child)
}

fn fork(flags: u64, cgroup: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> io::Result<Child> {
    // For the only thread of a process this changes nothing; for any other it is an error.
    // SAFETY: the flag asks for a property that the caller has or has not; nothing is unshared.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain data for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(&mut pidfd) as u64;
    // A sibling has the signal of the caller.
    args.exit_signal = if flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets a copy of the address space and goes on at this point of
    // its own copy of the stack, as after fork(2). No other thread exists, so no lock is held for ever.
    // `args` and `pidfd` outlive the call.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = catch_unwind(AssertUnwindSafe(child)).unwrap_or(70);
            // SAFETY: _exit only ends the process; the parent's exit handlers are not the child's to run.
            unsafe { libc::_exit(status) }
        }
        pid => {
            // SAFETY: CLONE_PIDFD made the kernel store a new descriptor there; nobody else owns it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid: u32::try_from(pid).unwrap_or(0), pidfd })
        }
    }
}

/// Moves the calling thread into new namespaces of these kinds (for `PID`, its next children).
///
/// # Errors
/// What unshare(2) says.
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: the flags are namespaces only (no CLONE_FILES), so no descriptor changes its meaning.
    match unsafe { libc::unshare(namespaces.0 as libc::c_int) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_add_up() {
        let both = Namespaces::PID.with(Namespaces::UTS);
        assert!(both.contains(Namespaces::PID) && both.contains(Namespaces::UTS));
        assert!(!both.contains(Namespaces::MOUNT));
        assert!(both.contains(Namespaces::NONE));
    }

    #[test]
    fn a_process_with_threads_may_not_fork() {
        // The test runner's own thread is there beside this one.
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        let refused = fork_into(Namespaces::NONE, None, || 0).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EDEADLK));
        drop(hold);
        let _ = other.join();
    }
}
