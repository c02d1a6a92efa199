//! What a program that is about to be executed must not inherit: open descriptors and signal state.
//!
//! Sources: close_range(2), signal(7), sigprocmask(2).

use std::io;

/// Marks every descriptor from `first` on to be closed by exec.
///
/// Nothing is closed now, so every owner of a descriptor keeps what it has.
///
/// # Errors
/// What close_range(2) says; `EINVAL` before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: CLOSE_RANGE_CLOEXEC only sets a flag on descriptors; no memory is involved.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every signal its default action and blocks none.
///
/// # Errors
/// What sigprocmask(2) says.
pub fn default_signals() -> io::Result<()> {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is a valid disposition; signals that cannot be changed answer EINVAL, which is
        // what we want of them.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: sigset_t is plain data; sigemptyset makes it valid before it is used.
    let result = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
