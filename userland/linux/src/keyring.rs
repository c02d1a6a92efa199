//! The session keyring of the calling process: keyctl(2).

use std::io;

const JOIN_SESSION: libc::c_long = 1;
const SET_PERMISSIONS: libc::c_long = 5;
const LINK: libc::c_long = 8;
const SESSION: libc::c_long = -3;
const USER: libc::c_long = -4;
/// Everything for who has it, reading and searching for the same user.
const PERMISSIONS: libc::c_long = 0x3f0b_0000;

/// Joins a fresh session keyring, which nobody else has.
///
/// # Errors
/// What keyctl(2) says; `ENOSYS` where the kernel keeps no keys.
pub fn join_fresh_session() -> io::Result<()> {
    keyctl(JOIN_SESSION, 0, 0)?;
    keyctl(SET_PERMISSIONS, SESSION, PERMISSIONS)
}

/// Makes the user's keyring reachable from the session's.
///
/// # Errors
/// What keyctl(2) says.
pub fn link_user() -> io::Result<()> {
    keyctl(LINK, USER, SESSION)
}

fn keyctl(operation: libc::c_long, first: libc::c_long, second: libc::c_long) -> io::Result<()> {
    // SAFETY: these three operations take numbers only; a name of zero is the null pointer.
    match unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
