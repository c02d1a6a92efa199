//! Paths that a container is not to see or not to write.
//!
//! What covers them is opened before the container's files can be in the way, and by descriptor: that it is the
//! machine's `/dev/null` is checked, not believed (CVE-2025-31133). What covers a file is read-only, so that
//! changing its mode changes nothing on the machine.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use rustix::fs::{FileType, Mode, OFlags, fstat, makedev, open};
use rustix::io::Errno;

use super::mount_options::MountOptions;
use super::mounts::{MountError, attach, copy_of, failed, new_mount, open_path};

/// Covers, the one for directories made when the first is met.
pub struct Covers {
    null: OwnedFd,
    empty: Option<OwnedFd>,
}

impl Covers {
    /// Opens the machine's `/dev/null`.
    ///
    /// # Errors
    /// When it is none.
    pub fn open() -> io::Result<Self> {
        let null = open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&null)?;
        let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !device || stat.st_rdev != makedev(1, 3) {
            return Err(io::Error::other("/dev/null is not the null device"));
        }
        Ok(Self { null, empty: None })
    }

    /// Hides what is at this path, if it is there: a directory behind an empty one, a file behind `/dev/null`.
    ///
    /// # Errors
    /// When the kernel refuses, or a link was put there.
    pub fn hide(&mut self, root: BorrowedFd<'_>, path: &Path) -> Result<(), MountError> {
        let refused = |error: io::Error| failed("mask", path, error);
        let target = match open_path(root, path, true) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            other => other.map_err(|error| refused(error.into()))?,
        };
        let stat = fstat(&target).map_err(|error| refused(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let cover = self.empty_directory().map_err(refused)?;
            attach(&cover, &target).map_err(|error| refused(error.into()))?;
            self.empty = Some(cover);
            return Ok(());
        }
        let cover = copy_of(self.null.as_fd(), false).map_err(|error| refused(error.into()))?;
        let how = MountAttributes::READ_ONLY;
        set_mount_attributes(&cover, how, MountAttributes::NONE, Propagation::Private, false)
            .map_err(refused)?;
        attach(&cover, &target).map_err(|error| refused(error.into()))
    }

    fn empty_directory(&self) -> io::Result<OwnedFd> {
        match &self.empty {
            // It is attached by now, and only what is attached can be copied.
            Some(empty) => Ok(copy_of(empty, false)?),
            None => {
                let options = ["ro", "nosuid", "nodev", "noexec", "size=4k", "mode=555"];
                new_mount("tmpfs", Some(Path::new("tmpfs")), &MountOptions::parse(&options))
            }
        }
    }
}

/// Makes what is at this path read-only, if it is there.
///
/// # Errors
/// When the kernel refuses, or a link was put there.
pub fn make_read_only(root: BorrowedFd<'_>, path: &Path) -> Result<(), MountError> {
    let refused = |error: io::Error| failed("make read-only", path, error);
    let target = match open_path(root, path, true) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other.map_err(|error| refused(error.into()))?,
    };
    let copy = copy_of(&target, true).map_err(|error| refused(error.into()))?;
    let how = MountAttributes::READ_ONLY;
    set_mount_attributes(&copy, how, MountAttributes::NONE, Propagation::Private, true).map_err(refused)?;
    attach(&copy, &target).map_err(|error| refused(error.into()))
}
