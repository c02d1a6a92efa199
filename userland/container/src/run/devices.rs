//! The few devices of a container.
//!
//! The nodes are made in a small memory file system of the container's own, so that changing their owner or
//! mode changes nothing on the machine, and are shown one by one on empty files of `/dev`. That file
//! system itself is out of reach. All others of the container are mounted `nodev`, so no other device can
//! be opened, even by who may make nodes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmodat, makedev, mknodat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::mounts::{MountError, attach, copy_of, device_options, failed, new_mount, open_path};

const DEVICES: [(&str, (u32, u32)); 6] = [
    ("null", (1, 3)),
    ("zero", (1, 5)),
    ("full", (1, 7)),
    ("random", (1, 8)),
    ("urandom", (1, 9)),
    ("tty", (5, 0)),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// The devices, as detached mounts of single nodes.
pub struct Devices(Vec<(&'static str, OwnedFd)>);

impl Devices {
    /// Makes them. `root` is borrowed as a place to attach a mount to for a moment, since only what is
    /// attached can be copied.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make(root: BorrowedFd<'_>) -> Result<Self, MountError> {
        let path = Path::new("/dev");
        let refused = |error: std::io::Error| failed("make devices for", path, error);
        let home = new_mount("tmpfs", None, &device_options()).map_err(refused)?;
        attach(&home, root).map_err(|error| refused(error.into()))?;
        let made = Self::make_in(&home);
        unmount(format!("/proc/self/fd/{}", home.as_raw_fd()), UnmountFlags::DETACH)
            .map_err(|error| refused(error.into()))?;
        made
    }

    fn make_in(home: &OwnedFd) -> Result<Self, MountError> {
        let mut nodes = Vec::new();
        for (name, (major, minor)) in DEVICES {
            let path = Path::new("/dev").join(name);
            let refused = |error| failed("make device", &path, error);
            let (mode, kind) = (Mode::from_raw_mode(0o666), FileType::CharacterDevice);
            mknodat(home, name, kind, mode, makedev(major, minor)).map_err(refused)?;
            // Whatever our umask is.
            chmodat(home, name, mode, AtFlags::empty()).map_err(refused)?;
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = openat(home, name, flags, Mode::empty()).map_err(refused)?;
            nodes.push((name, copy_of(node, false).map_err(refused)?));
        }
        Ok(Self(nodes))
    }

    /// The container's `/dev/null`.
    #[must_use]
    pub fn null(&self) -> Option<BorrowedFd<'_>> {
        self.0.first().map(|(_, device)| device.as_fd())
    }

    /// Shows them in the `/dev` beneath `root`, with the usual links.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn show(&self, root: BorrowedFd<'_>) -> Result<(), MountError> {
        let path = Path::new("/dev");
        let dev = open_path(root, path, true).map_err(|error| failed("open", path, error))?;
        for (name, device) in &self.0 {
            show_on(dev.as_fd(), name, device.as_fd())?;
        }
        for (name, target) in LINKS {
            match symlinkat(target, &dev, name) {
                // An image's /dev that is shown as a volume may have them.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed("link", &path.join(name), error)),
            }
        }
        Ok(())
    }
}

/// Shows the detached mount `device` as `name` in the directory `dev`. The mount itself is attached, not a copy
/// of it: before Linux 6.15 only what is attached can be copied.
///
/// # Errors
/// When the kernel refuses.
pub fn show_on(dev: BorrowedFd<'_>, name: &str, device: BorrowedFd<'_>) -> Result<(), MountError> {
    let path = Path::new("/dev").join(name);
    let refused = |error| failed("show device", &path, error);
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::EXCL;
    match openat(dev, name, flags, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(refused(error)),
    }
    let target = open_path(dev, Path::new(name), true).map_err(refused)?;
    attach(device, &target).map_err(refused)
}
