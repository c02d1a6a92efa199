//! A filter over the system calls of the calling thread and all that it starts: seccomp(2).
//!
//! Unlike the libraries that compile filters this door leaves `no_new_privs` alone: a service of root may be filtered
//! and still start set-user-id programs.

use std::io;

/// An instruction of classic BPF: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Binds the calling thread to a program, for good.
///
/// # Errors
/// `EACCES` without `CAP_SYS_ADMIN` and without `no_new_privs`; `EINVAL`: the program is none.
pub fn install(program: impl IntoIterator<Item = Instruction>) -> io::Result<()> {
    let code: Vec<libc::sock_filter> =
        program.into_iter().map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
    let len = u16::try_from(code.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = libc::sock_fprog { len, filter: code.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from `filter`, which lives through the call, and writes nothing.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
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
