//! The root file system of a container: its image's layers below, its own writable directory on top.
//!
//! Mounted inside the container's mount namespace only. `nodev` holds for all of it: a device node in a
//! layer, or one made by the container, opens nothing. The directories are given to the kernel as
//! descriptors, which keeps the options short enough for any number of layers.
//! Source: the kernel's documentation of overlayfs.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{MountFlags, mount};

/// The parts of a root file system.
#[derive(Clone, Debug)]
pub struct Rootfs {
    /// Layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// Where the container's changes go.
    pub upper: PathBuf,
    /// For the kernel's own use, on the same file system.
    pub work: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Whether device nodes may be opened (privileged containers).
    pub devices: bool,
}

/// A part is missing or the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("root file system: {what} {path}: {source}")]
pub struct RootfsError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Rootfs {
    /// Mounts it in the caller's mount namespace, and returns its root directory.
    ///
    /// # Errors
    /// When a directory is missing or the kernel cannot stack them.
    pub fn mount(&self) -> Result<OwnedFd, RootfsError> {
        let failed =
            |what, path: &Path, source: io::Error| RootfsError { what, path: path.to_owned(), source };
        let held = |path: &Path| {
            open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| failed("open", path, error.into()))
        };
        // The topmost comes first in the kernel's list. An image may have no layer at all.
        let mut lower = Vec::new();
        for path in self.layers.iter().rev() {
            let dir = held(path)?;
            lower.push(dir);
        }
        let (upper, work) = (held(&self.upper)?, held(&self.work)?);
        if lower.is_empty() {
            let empty = self.target.clone();
            lower.push(held(&empty)?);
        }
        let mut options = String::from("lowerdir=");
        for (at, dir) in lower.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            let _ = write!(options, "{colon}/proc/self/fd/{}", dir.as_raw_fd());
        }
        let _ = write!(
            options,
            ",upperdir=/proc/self/fd/{},workdir=/proc/self/fd/{},index=off,metacopy=off",
            upper.as_raw_fd(),
            work.as_raw_fd()
        );
        let options = std::ffi::CString::new(options)
            .map_err(|error| failed("name", &self.target, io::Error::other(error)))?;
        let flags = if self.devices { MountFlags::empty() } else { MountFlags::NODEV };
        mount("overlay", &self.target, "overlay", flags, Some(options.as_c_str()))
            .map_err(|error| failed("mount on", &self.target, error.into()))?;
        held(&self.target)
    }
}
