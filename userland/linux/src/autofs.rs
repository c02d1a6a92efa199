//! The kernel's automounter, autofs: what it says through its pipe, and what it is told with ioctl(2).
//!
//! Sources: the kernel's filesystems/autofs.rst and uapi/linux/auto_fs.h, protocol 5.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const READY: libc::c_ulong = 0x9360;
const FAIL: libc::c_ulong = 0x9361;
const CATATONIC: libc::c_ulong = 0x9362;
const SETTIMEOUT: libc::c_ulong = 0xc008_9364;
const EXPIRE_MULTI: libc::c_ulong = 0x4004_9366;

const MISSING_DIRECT: i32 = 5;
const EXPIRE_DIRECT: i32 = 6;
/// `struct autofs_v5_packet`.
pub const PACKET: usize = 304;

/// What the kernel asks for; the number goes back with the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Somebody waits at the folder.
    Missing {
        /// To answer with.
        token: u32,
        /// Who.
        pid: u32,
    },
    /// The mount has not been used for long.
    Expire {
        /// To answer with.
        token: u32,
    },
}

impl Request {
    /// Reads a packet.
    #[must_use]
    pub fn parse(packet: &[u8; PACKET]) -> Option<Request> {
        let word = |at: usize| {
            packet.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)
        };
        let token = word(8)?;
        match word(4)? as i32 {
            MISSING_DIRECT => Some(Request::Missing { token, pid: word(32)? }),
            EXPIRE_DIRECT => Some(Request::Expire { token }),
            _ => None,
        }
    }
}

fn call(root: BorrowedFd<'_>, request: libc::c_ulong, value: libc::c_ulong) -> io::Result<()> {
    // SAFETY: READY, FAIL and CATATONIC take their argument by value, and no pointer.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), request, value) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets those go on who wait with this token. `root`: a descriptor of the autofs' own folder.
///
/// # Errors
/// Nobody waits.
pub fn ready(root: BorrowedFd<'_>, token: u32) -> io::Result<()> {
    call(root, READY, token.into())
}

/// Lets those fail who wait with this token.
///
/// # Errors
/// Nobody waits.
pub fn fail(root: BorrowedFd<'_>, token: u32) -> io::Result<()> {
    call(root, FAIL, token.into())
}

/// Nobody answers any more: whoever comes fails at once.
///
/// # Errors
/// It is no autofs.
pub fn catatonic(root: BorrowedFd<'_>) -> io::Result<()> {
    call(root, CATATONIC, 0)
}

/// After how many seconds without use a mount may be expired.
///
/// # Errors
/// It is no autofs.
pub fn set_timeout(root: BorrowedFd<'_>, seconds: u64) -> io::Result<()> {
    let mut seconds: libc::c_ulong = seconds as _;
    // SAFETY: AUTOFS_IOC_SETTIMEOUT reads and writes one unsigned long.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), SETTIMEOUT, &raw mut seconds) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel look for a mount to expire. It waits for the answer to its own request: not for who is to answer.
///
/// # Errors
/// `EAGAIN` when there is none.
pub fn expire(root: BorrowedFd<'_>) -> io::Result<()> {
    let how: libc::c_int = 0;
    // SAFETY: AUTOFS_IOC_EXPIRE_MULTI reads one int.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), EXPIRE_MULTI, &raw const how) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read() {
        let mut packet = [0; PACKET];
        packet[4..8].copy_from_slice(&MISSING_DIRECT.to_ne_bytes());
        packet[8..12].copy_from_slice(&7u32.to_ne_bytes());
        packet[32..36].copy_from_slice(&99u32.to_ne_bytes());
        assert_eq!(Request::parse(&packet), Some(Request::Missing { token: 7, pid: 99 }));
        packet[4..8].copy_from_slice(&EXPIRE_DIRECT.to_ne_bytes());
        assert_eq!(Request::parse(&packet), Some(Request::Expire { token: 7 }));
        packet[4..8].copy_from_slice(&77i32.to_ne_bytes());
        assert_eq!(Request::parse(&packet), None);
    }
}
