//! The containers of a state directory, one folder each: `state.json` (this record), `config.json` (the
//! configuration as it was at create), and the gate's socket until the container is started.
//!
//! The record is written before the first process is born and again when its number is known, so that whatever
//! is killed, `delete --force` finds the cgroup and the process. What the status is, the kernel says: a process
//! that is gone is stopped, one whose gate is there is created. A folder is locked while a verb changes it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hooks, Spec};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::{Error, during};
use crate::run::cgroup::Cgroup;
use crate::run::gate;
use crate::run::hooks::ContainerState;

const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";

/// A state directory.
#[derive(Debug)]
pub struct Containers(PathBuf);

/// What is kept of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its name.
    pub id: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Its root directory.
    pub rootfs: PathBuf,
    /// When it was created, as RFC 3339 writes it.
    pub created: String,
    /// Who created it.
    pub owner: u32,
    /// The first process; none yet while it is being created.
    pub pid: Option<u32>,
    /// When that process began, in the kernel's ticks: tells it from another of the same number.
    pub pid_start: u64,
    /// Its cgroup.
    pub cgroup: Cgroup,
    /// Whether its processes die with the first.
    pub own_pids: bool,
    /// Programs to be run at later turns.
    pub hooks: Option<Hooks>,
    /// The configuration's.
    pub annotations: BTreeMap<String, String>,
}

/// In which part of its life a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Being made.
    Creating,
    /// Waiting to be started.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its first process is gone.
    Stopped,
}

impl Status {
    /// As the specification names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container's folder, locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The folder itself.
    pub fd: OwnedFd,
}

impl Folder {
    /// Writes the record, whole or not at all.
    pub fn save(&self, record: &Record) -> Result<(), Error> {
        let path = self.path.join(RECORD);
        let new = self.path.join(".state.json");
        let text =
            serde_json::to_vec(record).map_err(|source| Error::Config { path: path.clone(), source })?;
        during("state.json", fs::write(&new, text).and_then(|()| fs::rename(&new, &path)))
    }

    /// Keeps the configuration.
    pub fn keep_config(&self, text: &[u8]) -> Result<(), Error> {
        during(CONFIG, fs::write(self.path.join(CONFIG), text))
    }

    /// Removes it with all that is in it.
    pub fn remove(self) -> Result<(), Error> {
        during(self.path.display().to_string(), fs::remove_dir_all(&self.path))
    }
}

impl Containers {
    /// Those of this directory.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self(root)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    /// Makes the folder of a new container.
    pub fn create(&self, id: &str) -> Result<Folder, Error> {
        check(id)?;
        use std::os::unix::fs::DirBuilderExt;
        during(
            self.0.display().to_string(),
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0),
        )?;
        let path = self.path(id);
        match fs::DirBuilder::new().mode(0o711).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Usage(format!("container with given ID already exists: {id:?}")))
            }
            Err(error) => Err(Error::Io(path.display().to_string(), error)),
            Ok(()) => lock(path),
        }
    }

    /// Locks the folder of a container.
    pub fn folder(&self, id: &str) -> Result<Folder, Error> {
        check(id)?;
        match lock(self.path(id)) {
            Err(Error::Io(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Missing(id.to_owned()))
            }
            other => other,
        }
    }

    /// The record of a container.
    pub fn load(&self, id: &str) -> Result<Record, Error> {
        check(id)?;
        let path = self.path(id).join(RECORD);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(id.to_owned()));
            }
            other => during(path.display().to_string(), other)?,
        };
        serde_json::from_slice(&text).map_err(|source| Error::Config { path, source })
    }

    /// The configuration of a container, as it was at create.
    pub fn config(&self, id: &str) -> Result<Spec, Error> {
        let path = self.path(id).join(CONFIG);
        let text = during(path.display().to_string(), fs::read(&path))?;
        serde_json::from_slice(&text).map_err(|source| Error::Config { path, source })
    }

    /// All of them; what cannot be read is left out.
    #[must_use]
    pub fn list(&self) -> Vec<Record> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut all: Vec<Record> =
            entries.filter_map(|entry| self.load(entry.file_name().to_str()?).ok()).collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// In which part of its life a container is.
    #[must_use]
    pub fn status(&self, record: &Record) -> Status {
        let Some(pid) = record.pid else { return Status::Creating };
        match life_of(pid) {
            Some((start, false)) if start == record.pid_start => {}
            _ => return Status::Stopped,
        }
        if self.path(&record.id).join(gate::NAME).exists() {
            Status::Created
        } else if record.cgroup.is_frozen() {
            Status::Paused
        } else {
            Status::Running
        }
    }
}

fn lock(path: PathBuf) -> Result<Folder, Error> {
    let shown = path.display().to_string();
    let fd = during(
        shown.clone(),
        open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()),
    )?;
    during(shown, flock(&fd, FlockOperation::LockExclusive))?;
    Ok(Folder { path, fd })
}

/// A name is one part of a path, of few characters.
fn check(id: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id.len() > 1024 || id == "." || id == ".." || !id.chars().all(allowed) {
        return Err(Error::Usage(format!(
            "invalid container ID {id:?}: letters, digits and _ + - . are allowed"
        )));
    }
    Ok(())
}

/// When a process began, and whether it is over and only waits to be collected. `None`: there is none.
pub fn life_of(pid: u32) -> Option<(u64, bool)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let over = matches!(fields.next()?, "Z" | "X");
    Some((fields.nth(18)?.parse().ok()?, over))
}

impl Record {
    /// The first process, if it is still that one.
    #[must_use]
    pub fn process(&self) -> Option<OwnedFd> {
        let pid = self.pid?;
        let pidfd = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // Asked after the descriptor is ours: now the number cannot pass to another process unseen.
        (life_of(pid)? == (self.pid_start, false)).then_some(pidfd)
    }

    /// The state that hooks are told.
    #[must_use]
    pub fn state(&self, status: Status) -> ContainerState<'_> {
        ContainerState {
            oci_version: crate::run::hooks::VERSION,
            id: &self.id,
            status: status.word(),
            pid: self.pid.filter(|_| status != Status::Stopped),
            bundle: Path::new(&self.bundle),
            annotations: self
                .annotations
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        for good in ["a", "A-1_b+c.d", "..."] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\0", "é"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_process_is_told_by_its_begin() {
        let (start, over) = life_of(std::process::id()).unwrap();
        assert!(start > 0 && !over);
        assert_eq!(life_of(u32::MAX), None);
    }
}
