//! Terminals that a session begins on: ioctl_tty(2), ioctl_console(2).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

const KDSETMODE: libc::c_ulong = 0x4b3a;
const KD_TEXT: libc::c_int = 0;
const VT_DISALLOCATE: libc::c_ulong = 0x5608;
const TIOCVHANGUP: libc::c_ulong = 0x5437;

/// Makes a terminal the controlling one of the calling session leader; with `force`, takes it from another session.
///
/// # Errors
/// `EPERM`: another session has it.
pub fn take(terminal: impl AsFd, force: bool) -> io::Result<()> {
    ioctl(terminal, libc::TIOCSCTTY, libc::c_int::from(force))
}

/// Hangs up on whoever has the terminal open.
///
/// # Errors
/// It is no terminal, or the caller lacks CAP_SYS_ADMIN.
pub fn hang_up(terminal: impl AsFd) -> io::Result<()> {
    ioctl(terminal, TIOCVHANGUP, 0)
}

/// Ends exclusive use and graphics mode, so that text is seen.
pub fn to_text(terminal: impl AsFd) {
    // Either is fine to fail: a serial line has no modes, and nobody may have it for themselves.
    let _ = ioctl(terminal.as_fd(), libc::TIOCNXCL, 0);
    let _ = ioctl(terminal, KDSETMODE, KD_TEXT);
}

/// Lets go of a virtual terminal's memory, so that what was on it is gone.
///
/// # Errors
/// `EBUSY`: it is in use.
pub fn disallocate(console: impl AsFd, number: u8) -> io::Result<()> {
    ioctl(console, VT_DISALLOCATE, number.into())
}

fn ioctl(terminal: impl AsFd, request: libc::c_ulong, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: each of these requests takes its argument by value.
    match unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), request, argument) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_file_is_no_terminal() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(super::take(&file, false).is_err() && super::hang_up(&file).is_err());
        super::to_text(&file);
    }
}
