//! Mounts in a container, onto directories that an image made and nobody trusts.
//!
//! Every target is resolved by the kernel from the root directory's descriptor and held as a descriptor;
//! the mount is made detached, gets its attributes, and is then attached to that descriptor. No path is
//! ever looked up twice, so a link that is swapped in between leads nowhere. Where the kernel's own file
//! systems go, a symbolic link in the image is an error. Sources: fsopen(2), move_mount(2),
//! openat2(2), OCI runtime specification "Mounts".

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use oci_spec::runtime::Mount;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// A mount that was refused, by us or the kernel.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {source}")]
pub struct MountError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

pub(super) fn failed(what: &'static str, path: &Path, source: impl Into<io::Error>) -> MountError {
    MountError { what, path: path.to_owned(), source: source.into() }
}

/// A mount's options, sorted by who they are for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MountOptions {
    attributes: MountAttributes,
    recursive: bool,
    bind: bool,
    propagation: Option<Wanted>,
    /// `key` or `key=value` for the file system itself.
    data: Vec<(String, Option<String>)>,
}

/// Only what a container may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Private,
    Slave,
    Shared,
}

impl MountOptions {
    fn parse(options: &[String]) -> Self {
        let mut parsed = Self::default();
        for option in options {
            let mut set = |attribute| parsed.attributes = parsed.attributes.with(attribute);
            match option.as_str() {
                "ro" => set(MountAttributes::READ_ONLY),
                "nosuid" => set(MountAttributes::NO_SUID),
                "nodev" => set(MountAttributes::NO_DEV),
                "noexec" => set(MountAttributes::NO_EXEC),
                "rw" | "suid" | "dev" | "exec" | "relatime" | "defaults" => {}
                "bind" => parsed.bind = true,
                "rbind" => (parsed.bind, parsed.recursive) = (true, true),
                "private" | "rprivate" => parsed.propagation = Some(Wanted::Private),
                "slave" | "rslave" => parsed.propagation = Some(Wanted::Slave),
                "shared" | "rshared" => parsed.propagation = Some(Wanted::Shared),
                // Every new devpts is an instance of its own since Linux 4.7.
                "newinstance" => {}
                other => parsed.data.push(match other.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (other.to_owned(), None),
                }),
            }
        }
        parsed
    }
}

/// For the file system that a container's device nodes live in: the only one where they can be opened.
pub(super) fn device_options() -> MountOptions {
    MountOptions::parse(&["nosuid".into(), "noexec".into(), "size=64k".into(), "mode=755".into()])
}

/// Makes one mount of the configuration beneath `root`.
///
/// # Errors
/// When the target leads elsewhere, the source is missing, or the kernel refuses.
pub fn make(root: BorrowedFd<'_>, wanted: &Mount) -> Result<(), MountError> {
    let path = wanted.destination();
    let options = MountOptions::parse(wanted.options().as_deref().unwrap_or_default());
    let kind = wanted.typ().as_deref().unwrap_or("bind");
    if options.bind || kind == "bind" {
        return bind(root, wanted, &options);
    }
    let kernels_own = ["/proc", "/sys", "/dev"].iter().any(|own| path.starts_with(own));
    let target = make_target(root, path, true, kernels_own)?;
    let mounted = new_mount(kind, wanted.source().as_deref(), &options)
        .map_err(|error| failed("mount", path, error))?;
    attach(&mounted, &target).map_err(|error| failed("mount on", path, error))
}

pub(super) fn new_mount(kind: &str, source: Option<&Path>, options: &MountOptions) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = source {
        fsconfig_set_string(context.as_fd(), "source", source)?;
    }
    for (key, value) in &options.data {
        match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_str(), value.as_str())?,
            None => fsconfig_set_flag(context.as_fd(), key.as_str())?,
        }
    }
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    set_mount_attributes(&mounted, options.attributes, MountAttributes::NONE, Propagation::Unchanged, false)?;
    Ok(mounted)
}

fn bind(root: BorrowedFd<'_>, wanted: &Mount, options: &MountOptions) -> Result<(), MountError> {
    let path = wanted.destination();
    let source = wanted.source().as_deref().unwrap_or(Path::new(""));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let from = rustix::fs::open(source, flags, Mode::empty())
        .map_err(|error| failed("open volume", source, error))?;
    let stat = fstat(&from).map_err(|error| failed("open volume", source, error))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = make_target(root, path, is_dir, false)?;
    let copy =
        copy_of(&from, options.recursive).map_err(|error| failed("copy the mount of", source, error))?;
    let propagation = match options.propagation {
        None | Some(Wanted::Private) => Propagation::Private,
        Some(Wanted::Slave) => Propagation::Slave,
        Some(Wanted::Shared) => Propagation::Shared,
    };
    set_mount_attributes(&copy, options.attributes, MountAttributes::NONE, propagation, options.recursive)
        .map_err(|error| failed("set the attributes of", source, error))?;
    attach(&copy, &target).map_err(|error| failed("mount on", path, error))
}

/// A detached copy of what is mounted at a descriptor.
pub(super) fn copy_of(from: impl AsFd, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(from.as_fd(), c"", flags)
}

/// Attaches a detached mount to the very file or directory that `target` refers to.
pub(super) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), c"", target.as_fd(), c"", flags)
}

/// How a path beneath the root may be resolved: links of the image stay within it, or are an error.
fn resolve_flags(no_links: bool) -> ResolveFlags {
    let links = if no_links { ResolveFlags::NO_SYMLINKS } else { ResolveFlags::NO_MAGICLINKS };
    ResolveFlags::IN_ROOT | links
}

/// A descriptor of the target, made if it is not there.
pub(super) fn make_target(
    root: BorrowedFd<'_>,
    path: &Path,
    is_dir: bool,
    no_links: bool,
) -> Result<OwnedFd, MountError> {
    let refused = |error| failed("resolve", path, error);
    match open_path(root, path, no_links) {
        Ok(found) => return Ok(found),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(refused(error)),
    }
    let mut so_far = PathBuf::new();
    let mut parent = open_path(root, Path::new("."), no_links).map_err(refused)?;
    let mut components =
        path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).peekable();
    while let Some(component) = components.next() {
        so_far.push(component);
        let last = components.peek().is_none();
        let here = match open_path(root, &so_far, no_links) {
            Ok(here) => here,
            Err(Errno::NOENT) => {
                let made = if last && !is_dir {
                    let flags =
                        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    rustix::fs::openat(&parent, component.as_os_str(), flags, Mode::from_raw_mode(0o644))
                        .map(drop)
                } else {
                    mkdirat(&parent, component.as_os_str(), Mode::from_raw_mode(0o755))
                };
                made.map_err(|error| failed("create", path, error))?;
                open_path(root, &so_far, no_links).map_err(refused)?
            }
            Err(error) => return Err(refused(error)),
        };
        parent = here;
    }
    Ok(parent)
}

/// A descriptor of what is at this path beneath the root.
pub(super) fn open_path(root: BorrowedFd<'_>, path: &Path, no_links: bool) -> Result<OwnedFd, Errno> {
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve_flags(no_links))
}

/// Makes what is at this path read-only, if it is there.
///
/// # Errors
/// When the kernel refuses, or a link was put there.
pub fn make_read_only(root: BorrowedFd<'_>, path: &Path) -> Result<(), MountError> {
    let refused = |error: io::Error| failed("make read-only", path, error);
    let target = match open_path(root, path, true) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(|error| refused(error.into()))?,
    };
    let copy = copy_of(&target, true).map_err(|error| refused(error.into()))?;
    let how = MountAttributes::READ_ONLY;
    set_mount_attributes(&copy, how, MountAttributes::NONE, Propagation::Private, true).map_err(refused)?;
    attach(&copy, &target).map_err(|error| refused(error.into()))
}

/// Hides what is at this path, if it is there: a directory behind an empty one, a file behind `null`, which
/// is the machine's own `/dev/null`.
///
/// # Errors
/// When the kernel refuses, or a link was put there.
pub fn mask(root: BorrowedFd<'_>, path: &Path, null: BorrowedFd<'_>) -> Result<(), MountError> {
    let refused = |error: io::Error| failed("mask", path, error);
    let target = match open_path(root, path, true) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        other => other.map_err(|error| refused(error.into()))?,
    };
    let stat = fstat(&target).map_err(|error| refused(error.into()))?;
    let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let options = MountOptions::parse(&[
            "ro".into(),
            "nosuid".into(),
            "nodev".into(),
            "noexec".into(),
            "size=4k".into(),
        ]);
        new_mount("tmpfs", None, &options).map_err(refused)?
    } else {
        copy_of(null, false).map_err(|error| refused(error.into()))?
    };
    attach(&cover, &target).map_err(|error| refused(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_by_who_they_are_for() {
        let words = ["nosuid", "ro", "rbind", "rslave", "mode=755", "huge", "newinstance"].map(str::to_owned);
        let parsed = MountOptions::parse(&words);
        assert_eq!(parsed.attributes, MountAttributes::READ_ONLY.with(MountAttributes::NO_SUID));
        assert!(parsed.bind && parsed.recursive);
        assert_eq!(parsed.propagation, Some(Wanted::Slave));
        assert_eq!(parsed.data, [("mode".to_owned(), Some("755".to_owned())), ("huge".to_owned(), None)]);
    }

    #[test]
    fn a_target_is_made_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/outside", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        make_target(root.as_fd(), Path::new("/link/a/b"), true, false).unwrap();
        assert!(dir.path().join("outside/a/b").is_dir());
        make_target(root.as_fd(), Path::new("/c/file"), false, false).unwrap();
        assert!(dir.path().join("c/file").is_file());
    }

    #[test]
    fn a_link_where_the_kernels_file_systems_go_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", dir.path().join("dev")).unwrap();
        let root = std::fs::File::open(dir.path()).unwrap();
        assert!(make_target(root.as_fd(), Path::new("/dev"), true, true).is_err());
        assert!(make_target(root.as_fd(), Path::new("/dev/pts"), true, true).is_err());
    }
}
