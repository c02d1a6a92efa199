//! What belongs on `/var`, and `/etc` laid over the image's.
//!
//! A folder that must not belong to root is made under another name first, so that a power cut never leaves it with
//! the wrong owner: it is there as it should be, or not at all.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::{api, identity};
use crate::log::{self, Level};
use crate::users::Users;

/// Root's folders: where and with which mode. Parents come first.
const FOLDERS: &[(&str, u32)] = &[
    ("/var/cache", 0o755),
    ("/var/db", 0o755),
    ("/var/home", 0o755),
    ("/var/lib", 0o755),
    ("/var/lib/corten", 0o755),
    ("/var/lib/corten/etc", 0o755),
    ("/var/lib/corten/etc/upper", 0o755),
    ("/var/lib/corten/etc/work", 0o755),
    ("/var/log", 0o755),
    ("/var/log/journal", 0o755),
    ("/var/opt", 0o755),
    ("/var/roothome", 0o700),
    ("/var/spool", 0o755),
    ("/var/srv", 0o755),
    ("/var/tmp", 0o1777),
];
const LINKS: &[(&str, &str)] = &[("/run", "/var/run"), ("/run/lock", "/var/lock")];
/// Users from here on are people: they get a home.
const FIRST_PERSON: u32 = 500;

/// Lets the group `systemd-journal` read the journal: what is made in the folder takes its group over.
fn open_journal_to_its_group() {
    let folder = Path::new("/var/log/journal");
    let Some(group) = Users::read(Path::new("/")).group("systemd-journal") else { return };
    let mode = fs::Permissions::from_mode(0o2755);
    if let Err(error) = chown(folder, None, Some(group)).and_then(|()| fs::set_permissions(folder, mode)) {
        log::say(Level::Warning, None, &format!("Cannot open the journal to its group: {error}"));
    }
}

/// Lays out `/var` (a tmpfs if nothing is mounted there), `/etc` and what is read from it.
pub fn make() -> Result<(), String> {
    rustix::process::umask(Mode::empty());
    if !api::is_mount_point(Path::new("/var")) {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", "/var", "tmpfs", flags, Some(c"mode=755,size=50%"))
            .map_err(|error| format!("cannot mount a tmpfs on /var: {error}"))?;
    }
    for (path, mode) in FOLDERS {
        let made = DirBuilder::new().mode(*mode).create(path);
        ready(made).map_err(|error| format!("cannot make {path}: {error}"))?;
    }
    for (target, link) in LINKS {
        ready(symlink(target, link)).map_err(|error| format!("cannot make {link}: {error}"))?;
    }
    lay_etc()?;
    open_journal_to_its_group();
    homes();
    identity::apply();
    Ok(())
}

/// The same after STATE failed half way: away with it first.
pub fn make_in_memory() -> Result<(), String> {
    for path in ["/etc", "/var"] {
        if api::is_mount_point(Path::new(path)) {
            unmount(path, UnmountFlags::DETACH).map_err(|error| format!("cannot unmount {path}: {error}"))?;
        }
    }
    make()
}

fn lay_etc() -> Result<(), String> {
    if api::is_mount_point(Path::new("/etc")) {
        return Ok(());
    }
    let options = c"lowerdir=/etc,upperdir=/var/lib/corten/etc/upper,workdir=/var/lib/corten/etc/work";
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    mount("overlay", "/etc", "overlay", flags, Some(options))
        .map_err(|error| format!("cannot mount the overlay on /etc: {error}"))
}

/// A home for every person in /etc/passwd, as far as it lies on `/var`.
fn homes() {
    let users = Users::read(Path::new("/"));
    for user in users.all().filter(|user| user.uid >= FIRST_PERSON && user.uid < 60_000) {
        let home = match user.home.strip_prefix("/home") {
            Ok(rest) => Path::new("/var/home").join(rest),
            Err(_) if user.home.starts_with("/var/home") => user.home.clone(),
            Err(_) => continue,
        };
        if let Err(error) = own_folder(&home, 0o700, user.uid, user.gid) {
            log::say(Level::Error, None, &format!("Cannot make {}: {error}", home.display()));
        }
    }
}

/// Makes a folder that belongs to somebody; an existing one stays as it is.
pub fn own_folder(path: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new: PathBuf = path.with_file_name(name);
    ready(DirBuilder::new().mode(mode).create(&new))?;
    chown(&new, Some(uid), Some(gid))?;
    fs::rename(&new, path)
}

/// What is there already is as good as made.
fn ready(made: io::Result<()>) -> io::Result<()> {
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_cut_between_making_and_owning_is_repaired() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("core");
        fs::create_dir(root.path().join("core.new")).unwrap();
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        own_folder(&home, 0o700, uid, gid).unwrap();
        assert_eq!(fs::metadata(&home).unwrap().uid(), uid);
        assert!(!root.path().join("core.new").exists());
        fs::write(home.join("kept"), "").unwrap();
        own_folder(&home, 0o700, uid, gid).unwrap();
        assert!(home.join("kept").exists());
    }

    #[test]
    fn parents_come_first() {
        for (index, (path, _)) in FOLDERS.iter().enumerate() {
            let parent = Path::new(path).parent().unwrap();
            let earlier = FOLDERS.iter().take(index).any(|(path, _)| Path::new(path) == parent);
            assert!(parent == Path::new("/var") || earlier, "{path}");
        }
    }
}
