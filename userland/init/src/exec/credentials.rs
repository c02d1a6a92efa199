//! LoadCredential=, SetCredential=: secrets in a file system of their own, in memory that is never swapped out.
//!
//! The file system is filled before it appears at `/run/credentials/UNIT`, read-only, and goes with the unit. Only the
//! unit's user reads it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use linux::mount_attr::{MountAttributes, Propagation, set_mount_attributes};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fchmod, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};
use unit::UnitName;
use unit::settings::{Credentials, LoadedCredential};

use super::Failure;
use super::identity::Identity;
use super::status;

/// Where units' credentials are.
pub const FOLDER: &str = "/run/credentials";
/// Where those are that the system itself was given.
const SYSTEM: &str = "/run/credentials/@system";
/// The most bytes of all credentials of a unit together.
const MOST: usize = 1024 * 1024;

/// Makes them; returns their folder, if the unit has any.
pub fn make(unit: &UnitName, wanted: &Credentials, identity: &Identity) -> Result<Option<PathBuf>, Failure> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let values = gather(wanted)?;
    let failed = |error: io::Error| Failure::new(status::CREDENTIALS, "cannot keep the credentials", error);
    let place = Path::new(FOLDER).join(unit.as_str());
    DirBuilder::new().recursive(true).mode(0o755).create(FOLDER).map_err(failed)?;
    match DirBuilder::new().mode(0o700).create(&place) {
        // Another process of the unit has made them.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && is_mounted(&place) => {
            return Ok(Some(place));
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        made => made.map_err(failed)?,
    }
    let mount = filled(&values, identity).map_err(failed)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount.as_fd(), "", CWD, &place, flags).map_err(|error| failed(error.into()))?;
    Ok(Some(place))
}

fn is_mounted(place: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::symlink_metadata(path).map(|data| data.dev()).ok();
    device(place) != device(Path::new(FOLDER))
}

/// Every value by its name. What is set counts where nothing of the name could be loaded.
fn gather(wanted: &Credentials) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
    let mut values = BTreeMap::new();
    for credential in &wanted.load {
        let has_default = wanted.set.iter().any(|set| set.name == credential.name);
        match load(credential, &mut values) {
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    && (has_default || !credential.path.starts_with('/')) => {}
            result => result.map_err(|error| {
                let what = format!("cannot load credential {} from {}", credential.name, credential.path);
                Failure::new(status::CREDENTIALS, what, error)
            })?,
        }
    }
    for set in &wanted.set {
        values.entry(set.name.clone()).or_insert_with(|| set.value.clone());
    }
    let total: usize = values.values().map(Vec::len).sum();
    if total > MOST {
        let error = io::Error::from(ErrorKind::FileTooLarge);
        return Err(Failure::new(status::CREDENTIALS, "the credentials are above 1 MiB together", error));
    }
    Ok(values)
}

/// From a file, a socket, or (a value for each file, NAME_FILE) a folder.
fn load(credential: &LoadedCredential, values: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let path = if credential.path.starts_with('/') {
        PathBuf::from(&credential.path)
    } else {
        Path::new(SYSTEM).join(&credential.path)
    };
    let kind = fs::metadata(&path)?.file_type();
    if kind.is_dir() {
        return load_folder(&path, &credential.name, values, 0);
    }
    let mut value = Vec::new();
    let most = u64::try_from(MOST).unwrap_or(u64::MAX) + 1;
    if kind.is_socket() {
        UnixStream::connect(&path)?.take(most).read_to_end(&mut value)?;
    } else {
        File::open(&path)?.take(most).read_to_end(&mut value)?;
    }
    values.insert(credential.name.clone(), value);
    Ok(())
}

fn load_folder(
    folder: &Path,
    name: &str,
    values: &mut BTreeMap<String, Vec<u8>>,
    depth: u32,
) -> io::Result<()> {
    const DEEPEST: u32 = 8;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{name}_{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() && depth < DEEPEST {
            load_folder(&entry.path(), &name, values, depth + 1)?;
        } else if kind.is_file() && fs::metadata(entry.path())?.len() <= MOST as u64 {
            values.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// A detached file system with the values in it, read-only.
fn filled(values: &BTreeMap<String, Vec<u8>>, identity: &Identity) -> io::Result<OwnedFd> {
    // ramfs is never swapped; where a kernel lacks it, tmpfs is memory all the same.
    let system = fsopen("ramfs", FsOpenFlags::FSOPEN_CLOEXEC)
        .or_else(|_| fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC))?;
    fsconfig_set_string(system.as_fd(), "mode", "0700")?;
    fsconfig_create(system.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = fsmount(system.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let owner = Some(Uid::from_raw(identity.uid));
    let group = Some(Gid::from_raw(identity.gid));
    for (name, value) in values {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(mount.as_fd(), name.as_str(), flags, Mode::from_raw_mode(0o400))?;
        io::Write::write_all(&mut File::from(file), value)?;
        chownat(mount.as_fd(), name.as_str(), owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    let root =
        openat(mount.as_fd(), ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    fchmod(&root, Mode::from_raw_mode(0o500))?;
    rustix::fs::fchown(&root, owner, group)?;
    drop(root);
    set_mount_attributes(
        &mount,
        MountAttributes::READ_ONLY,
        MountAttributes::NONE,
        Propagation::Unchanged,
        false,
    )?;
    Ok(mount)
}

/// Takes a unit's credentials away.
pub fn remove(unit: &UnitName) {
    let place = Path::new(FOLDER).join(unit.as_str());
    if fs::symlink_metadata(&place).is_ok() {
        while is_mounted(&place) && unmount(&place, UnmountFlags::DETACH).is_ok() {}
        let _ = fs::remove_dir(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unit::settings::SetCredential;

    #[test]
    fn what_is_loaded_wins_over_what_is_set() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "from file").unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(folder.path().join("d/x"), "1").unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let load = |name: &str, path: String| LoadedCredential { name: name.to_owned(), path };
        let set = |name: &str| SetCredential { name: name.to_owned(), value: b"set".to_vec() };
        let mut wanted = Credentials {
            load: vec![
                load("a", path("a")),
                load("b", path("none")),
                load("d", path("d")),
                load("s", "none".into()),
            ],
            set: vec![set("a"), set("b")],
            ..Credentials::default()
        };
        let values = gather(&wanted).unwrap();
        let want = [("a", "from file"), ("b", "set"), ("d_x", "1")];
        assert_eq!(values, want.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).into());
        wanted.set.clear();
        assert_eq!(gather(&wanted).unwrap_err().code, 243);
        wanted.load = vec![load("big", "/dev/zero".into())];
        assert_eq!(gather(&wanted).unwrap_err().code, 243);
    }
}
