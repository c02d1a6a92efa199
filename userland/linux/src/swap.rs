//! Memory that is kept on disks and in files: swapon(2), swapoff(2).

use std::ffi::{CStr, c_int};
use std::io;

const PREFER: c_int = 0x8000;
const PRIORITY_MASK: c_int = 0x7fff;
const DISCARD: c_int = 0x1_0000;
const DISCARD_ONCE: c_int = 0x2_0000;
const DISCARD_PAGES: c_int = 0x4_0000;

/// When the device is told what is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// Never.
    No,
    /// Once, all of it, when it is put to use.
    Once,
    /// Pages as they become free.
    Pages,
    /// Both.
    All,
}

/// Puts a device or file to use. `priority`: 0 to 32767, the greatest is used first; `None`: below all of these.
///
/// # Errors
/// What swapon(2) says: EINVAL, it has no swap signature; EBUSY, it is in use.
pub fn on(path: &CStr, priority: Option<u16>, discard: Discard) -> io::Result<()> {
    let priority = priority.map_or(0, |priority| PREFER | (c_int::from(priority) & PRIORITY_MASK));
    let discard = match discard {
        Discard::No => 0,
        Discard::Once => DISCARD | DISCARD_ONCE,
        Discard::Pages => DISCARD | DISCARD_PAGES,
        Discard::All => DISCARD,
    };
    // SAFETY: the path ends with a zero byte and lives as long as the call.
    check(unsafe { libc::swapon(path.as_ptr(), priority | discard) })
}

/// Brings what is in it back to memory, and lets go of it.
///
/// # Errors
/// What swapoff(2) says: EINVAL, it is not in use; ENOMEM, there is no room for what is in it.
pub fn off(path: &CStr) -> io::Result<()> {
    // SAFETY: the path ends with a zero byte and lives as long as the call.
    check(unsafe { libc::swapoff(path.as_ptr()) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
