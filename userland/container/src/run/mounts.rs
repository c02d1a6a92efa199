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

use linux::mount_attr::{MountAttributes, Propagation, map_owners, set_mount_attributes};
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::mount_options::MountOptions;

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

/// For the file system that a container's device nodes live in: the only one where they can be opened.
pub(super) fn device_options() -> MountOptions {
    MountOptions::parse(&["nosuid", "noexec", "size=64k", "mode=755"])
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
        return attach_prepared(root, wanted, &copy(wanted, &options)?);
    }
    let kernels_own = ["/proc", "/sys", "/dev"].iter().any(|own| path.starts_with(own));
    let target = make_target(root, path, true, kernels_own)?;
    let mounted = match new_mount(kind, wanted.source().as_deref(), &options) {
        // The network of this sysfs is another user namespace's: what is shown of it is the machine's.
        Err(error) if kind == "sysfs" && error.raw_os_error() == Some(libc::EPERM) => {
            let sys = rustix::fs::open("/sys", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let copy =
                sys.and_then(|sys| copy_of(sys, true)).map_err(|error| failed("mount", path, error))?;
            set_attributes(&copy, &options).map_err(|error| failed("mount", path, error))?;
            copy
        }
        other => other.map_err(|error| failed("mount", path, error))?,
    };
    if kind == "tmpfs" && options.copy_up {
        // Before it covers what it begins with.
        super::copy_up::copy(&target, &mounted).map_err(|error| failed("copy up", path, error))?;
    }
    attach(&mounted, &target).map_err(|error| failed("mount on", path, error))?;
    set_propagation(&mounted, &options).map_err(|error| failed("set the propagation of", path, error))
}

pub(super) fn new_mount(kind: &str, source: Option<&Path>, options: &MountOptions) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    if let Some(source) = source {
        fsconfig_set_string(context.as_fd(), "source", source)?;
    }
    for (key, value) in &options.data {
        let set = match value {
            Some(value) => fsconfig_set_string(context.as_fd(), key.as_str(), value.as_str()),
            None => fsconfig_set_flag(context.as_fd(), key.as_str()),
        };
        set.map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("option {key}: {error}")))?;
    }
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    set_attributes(&mounted, options)?;
    Ok(mounted)
}

fn set_attributes(mount: &OwnedFd, options: &MountOptions) -> io::Result<()> {
    let change = |set: MountAttributes, clear: MountAttributes, recursive| {
        if set.is_empty() && clear.is_empty() {
            return Ok(());
        }
        set_mount_attributes(mount, set, clear, Propagation::Unchanged, recursive)
    };
    change(options.set_below, options.clear_below, true)?;
    change(options.set, options.clear, false)
}

fn set_propagation(mount: &OwnedFd, options: &MountOptions) -> io::Result<()> {
    options.propagation.iter().try_for_each(|(how, recursive)| {
        set_mount_attributes(mount, MountAttributes::NONE, MountAttributes::NONE, *how, *recursive)
    })
}

/// A detached copy of a mount's source, with its attributes.
fn copy(wanted: &Mount, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let source = wanted.source().as_deref().unwrap_or(Path::new(""));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let from = rustix::fs::open(source, flags, Mode::empty())
        .map_err(|error| failed("open volume", source, error))?;
    let copy =
        copy_of(&from, options.recursive).map_err(|error| failed("copy the mount of", source, error))?;
    set_attributes(&copy, options).map_err(|error| failed("set the attributes of", source, error))?;
    Ok(copy)
}

/// The mounts of a configuration whose owners are mapped: made detached, by who has the rights for that.
///
/// # Errors
/// When a source is missing or its file system cannot map owners.
pub fn prepare(spec: &Spec) -> Result<Vec<(usize, OwnedFd)>, MountError> {
    let linux = spec.linux().as_ref();
    let mut prepared = Vec::new();
    for (at, wanted) in spec.mounts().iter().flatten().enumerate() {
        let options = MountOptions::parse(wanted.options().as_deref().unwrap_or_default());
        let own = wanted.uid_mappings().as_deref().zip(wanted.gid_mappings().as_deref());
        let containers =
            linux.and_then(|linux| linux.uid_mappings().as_deref().zip(linux.gid_mappings().as_deref()));
        let recursive = match (options.map_owners, own) {
            (Some(recursive), _) => recursive,
            (None, Some((users, _))) if !users.is_empty() => false,
            _ => continue,
        };
        let path = wanted.destination();
        let refused = |error: io::Error| failed("map the owners of", path, error);
        let Some((users, groups)) = own.filter(|(users, _)| !users.is_empty()).or(containers) else {
            return Err(refused(io::Error::other(
                "it has no uidMappings and gidMappings, nor has the container",
            )));
        };
        let copy = copy(wanted, &options)?;
        let namespace = super::users::namespace(users, groups).map_err(refused)?;
        map_owners(&copy, &namespace, recursive).map_err(refused)?;
        prepared.push((at, copy));
    }
    Ok(prepared)
}

/// Puts a detached mount where the configuration wants it.
///
/// # Errors
/// When the target leads elsewhere or the kernel refuses.
pub(super) fn attach_prepared(
    root: BorrowedFd<'_>,
    wanted: &Mount,
    mounted: &OwnedFd,
) -> Result<(), MountError> {
    let path = wanted.destination();
    let options = MountOptions::parse(wanted.options().as_deref().unwrap_or_default());
    let stat = fstat(mounted).map_err(|error| failed("open volume", path, error))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let target = make_target(root, path, is_dir, false)?;
    attach(mounted, &target).map_err(|error| failed("mount on", path, error))?;
    if options.propagation.is_empty() {
        // A copy of a shared mount would be its peer.
        let (none, how) = (MountAttributes::NONE, Propagation::Private);
        return set_mount_attributes(mounted, none, none, how, options.recursive)
            .map_err(|error| failed("set the propagation of", path, error));
    }
    set_propagation(mounted, &options).map_err(|error| failed("set the propagation of", path, error))
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
    let refused = |error| match error {
        Errno::LOOP | Errno::NOTDIR if no_links => {
            failed("resolve", path, io::Error::other("it must be mounted on ordinary directory"))
        }
        error => failed("resolve", path, error),
    };
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

#[cfg(test)]
mod tests {
    use super::*;

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
