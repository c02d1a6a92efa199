//! Files that are replaced whole or not at all, and reach the disk before they count.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Who owns a file, and what its mode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
}

impl Access {
    /// A file of the user who runs this (root, on a machine).
    pub fn own(mode: u32) -> Access {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Access { uid, gid, mode }
    }
}

/// Writes the file and the directories to it. A file that says the same already is not written again,
/// so that a boot that changes nothing waits for no disk.
pub fn write(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    if is_so_already(path, content, access) {
        return Ok(());
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(directory)?;
    let temporary = directory.join(format!(".#{}.{}", name.to_string_lossy(), std::process::id()));
    let written = write_new(&temporary, content, access).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(directory)?.sync_all()
}

fn write_new(path: &Path, content: &[u8], access: Access) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    // The owner first: changing it clears the set-id bits.
    fchown(&file, Some(access.uid), Some(access.gid))?;
    file.set_permissions(Permissions::from_mode(access.mode))?;
    file.sync_all()
}

fn is_so_already(path: &Path, content: &[u8], access: Access) -> bool {
    let Ok(meta) = fs::symlink_metadata(path) else { return false };
    meta.is_file()
        && meta.len() == content.len() as u64
        && (meta.uid(), meta.gid(), meta.mode() & 0o7777) == (access.uid, access.gid, access.mode)
        && fs::read(path).is_ok_and(|old| old == content)
}

/// Reads at most `longest` bytes and one more, by which the caller sees that there are too many.
pub fn read_bounded(path: &Path, longest: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(longest as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/file");
        write(&path, b"one", Access::own(0o640)).unwrap();
        let first = fs::metadata(&path).unwrap();
        assert_eq!(first.mode() & 0o7777, 0o640);
        write(&path, b"one", Access::own(0o640)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), first.ino(), "the same is not written again");
        write(&path, b"two", Access::own(0o640)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(read_bounded(&path, 1).unwrap().len(), 2);
    }

    #[test]
    fn a_link_is_replaced_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (link, target) = (root.path().join("link"), root.path().join("target"));
        fs::write(&target, "kept").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&link, b"new", Access::own(0o644)).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        assert_eq!(fs::read(&link).unwrap(), b"new");
    }
}
