//! RuntimeDirectory= and its kin: made before the program runs, owned by its user (systemd.exec(5)).
//!
//! A dynamic user's number may be another's tomorrow, so its directories lie in a folder `private` that only root
//! enters, and the name that everybody knows is a link to there.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Component, Path, PathBuf};

use unit::settings::{Directories, DirectoryKind, ExecSettings, Preserve};

use super::{Failure, status};

/// The folder of a parent that only root enters.
const PRIVATE: &str = "private";

/// Makes every directory of the unit; returns them, for the unit may write there.
pub fn make(exec: &ExecSettings, uid: u32, gid: u32) -> Result<Vec<PathBuf>, Failure> {
    let mut made = Vec::new();
    for directories in &exec.directories {
        let (uid, gid) = match directories.kind {
            DirectoryKind::Configuration => (0, 0),
            _ => (uid, gid),
        };
        let parent = Path::new(directories.kind.parent());
        let private = is_private(exec, directories);
        for name in &directories.names {
            let failed = |error| {
                let path = parent.join(name);
                Failure::new(code(directories.kind), format!("cannot make {}", path.display()), error)
            };
            let name = Path::new(name);
            if private {
                ready(DirBuilder::new().mode(0o700).create(parent.join(PRIVATE))).map_err(failed)?;
                move_to_private(parent, name).map_err(failed)?;
                make_one(&parent.join(PRIVATE), name, directories.mode, uid, gid).map_err(failed)?;
                let up = "../".repeat(name.components().count() - 1);
                link(&PathBuf::from(up).join(PRIVATE).join(name), &parent.join(name)).map_err(failed)?;
                made.push(parent.join(PRIVATE).join(name));
            } else {
                move_from_private(parent, name).map_err(failed)?;
                make_one(parent, name, directories.mode, uid, gid).map_err(failed)?;
                made.push(parent.join(name));
            }
        }
        for (name, alias) in &directories.links {
            let target = if private { parent.join(PRIVATE).join(name) } else { parent.join(name) };
            link(&target, &parent.join(alias)).map_err(|error| {
                Failure::new(code(directories.kind), format!("cannot link {alias} to {name}"), error)
            })?;
        }
    }
    Ok(made)
}

/// Whether a unit's directories of a kind are out of others' reach.
pub fn is_private(exec: &ExecSettings, directories: &Directories) -> bool {
    exec.dynamic_user
        && match directories.kind {
            DirectoryKind::Configuration => false,
            DirectoryKind::Runtime => exec.runtime_preserve != Preserve::No,
            _ => true,
        }
}

fn code(kind: DirectoryKind) -> u8 {
    match kind {
        DirectoryKind::Runtime => status::RUNTIME_DIRECTORY,
        DirectoryKind::State => status::STATE_DIRECTORY,
        DirectoryKind::Cache => status::CACHE_DIRECTORY,
        DirectoryKind::Logs => status::LOGS_DIRECTORY,
        DirectoryKind::Configuration => status::CONFIGURATION_DIRECTORY,
    }
}

/// The unit had no dynamic user before: what is there moves.
fn move_to_private(parent: &Path, name: &Path) -> io::Result<()> {
    let (public, private) = (parent.join(name), parent.join(PRIVATE).join(name));
    if fs::symlink_metadata(&public).is_ok_and(|data| data.is_dir())
        && fs::symlink_metadata(&private).is_err()
    {
        if let Some(between) = private.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(between)?;
        }
        fs::rename(&public, &private)?;
    }
    Ok(())
}

/// The unit had a dynamic user before and has none now.
fn move_from_private(parent: &Path, name: &Path) -> io::Result<()> {
    let (public, private) = (parent.join(name), parent.join(PRIVATE).join(name));
    let is_link = fs::symlink_metadata(&public).is_ok_and(|data| data.is_symlink());
    if is_link && private.is_dir() && fs::canonicalize(&public)? == fs::canonicalize(&private)? {
        fs::remove_file(&public)?;
        fs::rename(&private, &public)?;
    }
    Ok(())
}

fn link(target: &Path, at: &Path) -> io::Result<()> {
    if let Some(between) = at.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(between)?;
    }
    match symlink(target, at) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::read_link(at) {
            Ok(there) if there == target => Ok(()),
            Ok(_) => {
                fs::remove_file(at)?;
                symlink(target, at)
            }
            Err(_) => Err(error),
        },
        made => made,
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
    ready(DirBuilder::new().mode(mode).create(&path))?;
    let data = fs::symlink_metadata(&path)?;
    if !data.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if (data.uid(), data.gid()) != (uid, gid) {
        own(&path, uid, gid, 0)?;
    }
    fs::set_permissions(&path, Permissions::from_mode(mode))
}

/// What is there already is as good as made.
fn ready(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn own(path: &Path, uid: u32, gid: u32, depth: u32) -> io::Result<()> {
    const DEEPEST: u32 = 64;
    if depth < DEEPEST && fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), uid, gid, depth + 1)?;
        }
    }
    lchown(path, Some(uid), Some(gid)).or_else(|_| chown(path, Some(uid), Some(gid)))
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

    #[test]
    fn state_moves_when_a_user_becomes_dynamic_and_back() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path();
        fs::create_dir_all(parent.join("a/b")).unwrap();
        fs::write(parent.join("a/b/kept"), "").unwrap();
        fs::create_dir(parent.join(PRIVATE)).unwrap();
        let name = Path::new("a/b");
        move_to_private(parent, name).unwrap();
        link(Path::new("../private/a/b"), &parent.join(name)).unwrap();
        assert!(parent.join("private/a/b/kept").exists() && parent.join("a/b/kept").exists());
        link(Path::new("../private/a/b"), &parent.join(name)).unwrap();
        move_from_private(parent, name).unwrap();
        assert!(fs::symlink_metadata(parent.join(name)).unwrap().is_dir());
        assert!(parent.join("a/b/kept").exists() && !parent.join("private/a/b").exists());
    }
}
