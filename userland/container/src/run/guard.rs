//! Keeping our own program out of a container's reach.
//!
//! A container that is made to execute `/proc/self/exe` runs our program, and could keep that file open to
//! overwrite it later (CVE-2019-5736). On Corten it lies on a verified, read-only file system. Elsewhere we
//! execute ourselves again through a read-only copy of its mount that no path leads to: what is opened by
//! way of that copy can never be written.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, open, statvfs};

const SELF: &str = "/proc/self/exe";

/// Returns once this process runs from a file that cannot be written; it may have begun anew for that.
///
/// # Errors
/// When the copy cannot be made. Nothing may be run in a container then.
pub fn protect_own_program() -> io::Result<()> {
    if is_read_only()? {
        return Ok(());
    }
    let program = open(SELF, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let copy = super::mounts::copy_of(&program, false)?;
    set_mount_attributes(
        &copy,
        MountAttributes::READ_ONLY,
        MountAttributes::NONE,
        Propagation::Unchanged,
        false,
    )?;
    let strings = |texts: Vec<std::ffi::OsString>| -> Result<Vec<CString>, io::Error> {
        texts.into_iter().map(|text| CString::new(text.as_bytes()).map_err(io::Error::from)).collect()
    };
    let args = strings(std::env::args_os().collect())?;
    let env = strings(
        std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .collect(),
    )?;
    let path = CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd()))?;
    match nix::unistd::execve(&path, &args, &env) {
        Ok(never) => match never {},
        Err(error) => Err(error.into()),
    }
}

fn is_read_only() -> io::Result<bool> {
    Ok(statvfs(SELF)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}
