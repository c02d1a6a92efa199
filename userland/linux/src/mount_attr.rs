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
    /// The time of access is never written.
    pub const NO_ATIME: Self = Self(libc::MOUNT_ATTR_NOATIME);
    /// The time of access is written at every access.
    pub const STRICT_ATIME: Self = Self(libc::MOUNT_ATTR_STRICTATIME);
    /// All choices of when the time of access is written: to be cleared before one is set.
    pub const ANY_ATIME: Self = Self(libc::MOUNT_ATTR__ATIME);
    /// The time of access of directories is not written.
    pub const NO_DIR_ATIME: Self = Self(libc::MOUNT_ATTR_NODIRATIME);
    /// Symbolic links are not followed.
    pub const NO_SYMLINK_FOLLOW: Self = Self(libc::MOUNT_ATTR_NOSYMFOLLOW);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
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
    /// Neither way, and it cannot be copied.
    Unbindable,
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
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        },
        userns_fd: 0,
    };
    change(mount, &attributes, recursive)
}

/// Shows the owners of a detached mount as this user namespace maps them; with `recursive`, of all below too.
///
/// # Errors
/// `EINVAL`: the file system cannot, or the mount has a mapping already.
pub fn map_owners(mount: impl AsFd, users: impl AsFd, recursive: bool) -> io::Result<()> {
    let users = u64::try_from(users.as_fd().as_raw_fd()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let attributes =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd: users };
    change(mount, &attributes, recursive)
}

fn change(mount: impl AsFd, attributes: &libc::mount_attr, recursive: bool) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let nothing: &CStr = c"";
    // SAFETY: the path is a C string and the attributes are of the size told; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            nothing.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
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
