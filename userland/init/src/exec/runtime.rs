//! What the processes of one unit share while it runs: private /tmp, namespaces, the dynamic user's number.
//!
//! All of it hangs on a folder `/run/systemd/exec/UNIT` of the file system, not on PID 1's memory: the first process
//! makes what it needs under a lock, the others find it there, and it survives PID 1 executing itself anew. When the
//! unit has ended, PID 1 renames the folder (so that the next start finds none) and lets a child clear it away.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use linux::namespace::{Namespaces, fork_into, unshare};
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use unit::UnitName;

use super::{credentials, dynamic_user, ipc};

const FOLDER: &str = "/run/systemd/exec";
const TMP: &str = "tmp";
const VAR_TMP: &str = "var-tmp";
/// Whose System V and POSIX objects go with the unit: `UID GID`.
const IPC_OWNER: &str = "ipc-owner";
/// The number of the unit's dynamic user.
const USER: &str = "user";

/// A unit's folder, locked against its other processes.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Those of the units whose /tmp and namespaces are this one's too, where they have some (JoinsNamespaceOf=).
    joined: Vec<PathBuf>,
    _locks: Vec<File>,
}

impl Folder {
    /// Makes or finds it; waits while another process of the unit is at it, or of one that it shares with.
    pub fn hold(unit: &UnitName, joins: &[UnitName]) -> io::Result<Folder> {
        let path = Path::new(FOLDER).join(unit.as_str());
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        // One lock for all that share, taken first: two that join each other would wait for each other.
        let all = (!joins.is_empty()).then_some(Path::new(FOLDER));
        let locks = all.into_iter().chain([path.as_path()]).map(lock).collect::<io::Result<_>>()?;
        let joined = joins.iter().map(|other| Path::new(FOLDER).join(other.as_str())).collect();
        Ok(Folder { path, joined, _locks: locks })
    }

    /// The unit's own /tmp and /var/tmp; the folders that hold them are root's alone.
    pub fn private_tmp(&self, unit: &UnitName) -> io::Result<(PathBuf, PathBuf)> {
        Ok((self.one_tmp(TMP, "/tmp", unit)?, self.one_tmp(VAR_TMP, "/var/tmp", unit)?))
    }

    fn one_tmp(&self, name: &str, parent: &str, unit: &UnitName) -> io::Result<PathBuf> {
        let link = self.path.join(name);
        if let Ok(folder) = fs::read_link(&link) {
            return Ok(folder.join("tmp"));
        }
        if let Some(folder) = self.joined.iter().find_map(|other| fs::read_link(other.join(name)).ok()) {
            symlink(&folder, &link)?;
            return Ok(folder.join("tmp"));
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().replace('-', "");
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        for attempt in 0..100 {
            let name = format!("systemd-private-{boot}-{unit}-{}", suffix(attempt)?);
            let folder = Path::new(parent).join(name);
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let inside = folder.join("tmp");
            fs::create_dir(&inside)?;
            fs::set_permissions(&inside, Permissions::from_mode(0o1777))?;
            symlink(&folder, &link)?;
            return Ok(inside);
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Moves this process into the unit's own namespace of a kind; `made` runs in a new one.
    pub fn enter(
        &self,
        kind: Namespaces,
        name: &str,
        made: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let pin = self.path.join(name);
        if pin.exists() {
            return join(&pin);
        }
        match self.joined.iter().map(|other| other.join(name)).find(|other| other.exists()) {
            Some(other) => join(&other)?,
            None => {
                unshare(kind)?;
                made()?;
            }
        }
        File::create(&pin)?;
        mount_bind(format!("/proc/self/ns/{name}"), &pin).map_err(|error| {
            let _ = fs::remove_file(&pin);
            error.into()
        })
    }

    /// Remembers whose objects go with the unit.
    pub fn set_ipc_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        fs::write(self.path.join(IPC_OWNER), format!("{uid} {gid}"))
    }

    /// Remembers that the unit uses a dynamic user.
    pub fn set_user(&self, uid: u32) -> io::Result<()> {
        fs::write(self.path.join(USER), uid.to_string())
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}

/// Moves this process into a namespace that a file stands for.
pub fn join(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    let network =
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network));
    match network {
        // Not a network then: the only other kind that a unit names is IPC.
        Err(rustix::io::Errno::INVAL) => Ok(move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&namespace),
            Some(LinkNameSpaceType::InterProcessCommunication),
        )?),
        result => Ok(result?),
    }
}

/// The numbers of dynamic users that units hold now.
pub fn users_in_use() -> Vec<u32> {
    let folders = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    folders.filter_map(|folder| fs::read_to_string(folder.path().join(USER)).ok()?.parse().ok()).collect()
}

fn suffix(attempt: u32) -> io::Result<String> {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut random = [0_u8; 6];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    Ok(random.iter().map(|byte| letter(byte.wrapping_add(attempt as u8))).collect())
}

/// Called by PID 1 when a unit has ended: its credentials are gone at once, the rest is cleared by a child.
pub fn forget(unit: &UnitName) {
    credentials::remove(unit);
    let folder = Path::new(FOLDER).join(unit.as_str());
    if !folder.exists() {
        return;
    }
    let unique = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let gone = Path::new(FOLDER).join(format!(".{unit}.{}.{}", unique.tv_sec, unique.tv_nsec));
    if fs::rename(&folder, &gone).is_ok() {
        // The event loop reaps it like any other child.
        let _ = fork_into(Namespaces::NONE, None, || {
            clear(&gone);
            0
        });
    }
}

fn clear(folder: &Path) {
    let _lock = lock(Path::new(FOLDER));
    for name in [TMP, VAR_TMP] {
        let link = folder.join(name);
        let Ok(private) = fs::read_link(&link) else { continue };
        let _ = fs::remove_file(&link);
        // the last of those that share it clears it away
        let others = fs::read_dir(FOLDER).into_iter().flatten().flatten();
        if !others
            .map(|other| fs::read_link(other.path().join(name)))
            .any(|other| other.ok().as_ref() == Some(&private))
        {
            let _ = fs::remove_dir_all(private);
        }
    }
    for name in ["net", "ipc"] {
        let _ = unmount(folder.join(name), UnmountFlags::DETACH);
    }
    let owner = fs::read_to_string(folder.join(IPC_OWNER)).unwrap_or_default();
    if let Some((uid, gid)) =
        owner.split_once(' ').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)))
    {
        ipc::remove_of(uid, gid);
    }
    let user = fs::read_to_string(folder.join(USER)).ok().and_then(|text| text.parse().ok());
    let _ = fs::remove_dir_all(folder);
    if let Some(uid) = user {
        dynamic_user::release(uid);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn suffixes_differ() {
        let (one, other) = (super::suffix(0).unwrap(), super::suffix(1).unwrap());
        assert!(one.len() == 6 && one != other);
    }
}
