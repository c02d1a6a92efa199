//! Attributes of a mount, changed through its descriptor: mount_setattr(2).
//!
//! A detached copy (`open_tree` with `OPEN_TREE_CLONE`) gets its attributes before it is attached, so
//! there is no moment in which a volume that is to be read-only can be written.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Attributes of a mount, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttributes(u64);

impl MountAttributes {
    /// None.
    pub const NONE: Self = Self(0);
    /// Nothing may be written.
    pub const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    /// Set-user-id bits and file capabilities have no effect.
    pub const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    /// Device nodes cannot be opened.
    pub const NO_DEV: Self = Self(libc::MOUNT_ATTR_NODEV);
    /// Nothing may be executed.
    pub const NO_EXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How mounts and unmounts travel between copies of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Left as it is.
    Unchanged,
    /// Neither way.
    Private,
    /// From the original to the copy.
    Slave,
    /// Both ways.
    Shared,
}

/// Sets and clears attributes of the mount that `mount` is the root of; with `recursive`, of all below too.
///
/// # Errors
/// What mount_setattr(2) says; `ENOSYS` before Linux 5.12.
pub fn set_mount_attributes(
    mount: impl AsFd,
    set: MountAttributes,
    clear: MountAttributes,
    propagation: Propagation,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: set.0,
        attr_clr: clear.0,
        propagation: match propagation {
            Propagation::Unchanged => 0,
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
        },
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let nothing: &CStr = c"";
    // SAFETY: the path is a C string and the attributes are of the size told; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            nothing.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_no_mount() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        let refused = set_mount_attributes(
            &file,
            MountAttributes::READ_ONLY,
            MountAttributes::NONE,
            Propagation::Unchanged,
            false,
        );
        assert!(refused.is_err());
    }
}
