//! Builds the file system of a plan and moves in: mount_namespaces(7), pivot_root(2), mount_setattr(2).

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use linux::namespace::{Namespaces, unshare};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    mount_move, move_mount, open_tree, unmount,
};
use unit::settings::ExecSettings;

use super::devices;
use super::place::Root;
use super::plan::{Entry, What, nearest};

/// Where the new root is built; nobody sees it but the process itself.
const STAGE: &str = "/run/systemd/unit-root";
/// What stands for what is out of reach.
const INACCESSIBLE: &str = "/run/systemd/inaccessible";
const SHARED: u64 = 1 << 20;
const PRIVATE: u64 = 1 << 18;

/// Where it went wrong, and why.
#[derive(Debug)]
pub struct Error {
    /// The path as the unit sees it.
    pub place: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// Moves this process into the file system of these entries.
pub fn enter(exec: &ExecSettings, entries: Vec<Entry>) -> Result<(), Error> {
    let at = |place: &Path| {
        let place = place.to_owned();
        move |source: io::Error| Error { place, source }
    };
    let top = exec.root_directory.as_deref().unwrap_or("/");
    let stage = Path::new(STAGE);
    make_inaccessible().map_err(at(Path::new(INACCESSIBLE)))?;
    DirBuilder::new().recursive(true).mode(0o755).create(stage).map_err(at(stage))?;
    unshare(Namespaces::MOUNT).map_err(at(Path::new("/")))?;
    // From now on nothing of ours reaches the host; what the host mounts still reaches us.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| at(Path::new("/"))(error.into()))?;
    let whole = copy(Path::new(top), true).map_err(at(Path::new(top)))?;
    attach(&whole, stage).map_err(at(stage))?;
    let root = Root::at(stage);
    let entries = resolve(&root, entries)?;
    govern(&root, &entries).map_err(at(Path::new("/")))?;
    move_in(stage, exec.sandbox.mount_flags).map_err(at(Path::new("/")))
}

/// Lays every entry over the stage; returns them by the places where they really are, links followed.
fn resolve(root: &Root, entries: Vec<Entry>) -> Result<Vec<Entry>, Error> {
    let mut done = Vec::new();
    for mut entry in entries {
        let failed = |source: io::Error| Error { place: entry.path.clone(), source };
        match lay(root, &entry) {
            Ok(place) => {
                entry.path = place;
                done.push(entry);
            }
            Err(error)
                if entry.missing_ok
                    && matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(done)
}

/// Lays one entry; returns where.
fn lay(root: &Root, entry: &Entry) -> io::Result<PathBuf> {
    let path = &entry.path;
    let place = match &entry.what {
        What::ReadOnly | What::ReadWrite | What::Exec | What::NoExec => {
            let (_, place) = root.find(path)?;
            if place != root.path() {
                attach(&copy(&place, true)?, &place)?;
            }
            place
        }
        What::Inaccessible => {
            let (_, place) = root.find(path)?;
            attach(&copy(&closed(&place)?, false)?, &place)?;
            place
        }
        What::Bind { source, recursive, .. } => {
            let original = copy(source, *recursive)?;
            let folder = fs::metadata(source)?.is_dir();
            let (_, place) = root.find_or_make(path, folder)?;
            attach(&original, &place)?;
            place
        }
        What::Tmpfs { options, no_exec, .. } => {
            let place = find_place(root, entry)?;
            attach(&tmpfs(options, *no_exec, false)?, &place)?;
            place
        }
        What::Devices => {
            let place = find_place(root, entry)?;
            devices::mount_over(&place)?;
            place
        }
        What::Proc { hide, pid_only } => {
            let place = find_place(root, entry)?;
            attach(&proc(*hide, *pid_only)?, &place)?;
            place
        }
        What::Fresh(kind) => {
            let place = find_place(root, entry)?;
            attach(&fresh(kind, &[], true)?, &place)?;
            place
        }
    };
    Ok(place)
}

fn find_place(root: &Root, entry: &Entry) -> io::Result<PathBuf> {
    let found = if entry.missing_ok { root.find(&entry.path) } else { root.find_or_make(&entry.path, true) };
    found.map(|(_, place)| place)
}

/// Gives every mount of the stage the attributes that the nearest entry above it says.
fn govern(root: &Root, entries: &[Entry]) -> io::Result<()> {
    let mut entries = entries.to_vec();
    // Links may have led elsewhere: parents come first again.
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    let places = mounts_below(&fs::read("/proc/self/mountinfo")?, root.path());
    for place in places {
        let mut set = MountAttributes::NONE;
        if nearest(&entries, &place, Entry::read_only) == Some(true) {
            set = set.with(MountAttributes::READ_ONLY);
        }
        if nearest(&entries, &place, Entry::no_exec) == Some(true) {
            set = set.with(MountAttributes::NO_EXEC);
        }
        if set.is_empty() {
            continue;
        }
        let Ok(mount) = open_tree(CWD, &place, OpenTreeFlags::OPEN_TREE_CLOEXEC) else {
            // Covered by another mount: out of reach anyway.
            continue;
        };
        set_mount_attributes(&mount, set, MountAttributes::NONE, Propagation::Unchanged, false)?;
    }
    Ok(())
}

/// The mount points at and below a path, from the text of /proc/self/mountinfo.
fn mounts_below(table: &[u8], path: &Path) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    let mut places: Vec<PathBuf> = fields.map(unescape).filter(|place| place.starts_with(path)).collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// Undoes the kernel's `\040`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// Makes the stage the root and lets go of the old one.
fn move_in(stage: &Path, flags: u64) -> io::Result<()> {
    rustix::process::chdir(stage)?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => unmount(".", UnmountFlags::DETACH)?,
        // The root is no mount that can be put aside (an initramfs): cover it.
        Err(_) => {
            mount_move(stage, "/")?;
            rustix::process::chroot(".")?;
        }
    }
    rustix::process::chdir("/")?;
    let propagation = match flags {
        SHARED => MountPropagationFlags::SHARED,
        PRIVATE => MountPropagationFlags::PRIVATE,
        _ => return Ok(()),
    };
    Ok(mount_change("/", propagation | MountPropagationFlags::REC)?)
}

/// A copy of what is mounted at a path, attached nowhere yet.
fn copy(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

/// Attaches a mount that is attached nowhere.
pub(super) fn attach(mount: &OwnedFd, place: &Path) -> io::Result<()> {
    Ok(move_mount(mount.as_fd(), "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// A file system in memory; `devices`: nodes in it can be opened.
pub(super) fn tmpfs(options: &str, no_exec: bool, devices: bool) -> io::Result<OwnedFd> {
    let options: Vec<&str> = options.split(',').filter(|option| !option.is_empty()).collect();
    fresh_with("tmpfs", &options, no_exec, !devices)
}

fn proc(hide: Option<&str>, pid_only: bool) -> io::Result<OwnedFd> {
    let hide = hide.map(|word| format!("hidepid={word}"));
    let mut options: Vec<&str> = hide.iter().map(String::as_str).collect();
    if pid_only {
        options.push("subset=pid");
    }
    fresh("proc", &options, true)
}

fn fresh(kind: &str, options: &[&str], no_exec: bool) -> io::Result<OwnedFd> {
    fresh_with(kind, options, no_exec, true)
}

fn fresh_with(kind: &str, options: &[&str], no_exec: bool, no_dev: bool) -> io::Result<OwnedFd> {
    let system = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(system.as_fd(), key, value)?,
            None => fsconfig_set_flag(system.as_fd(), *option)?,
        }
    }
    fsconfig_create(system.as_fd())?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID;
    if no_dev {
        attributes |= MountAttrFlags::MOUNT_ATTR_NODEV;
    }
    if no_exec {
        attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    Ok(fsmount(system.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// What covers a file of this kind when it is out of reach.
fn closed(place: &Path) -> io::Result<PathBuf> {
    let kind = fs::symlink_metadata(place)?.file_type();
    let name = if kind.is_dir() {
        "dir"
    } else if kind.is_char_device() {
        "chr"
    } else if kind.is_block_device() {
        "blk"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "sock"
    } else {
        "reg"
    };
    let path = Path::new(INACCESSIBLE).join(name);
    // Where nodes cannot be made, a socket is as closed.
    Ok(if path.exists() { path } else { Path::new(INACCESSIBLE).join("sock") })
}

/// Makes one closed file of each kind, once.
fn make_inaccessible() -> io::Result<()> {
    let folder = Path::new(INACCESSIBLE);
    if folder.join("done").exists() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let nothing = Mode::empty();
    let kinds = [
        ("reg", FileType::RegularFile),
        ("fifo", FileType::Fifo),
        ("sock", FileType::Socket),
        ("chr", FileType::CharacterDevice),
        ("blk", FileType::BlockDevice),
    ];
    for (name, kind) in kinds {
        match mknodat(CWD, folder.join(name), kind, nothing, 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(_) if matches!(name, "chr" | "blk") => {}
            Err(error) => return Err(error.into()),
        }
    }
    match DirBuilder::new().mode(0o0).create(folder.join("dir")) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::set_permissions(folder.join("dir"), fs::Permissions::from_mode(0o0))?;
    fs::write(folder.join("done"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_of_mounts() {
        let table =
            b"1 0 0:1 / / rw - tmpfs none rw\n2 1 0:2 / /a rw - x y z\n3 1 0:2 / /a/b\\040c rw - x y z\n\
                      4 1 0:2 / /ab rw - x y z\n5 1 0:2 / /a rw - x y z\nrubbish\n";
        assert_eq!(mounts_below(table, Path::new("/a")), [Path::new("/a"), Path::new("/a/b c")]);
        assert_eq!(unescape(b"\\9\\04"), Path::new("\\9\\04"));
    }
}
