//! A filter over the system calls of the calling thread and all that it starts: seccomp(2).
//!
//! Unlike the libraries that compile filters this door leaves `no_new_privs` alone: a service of root may be filtered
//! and still start set-user-id programs.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// An instruction of classic BPF: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Binds the calling thread to a program, for good.
///
/// # Errors
/// `EACCES` without `CAP_SYS_ADMIN` and without `no_new_privs`; `EINVAL`: the program is none.
pub fn install(program: impl IntoIterator<Item = Instruction>) -> io::Result<()> {
    let code = compiled(program);
    let result = set_filter(0, &code)?;
    if result == 0 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// The same with flags (`SECCOMP_FILTER_FLAG_…`); with `NEW_LISTENER` the result is the descriptor that hears of
/// calls which the filter leaves to somebody else.
///
/// # Errors
/// As [`install`]; `EBUSY`: there is a listener already.
pub fn install_with(
    flags: u64,
    program: impl IntoIterator<Item = Instruction>,
) -> io::Result<Option<OwnedFd>> {
    let result = set_filter(flags, &compiled(program))?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    let listener = i32::try_from(result).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: with this flag the kernel has just made this descriptor; nobody else owns it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
}

fn compiled(program: impl IntoIterator<Item = Instruction>) -> Vec<libc::sock_filter> {
    program.into_iter().map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect()
}

fn set_filter(flags: u64, code: &[libc::sock_filter]) -> io::Result<libc::c_long> {
    let len = u16::try_from(code.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: code.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter`, which lives through the call, and writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_program_is_refused() {
        assert!(install([]).is_err());
        assert!(install((0..70_000).map(|_| (0x06, 0, 0, 0x7fff_0000))).is_err());
    }
}
