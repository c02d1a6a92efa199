//! The option `tmpcopyup`: a memory file system that begins with what the image has at its place.
//!
//! Both trees are walked by descriptors, links are copied and never followed, and devices and sockets are left
//! out: an image's tree can lead nowhere but into itself.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, fchown, fstat, mkdirat, openat,
    readlinkat, statat, symlinkat,
};

/// Deeper than any honest tree.
const DEPTH_LIMIT: usize = 128;

/// Copies the tree at `from` into the directory `to`, with owners and modes.
///
/// # Errors
/// When a file cannot be read or there is no more room.
pub fn copy(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let from = directory(from, ".")?;
    let to = directory(to, ".")?;
    copy_directory(&from, &to, 0)
}

fn directory(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > DEPTH_LIMIT {
        return Err(io::Error::other("the tree is too deep"));
    }
    let stat = fstat(from)?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode))?;
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                mkdirat(to, name, Mode::from_raw_mode(0o700))?;
                copy_directory(&directory(from, name)?, &directory(to, name)?, depth + 1)?;
            }
            FileType::Symlink => {
                symlinkat(readlinkat(from, name, Vec::new())?, to, name)?;
                chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = openat(from, name, flags, Mode::empty())?;
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target = openat(to, name, flags, Mode::from_raw_mode(0o600))?;
                io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(target.try_clone()?))?;
                fchown(&target, owner.0, owner.1)?;
                fchmod(&target, Mode::from_raw_mode(stat.st_mode))?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_tree_is_copied_and_its_links_are_not_followed() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(from.path().join("d/file"), "text").unwrap();
        std::os::unix::fs::symlink("/etc", from.path().join("link")).unwrap();
        copy(fs::File::open(from.path()).unwrap(), fs::File::open(to.path()).unwrap()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("d/file")).unwrap(), "text");
        assert!(fs::symlink_metadata(to.path().join("link")).unwrap().is_symlink());
    }
}
