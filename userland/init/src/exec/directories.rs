//! RuntimeDirectory= and its kin: made before the program runs, owned by its user (systemd.exec(5)).

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Component, Path};

use unit::settings::{DirectoryKind, ExecSettings};

use super::Failure;

/// Makes every directory of the unit.
pub fn make(exec: &ExecSettings, uid: u32, gid: u32) -> Result<(), Failure> {
    for directories in &exec.directories {
        let (uid, gid) = match directories.kind {
            DirectoryKind::Configuration => (0, 0),
            _ => (uid, gid),
        };
        for name in &directories.names {
            let parent = Path::new(directories.kind.parent());
            make_one(parent, Path::new(name), directories.mode, uid, gid).map_err(|error| {
                let path = parent.join(name);
                Failure::new(code(directories.kind), format!("cannot make {}", path.display()), error)
            })?;
        }
    }
    Ok(())
}

fn code(kind: DirectoryKind) -> u8 {
    match kind {
        DirectoryKind::Runtime => 233,
        DirectoryKind::State => 238,
        DirectoryKind::Cache => 239,
        DirectoryKind::Logs => 240,
        DirectoryKind::Configuration => 241,
    }
}

/// Makes one; the directories between are root's. One that is there gets mode and owner anew, and so does its content
/// if the directory itself had another owner.
fn make_one(parent: &Path, name: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    if name.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let path = parent.join(name);
    if let Some(between) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(between)?;
    }
    match DirBuilder::new().mode(mode).create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let data = fs::symlink_metadata(&path)?;
    if !data.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if (data.uid(), data.gid()) != (uid, gid) {
        own(&path, uid, gid, 0)?;
    }
    fs::set_permissions(&path, Permissions::from_mode(mode))
}

fn own(path: &Path, uid: u32, gid: u32, depth: u32) -> io::Result<()> {
    const DEEPEST: u32 = 64;
    if depth < DEEPEST && fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), uid, gid, depth + 1)?;
        }
    }
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).or_else(|_| chown(path, Some(uid), Some(gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_with_mode_and_never_outside() {
        let root = tempfile::tempdir().unwrap();
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        make_one(root.path(), Path::new("a/b"), 0o750, uid, gid).unwrap();
        let mode = fs::metadata(root.path().join("a/b")).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o750);
        make_one(root.path(), Path::new("a/b"), 0o700, uid, gid).unwrap();
        for bad in ["../x", "/x", "a/../../x"] {
            assert!(make_one(root.path(), Path::new(bad), 0o755, uid, gid).is_err(), "{bad}");
        }
        fs::write(root.path().join("file"), "").unwrap();
        assert!(make_one(root.path(), Path::new("file"), 0o755, uid, gid).is_err());
    }
}
