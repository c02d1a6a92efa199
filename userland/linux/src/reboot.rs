//! A restart with a word for the firmware: reboot(2), LINUX_REBOOT_CMD_RESTART2, which rustix and nix lack.

use std::ffi::CStr;
use std::io;

/// Restarts the machine with this argument. Returns only if that is refused, and why.
pub fn restart_with(argument: &CStr) -> io::Error {
    // SAFETY: the kernel reads the string, which ends with a zero byte, and returns only on failure.
    unsafe {
        libc::syscall(
            libc::SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            libc::LINUX_REBOOT_CMD_RESTART2,
            argument.as_ptr(),
        );
    }
    io::Error::last_os_error()
}
