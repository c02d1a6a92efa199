//! Descriptors that a program keeps while it executes itself anew (execve(2), FD_CLOEXEC).

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first that is none of the standard streams.
const FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Every descriptor that came along, but for the standard streams: whatever is dropped is closed. To be called before
/// the program opens any of its own; they are given once, later calls get none.
#[must_use]
pub fn take() -> BTreeMap<RawFd, OwnedFd> {
    if TAKEN.swap(true, Ordering::Relaxed) {
        return BTreeMap::new();
    }
    let numbers = open_numbers();
    let mut taken = BTreeMap::new();
    for number in numbers {
        // SAFETY: fcntl only sets a flag, and fails when there is no such descriptor (that of the listing is gone).
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0 {
            // SAFETY: it is open, it came from the program before us, and the caller has opened none of its own yet:
            // nobody else has it, and we take it once.
            taken.insert(number, unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    taken
}

/// Keeps a descriptor open over the next execve(2), or no longer.
pub fn keep(fd: BorrowedFd<'_>, over_exec: bool) {
    let flag = if over_exec { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: only sets a flag of a descriptor that is open.
    unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, flag) };
}

/// Keeps all that are open over the next execve(2), or no longer; all but the standard streams.
pub fn keep_all(over_exec: bool) {
    let flag = if over_exec { 0 } else { libc::FD_CLOEXEC };
    for number in open_numbers() {
        // SAFETY: only sets a flag, and fails when there is no such descriptor.
        unsafe { libc::fcntl(number, libc::F_SETFD, flag) };
    }
}

fn open_numbers() -> Vec<RawFd> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| *number >= FIRST).collect()
}
