//! The devices of a container: the few that every one has, and those of its configuration.
//!
//! Where nodes can be opened in its `/dev`, they are made there. Where they cannot, since `/dev` is mounted `nodev`,
//! the nodes live in a small memory file system of the container's own, out of reach, and are shown one by one on
//! empty files: then no other device can be opened, even by who may make nodes. In a user namespace, where no
//! node can be made, the machine's own are shown. Source: OCI runtime specification "Default Devices".

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux::mount_attr::MountAttributes;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount, Spec};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, makedev, mknodat, openat, symlinkat,
};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::mount_options::MountOptions;
use super::mounts::{MountError, attach, copy_of, device_options, failed, make_target, new_mount, open_path};

const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

/// A node to be made.
#[derive(Debug, PartialEq, Eq)]
struct Node {
    path: PathBuf,
    kind: FileType,
    number: u64,
    mode: u32,
    owner: (u32, u32),
}

/// The mount of a configuration that makes `/dev`, with its options.
fn dev_mount(spec: &Spec) -> Option<(&Mount, MountOptions)> {
    let mut mounts = spec.mounts().iter().flatten();
    let mount = mounts.rfind(|mount| mount.destination() == Path::new("/dev"))?;
    Some((mount, MountOptions::parse(mount.options().as_deref().unwrap_or_default())))
}

/// Whether no node can be opened in the container's `/dev`, nor shall be anywhere else.
#[must_use]
pub fn are_closed(spec: &Spec) -> bool {
    let closed = |options: &MountOptions| options.set.without(MountAttributes::NO_DEV) != options.set;
    dev_mount(spec).is_some_and(|(_, options)| !options.bind && closed(&options))
}

/// Makes them beneath `root`, with the usual links.
///
/// # Errors
/// When the kernel refuses, or a path leads through a link.
pub fn provide(root: BorrowedFd<'_>, spec: &Spec) -> Result<(), MountError> {
    // What is there came from the machine.
    if dev_mount(spec).is_some_and(|(mount, options)| options.bind || mount.typ().as_deref() == Some("bind"))
    {
        return Ok(());
    }
    let nodes = nodes(spec);
    let mut refused = Vec::new();
    if are_closed(spec) {
        let home = Home::make(root)?;
        for node in &nodes {
            home.show(root, node)?;
        }
    } else {
        for node in nodes {
            if !make(root, &node)? {
                refused.push(node);
            }
        }
    }
    for node in refused {
        show_machines(root, &node)?;
    }
    let dev = make_target(root, Path::new("/dev"), true, true)?;
    for (name, target) in LINKS {
        match symlinkat(target, &dev, name) {
            // An image's /dev may have them.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("link", &Path::new("/dev").join(name), error)),
        }
    }
    Ok(())
}

/// The configuration's come first: one of the same path stands for the default.
fn nodes(spec: &Spec) -> Vec<Node> {
    let configured = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref());
    let mut nodes: Vec<Node> = configured.into_iter().flatten().map(of).collect();
    for (path, major, minor) in DEFAULT {
        if !nodes.iter().any(|node| node.path == Path::new(path)) {
            let number = makedev(major, minor);
            nodes.push(Node {
                path: path.into(),
                kind: FileType::CharacterDevice,
                number,
                mode: 0o666,
                owner: (0, 0),
            });
        }
    }
    nodes
}

fn of(device: &LinuxDevice) -> Node {
    let part = |value: i64| u32::try_from(value).unwrap_or(0);
    Node {
        path: device.path().clone(),
        kind: match device.typ() {
            LinuxDeviceType::B => FileType::BlockDevice,
            LinuxDeviceType::P => FileType::Fifo,
            _ => FileType::CharacterDevice,
        },
        number: makedev(part(device.major()), part(device.minor())),
        mode: device.file_mode().unwrap_or(0o666) & 0o7777,
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    }
}

fn split(path: &Path) -> Option<(&Path, &std::ffi::OsStr)> {
    path.parent().zip(path.file_name())
}

/// Makes a node; `false`: here none can be made.
fn make(root: BorrowedFd<'_>, node: &Node) -> Result<bool, MountError> {
    let path = &node.path;
    let refused = |error| failed("make device", path, error);
    let Some((parent, name)) = split(path) else { return Err(refused(Errno::INVAL)) };
    let home = make_target(root, parent, true, path.starts_with("/dev"))?;
    match mknodat(&home, name, node.kind, Mode::from_raw_mode(node.mode), node.number) {
        Ok(()) => {}
        Err(Errno::EXIST) => return is_there(&home, name, node).map_err(refused),
        Err(Errno::PERM) => return Ok(false),
        Err(error) => return Err(refused(error)),
    }
    if node.owner != (0, 0) {
        let owner = (Some(Uid::from_raw(node.owner.0)), Some(Gid::from_raw(node.owner.1)));
        chownat(&home, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(refused)?;
    }
    Ok(true)
}

/// Whether what an image has at the place is that device; anything else is an error.
fn is_there(home: &OwnedFd, name: &std::ffi::OsStr, node: &Node) -> Result<bool, Errno> {
    let file = openat(home, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        kind if kind == node.kind && stat.st_rdev == node.number => Ok(true),
        // An empty file to show the machine's on.
        FileType::RegularFile if stat.st_size == 0 => Ok(false),
        _ => Err(Errno::EXIST),
    }
}

/// Shows the machine's node of the same path, if it is that device.
fn show_machines(root: BorrowedFd<'_>, node: &Node) -> Result<(), MountError> {
    let refused = |error| failed("show device", &node.path, error);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&node.path, flags, Mode::empty()).map_err(refused)?;
    let stat = fstat(&file).map_err(refused)?;
    if FileType::from_raw_mode(stat.st_mode) != node.kind || stat.st_rdev != node.number {
        return Err(refused(Errno::NODEV));
    }
    let target = make_target(root, &node.path, false, node.path.starts_with("/dev"))?;
    attach(copy_of(&file, false).map_err(refused)?, target).map_err(refused)
}

/// The memory file system that the nodes live in.
struct Home(OwnedFd);

impl Home {
    /// Makes it. `root` is borrowed as a place to attach it to, since only what is attached can be copied.
    fn make(root: BorrowedFd<'_>) -> Result<Self, MountError> {
        let refused = |error: std::io::Error| failed("make devices for", Path::new("/dev"), error);
        let home = new_mount("tmpfs", None, &device_options()).map_err(refused)?;
        attach(&home, root).map_err(|error| refused(error.into()))?;
        Ok(Self(home))
    }

    fn show(&self, root: BorrowedFd<'_>, node: &Node) -> Result<(), MountError> {
        let refused = |error| failed("make device", &node.path, error);
        let Some((_, name)) = split(&node.path) else { return Err(refused(Errno::INVAL)) };
        let mode = Mode::from_raw_mode(node.mode);
        match mknodat(&self.0, name, node.kind, mode, node.number) {
            Ok(()) => {}
            Err(Errno::PERM) => return show_machines(root, node),
            Err(error) => return Err(refused(error)),
        }
        // Whatever our umask is.
        chmodat(&self.0, name, mode, AtFlags::empty()).map_err(refused)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.0, name, flags, Mode::empty()).map_err(refused)?;
        let target = make_target(root, &node.path, false, node.path.starts_with("/dev"))?;
        attach(copy_of(file, false).map_err(refused)?, target).map_err(refused)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // The copies stay.
        let _ = unmount(format!("/proc/self/fd/{}", self.0.as_raw_fd()), UnmountFlags::DETACH);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_device_stands_for_the_default_of_its_path() {
        let spec: Spec = serde_json::from_str(
            r#"{"ociVersion":"1.2.0","mounts":[{"destination":"/dev","type":"tmpfs","options":["nosuid","nodev"]}],
            "linux":{"devices":[{"path":"/dev/tty","type":"c","major":5,"minor":0,"fileMode":384,"uid":7}]}}"#,
        )
        .unwrap();
        let nodes = nodes(&spec);
        assert_eq!(nodes.len(), 6);
        assert_eq!((nodes[0].mode, nodes[0].owner), (0o600, (7, 0)));
        assert!(are_closed(&spec));
    }
}
