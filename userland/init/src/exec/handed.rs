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

/// The descriptor of such a name; `None`: it is the name of a file.
pub(super) fn take(path: &str) -> Option<io::Result<OwnedFd>> {
    let number = path.strip_prefix(FOLDER)?.parse().ok()?;
    let copy = pidfd_open(getpid(), PidfdFlags::empty())
        .and_then(|me| pidfd_getfd(&me, number, PidfdGetfdFlags::empty()));
    Some(copy.map_err(io::Error::from))
}
