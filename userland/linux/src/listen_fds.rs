//! The sockets that a service manager hands over: `LISTEN_PID`, `LISTEN_FDS` (sd_listen_fds(3)).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// The first of them.
const FIRST: RawFd = 3;
/// The most that are believed.
const MOST: RawFd = 1024;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the sockets that were meant for this process, in order; once. They are closed on exec from now on.
#[must_use]
pub fn take() -> Vec<OwnedFd> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i64>().ok();
    let meant = number("LISTEN_PID") == Some(i64::from(std::process::id()));
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok()).unwrap_or(0);
    if !meant || !(1..=MOST).contains(&count) || TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let mut taken = Vec::new();
    for raw in FIRST..FIRST + count {
        // SAFETY: only borrowed, to ask whether the descriptor is open; the kernel answers EBADF if it is not.
        let there = unsafe { rustix::fd::BorrowedFd::borrow_raw(raw) };
        if fcntl_getfd(there).is_err() || fcntl_setfd(there, FdFlags::CLOEXEC).is_err() {
            break;
        }
        // SAFETY: the descriptor is open, was left to this process by its parent under that agreement, and is taken
        // at most once (`TAKEN`), so nothing else in this process owns it.
        taken.push(unsafe { OwnedFd::from_raw_fd(raw) });
    }
    taken
}
