//! The root directory of a container: stacked from layers, or a directory of a bundle.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::mounts::{attach, copy_of};
use crate::rootfs::Rootfs;

/// Where the root directory comes from.
pub enum Root<'a> {
    /// From an image's layers.
    Layers(&'a Rootfs),
    /// From a bundle; with all that is mounted below it.
    Directory(PathBuf),
}

impl Root<'_> {
    /// Makes it a mount of its own in the caller's mount namespace.
    ///
    /// # Errors
    /// When it is missing or the kernel refuses.
    pub fn mount(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Layers(layers) => layers.mount().map_err(io::Error::other),
            Self::Directory(path) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let named = |error: rustix::io::Errno| {
                    let error = io::Error::from(error);
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                };
                let directory = open(path, flags, Mode::empty()).map_err(named)?;
                let copy = copy_of(&directory, true).map_err(named)?;
                attach(&copy, &directory).map_err(named)?;
                Ok(copy)
            }
        }
    }
}

/// How mounts travel between the machine and this mount namespace, before anything is mounted: as
/// `rootfsPropagation` says, else from the machine only.
pub(super) fn begin_propagation(wanted: Option<&str>) -> io::Result<()> {
    let how = match wanted {
        Some("shared" | "rshared") => MountPropagationFlags::SHARED,
        Some("private" | "rprivate") => MountPropagationFlags::PRIVATE,
        Some("unbindable" | "runbindable") => MountPropagationFlags::PRIVATE,
        None | Some("" | "slave" | "rslave") => MountPropagationFlags::DOWNSTREAM,
        Some(other) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("rootfsPropagation {other:?} is none"),
            ));
        }
    };
    Ok(mount_change("/", how | MountPropagationFlags::REC)?)
}

/// pivot_root(2) wants the mount that the root directory lies on not to be shared.
pub(super) fn keep_parent_private(root: &Path) {
    for path in root.ancestors().skip(1) {
        // Only a place where something is mounted takes it.
        if mount_change(path, MountPropagationFlags::PRIVATE).is_ok() {
            return;
        }
    }
}

/// The propagation of the root itself, once the container stands.
pub(super) fn end_propagation(wanted: Option<&str>) -> io::Result<()> {
    let (how, recursive) = match wanted {
        Some("shared") => (Propagation::Shared, false),
        Some("rshared") => (Propagation::Shared, true),
        Some("slave") => (Propagation::Slave, false),
        Some("rslave") => (Propagation::Slave, true),
        Some("private") => (Propagation::Private, false),
        Some("rprivate") => (Propagation::Private, true),
        Some("unbindable") => (Propagation::Unbindable, false),
        Some("runbindable") => (Propagation::Unbindable, true),
        _ => return Ok(()),
    };
    let root = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    set_mount_attributes(root, MountAttributes::NONE, MountAttributes::NONE, how, recursive)
}

/// Makes `root` the root, and lets go of the machine's files for good.
pub(super) fn pivot(root: &OwnedFd) -> io::Result<()> {
    let old = open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::fchdir(root)?;
    // Both names are the same directory: the old root ends up mounted on top of the new one.
    rustix::process::pivot_root(".", ".")?;
    rustix::process::fchdir(&old)?;
    // What goes away here stays on the machine.
    mount_change(".", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}
