//! What the protocol says about a file, from and to what the kernel says.

use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;

use russh_sftp::protocol::{File, FileAttributes};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, chmodat, chownat, utimensat};

/// The attributes of a file.
pub(super) fn of(about: &Metadata) -> FileAttributes {
    let seconds = |time: i64| u32::try_from(time).unwrap_or(0);
    FileAttributes {
        size: Some(about.size()),
        uid: Some(about.uid()),
        gid: Some(about.gid()),
        permissions: Some(about.mode()),
        atime: Some(seconds(about.atime())),
        mtime: Some(seconds(about.mtime())),
        ..FileAttributes::default()
    }
}

/// Gives a file those attributes that are there, in the order of OpenSSH. The file may be open by its
/// path only: it is reached through its number in /proc.
pub(super) fn apply(attributes: &FileAttributes, file: impl AsFd) -> io::Result<()> {
    let name = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    if let Some(size) = attributes.size {
        std::fs::OpenOptions::new().write(true).open(&name)?.set_len(size)?;
    }
    if let Some(mode) = attributes.permissions {
        chmodat(CWD, &name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
    }
    if let (Some(atime), Some(mtime)) = (attributes.atime, attributes.mtime) {
        let seconds = |time: u32| Timespec { tv_sec: i64::from(time), tv_nsec: 0 };
        let times = Timestamps { last_access: seconds(atime), last_modification: seconds(mtime) };
        utimensat(CWD, &name, &times, AtFlags::empty())?;
    }
    if let (Some(uid), Some(gid)) = (attributes.uid, attributes.gid) {
        chownat(CWD, &name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::empty())?;
    }
    Ok(())
}

/// The line that clients show people, as `ls -l` would: the protocol asks for one.
pub(super) fn line(attributes: &FileAttributes, name: &str) -> String {
    let mode = attributes.permissions.unwrap_or(0);
    let kind = match mode & 0o170_000 {
        0o040_000 => "d",
        0o120_000 => "l",
        0o020_000 => "c",
        0o060_000 => "b",
        0o010_000 => "p",
        0o140_000 => "s",
        _ => "-",
    };
    let mut line = File::new(name, attributes.clone()).longname;
    // The library tells folders from all others only.
    line.replace_range(..1, kind);
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_given_is_what_is_read_back() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        fs::write(&path, "hello").unwrap();
        let wanted = FileAttributes {
            size: Some(3),
            permissions: Some(0o100_640),
            atime: Some(1_000_000_000),
            mtime: Some(1_100_000_000),
            ..FileAttributes::default()
        };
        apply(&wanted, fs::File::open(&path).unwrap()).unwrap();
        let read = of(&fs::metadata(&path).unwrap());
        assert_eq!((read.size, read.permissions), (wanted.size, wanted.permissions));
        assert_eq!((read.atime, read.mtime), (wanted.atime, wanted.mtime));
        assert!(line(&read, "file").starts_with("-rw-r-----"));
    }
}
