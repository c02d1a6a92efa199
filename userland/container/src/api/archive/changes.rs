//! What a container changed of its image: `docker diff`.
//!
//! All of it lies in the upper directory of its overlay, where a character device 0/0 says that something is gone.
//! Source: the kernel's documentation of overlayfs.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, getxattr, openat, openat2, statat,
};
use serde_json::{Value, json};

use super::super::Api;
use super::super::answer::{Answer, json_ok};

const OPAQUE: &str = "trusted.overlay.opaque";

/// What is put there for mounts before a container begins; the container did not change that.
const FOR_MOUNTS: [&str; 10] = [
    "dev",
    "dev/console",
    "dev/pts",
    "dev/shm",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "sys",
];

/// What became of a file; the numbers are Docker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Modified = 0,
    Added = 1,
    Deleted = 2,
}

/// `containers/ID/changes`
pub fn changes(api: &Api, name: &str) -> Answer {
    let containers = api.containers();
    let record = containers.find(name)?.record;
    let upper = File::open(containers.upper(&record.id))?;
    // The topmost layer decides.
    let layers = record.layers.iter().rev().map(File::open).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    walk(upper.as_fd(), Path::new(""), &layers, &mut all)?;
    all.sort();
    let told =
        |(path, kind): (PathBuf, Kind)| json!({ "Path": Path::new("/").join(path), "Kind": kind as u8 });
    json_ok(&Value::Array(all.into_iter().map(told).collect()))
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Returns whether there is nothing but what was put there for mounts.
fn walk(
    dir: BorrowedFd<'_>,
    path: &Path,
    layers: &[File],
    all: &mut Vec<(PathBuf, Kind)>,
) -> io::Result<bool> {
    let (before, mut for_mounts) = (all.len(), false);
    for entry in Dir::read_from(dir)? {
        let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
        if name == "." || name == ".." {
            continue;
        }
        let here = path.join(&name);
        // The program may remove what we look at.
        let Ok(stat) = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let was = is_in(layers, &here);
        if is_whiteout(&stat) {
            all.extend(was.then_some((here, Kind::Deleted)));
            continue;
        }
        if !was && FOR_MOUNTS.iter().any(|one| here == Path::new(one)) {
            for_mounts = true;
            continue;
        }
        all.push((here.clone(), if was { Kind::Modified } else { Kind::Added }));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Ok(inner) = openat(dir, &name, flags, Mode::empty()) else { continue };
            let at = all.len();
            if walk(inner.as_fd(), &here, layers, all)? {
                all.truncate(at - 1);
                for_mounts = true;
            }
        }
    }
    Ok(for_mounts && all.len() == before)
}

/// Whether the image has something at this path.
fn is_in(layers: &[File], path: &Path) -> bool {
    for layer in layers {
        let mut hidden = false;
        let mut so_far = PathBuf::new();
        for component in path.components() {
            so_far.push(component);
            match look(layer, &so_far) {
                Some((stat, _)) if is_whiteout(&stat) => return false,
                Some(_) if so_far == path => return true,
                Some((_, opaque)) => hidden |= opaque,
                None => break,
            }
        }
        if hidden {
            return false;
        }
    }
    false
}

/// What a layer has there; no link is followed. With it, whether it hides what is below.
fn look(layer: &File, path: &Path) -> Option<(Stat, bool)> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat2(layer, path, flags, Mode::empty(), how).ok()?;
    let stat = fstat(&file).ok()?;
    let mut value = [0_u8; 1];
    let opaque = FileType::from_raw_mode(stat.st_mode) == FileType::Directory && {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        getxattr(path.as_str(), OPAQUE, &mut value).is_ok_and(|length| length == 1 && &value == b"y")
    };
    Some((stat, opaque))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_hide_what_is_below_them() {
        let dir = tempfile::tempdir().unwrap();
        let (low, high) = (dir.path().join("low"), dir.path().join("high"));
        for path in ["low/a/b", "low/c", "high/d"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::write(low.join("a/b/file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", low.join("link")).unwrap();
        let layers = || [File::open(&high).unwrap(), File::open(&low).unwrap()];
        for there in ["a", "a/b/file", "c", "d", "link"] {
            assert!(is_in(&layers(), Path::new(there)), "{there}");
        }
        assert!(!is_in(&layers(), Path::new("link/passwd")) && !is_in(&layers(), Path::new("x")));
        if rustix::process::geteuid().is_root() {
            let mode = Mode::from_raw_mode(0);
            rustix::fs::mknodat(rustix::fs::CWD, high.join("a"), FileType::CharacterDevice, mode, 0).unwrap();
            assert!(!is_in(&layers(), Path::new("a")) && !is_in(&layers(), Path::new("a/b/file")));
        }
    }
}
