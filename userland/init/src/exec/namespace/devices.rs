//! PrivateDevices=: a /dev of pseudo devices, terminals and shared memory, and nothing else.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::tree;

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
    ("/run/systemd/journal/dev-log", "log"),
];
/// File systems of the host's /dev that are kept.
const KEPT: [&str; 4] = ["pts", "shm", "mqueue", "hugepages"];

/// Builds it over the /dev at this place.
pub fn mount_over(dev: &Path) -> io::Result<()> {
    let kept: Vec<(&str, OwnedFd)> =
        KEPT.iter().filter_map(|name| Some((*name, copy_of(&dev.join(name))?))).collect();
    let mount = tree::tmpfs("mode=755,size=4m", true, true)?;
    let nodes: Vec<(&str, fs::Metadata, Option<OwnedFd>)> = NODES
        .iter()
        .filter_map(|name| {
            let path = dev.join(name);
            Some((*name, fs::metadata(&path).ok()?, copy_of(&path)))
        })
        .collect();
    tree::attach(&mount, dev)?;
    for (name, data, original) in nodes {
        let path = dev.join(name);
        let made = mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            Mode::from_raw_mode(data.mode() & 0o777),
            data.rdev(),
        );
        match (made, original) {
            (Ok(()), _) => fs::set_permissions(&path, fs::Permissions::from_mode(data.mode() & 0o7777))?,
            // In a user namespace nodes cannot be made, but shown.
            (Err(_), Some(original)) => {
                fs::File::create(&path)?;
                tree::attach(&original, &path)?;
            }
            (Err(error), None) => return Err(error.into()),
        }
    }
    for (target, name) in LINKS {
        symlink(target, dev.join(name))?;
    }
    for (name, original) in kept {
        let path = dev.join(name);
        fs::create_dir(&path)?;
        tree::attach(&original, &path)?;
    }
    let read_only = MountAttributes::READ_ONLY;
    set_mount_attributes(&mount, read_only, MountAttributes::NONE, Propagation::Unchanged, false)
}

fn copy_of(path: &Path) -> Option<OwnedFd> {
    fs::metadata(path).ok()?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).ok()
}
