//! Descriptors that the service manager hands to a program at its start: listening sockets, and what the program gave
//! it to keep over a restart. Source: sd_listen_fds_with_names(3).

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first of them.
const FIRST: i32 = 3;
/// More than this are nobody's honest number.
const MOST: i32 = 65_536;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// The descriptors meant for this process, each with its name. They are given once; later calls get none.
#[must_use]
pub fn take() -> Vec<(String, OwnedFd)> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let ours = number("LISTEN_PID").is_some_and(|pid| u32::try_from(pid).ok() == Some(std::process::id()));
    let count = number("LISTEN_FDS").filter(|count| ours && (1..=MOST).contains(count));
    let Some(count) = count else { return Vec::new() };
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut list = Vec::new();
    for fd in FIRST..FIRST + count {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
        // SAFETY: fcntl only sets a flag, and fails when there is no such descriptor.
        if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
            continue;
        }
        // SAFETY: the descriptor is open; the manager's contract, which the process id confirms, makes it ours alone,
        // and we take it once.
        list.push((name.to_owned(), unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    list
}
