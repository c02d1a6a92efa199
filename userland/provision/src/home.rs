//! Files below a home directory, written by root.
//!
//! The home is its user's, who may put a link anywhere in it at any moment. So every step is opened
//! relative to the one before and never follows a link; what is made belongs to the user.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fchown, mkdirat, openat, renameat, unlinkat};
use rustix::process::{Gid, Uid};

const DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// Makes the home directory if it is not there: mode 0755, as the image makes core's.
pub fn create(home: &Path, uid: u32, gid: u32) -> io::Result<()> {
    if home.is_dir() {
        return Ok(());
    }
    if let Some(parent) = home.parent() {
        std::fs::create_dir_all(parent)?;
    }
    mkdirat(CWD, home, Mode::from_raw_mode(0o755))?;
    let made = openat(CWD, home, DIRECTORY, Mode::empty())?;
    fchown(&made, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(())
}

/// Writes `.ssh/authorized_keys.d/NAME` below the home, whole or not at all.
pub fn write_keys(home: &Path, name: &str, content: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let mut directory = openat(CWD, home, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for part in [".ssh", "authorized_keys.d"] {
        directory = enter(&directory, part, uid, gid)?;
    }
    let temporary = format!(".{name}.new");
    match unlinkat(&directory, &temporary, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(&directory, &temporary, flags, Mode::from_raw_mode(0o600))?;
    fchown(&file, Some(uid), Some(gid))?;
    let mut file = std::fs::File::from(file);
    file.write_all(content)?;
    file.sync_all()?;
    renameat(&directory, &temporary, &directory, name)?;
    rustix::fs::fsync(&directory)?;
    Ok(())
}

fn enter(directory: &OwnedFd, name: &str, uid: Uid, gid: Gid) -> io::Result<OwnedFd> {
    match mkdirat(directory, name, Mode::from_raw_mode(0o700)) {
        Ok(()) => {
            let made = openat(directory, name, DIRECTORY, Mode::empty())?;
            fchown(&made, Some(uid), Some(gid))?;
            fchmod(&made, Mode::from_raw_mode(0o700))?;
            Ok(made)
        }
        Err(rustix::io::Errno::EXIST) => Ok(openat(directory, name, DIRECTORY, Mode::empty())?),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn keys_are_written_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let home = root.path().join("home/a");
        create(&home, uid, gid).unwrap();
        write_keys(&home, "coreos-cloudinit", b"one", uid, gid).unwrap();
        write_keys(&home, "coreos-cloudinit", b"two", uid, gid).unwrap();
        let path = home.join(".ssh/authorized_keys.d/coreos-cloudinit");
        assert_eq!(fs::read(path).unwrap(), b"two");

        let trap = root.path().join("home/b");
        let outside = root.path().join("outside");
        create(&trap, uid, gid).unwrap();
        fs::create_dir(&outside).unwrap();
        symlink(&outside, trap.join(".ssh")).unwrap();
        assert!(write_keys(&trap, "coreos-cloudinit", b"x", uid, gid).is_err());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
