//! Streams that a client has handed over for a transient unit (`systemd-run --pipe`): PID 1 keeps them, the unit's file
//! names them as `/proc/self/fd/N`, and the child takes the very descriptor rather than opening what is behind it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

const FOLDER: &str = "/proc/self/fd/";

/// How a unit's file names a descriptor of PID 1.
pub fn place(fd: &OwnedFd) -> String {
    format!("{FOLDER}{}", fd.as_raw_fd())
}

/// The number in such a name.
fn number(path: &str) -> Option<i32> {
    path.strip_prefix(FOLDER)?.parse().ok()
}

/// Whether it is such a name, and not that of a file.
pub(super) fn is_one(path: &str) -> bool {
    number(path).is_some()
}

/// The descriptor of such a name.
pub(super) fn take(path: &str) -> io::Result<OwnedFd> {
    let number = number(path).ok_or(io::ErrorKind::NotFound)?;
    let me = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(pidfd_getfd(&me, number, PidfdGetfdFlags::empty())?)
}
