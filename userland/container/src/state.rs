//! What is known of containers, and how their death is noticed.
//!
//! A container has two directories. In the store, `containers/ID/` holds what lasts: `container.json` (this
//! record), `config.json` (the OCI configuration), `upper`, `work` and `rootfs`. In `/run/corten/containers`,
//! `ID/state.json` holds what a reboot ends, and `ID/lock` is locked by the process that is the container's
//! parent for as long as it lives. So a lock that can be taken means: nobody looks after this container
//! any more, whatever `state.json` says; the kernel has killed it along with its parent. No state at all
//! means that the machine went down. `lock` beside them guards the names while one is given.

mod ending;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oci_spec::runtime::Spec;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::bundle::image::ImageConfig;
use crate::rootfs::Rootfs;
use crate::store::image::Image;
use crate::store::{Store, StoreError, random_name};

/// Where the state of running containers is.
pub const RUN: &str = "/run/corten/containers";
/// Exit status of a container that ended without anyone to see it.
const UNSEEN: i32 = 255;
/// The file in the directory that lasts which says that the container was never started.
pub const UNSTARTED: &str = "unstarted";

/// Why a container cannot be found, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Not there.
    #[error("No such container: {0}")]
    Missing(String),
    /// More than one.
    #[error("Multiple containers begin with {0}: give more digits of the ID")]
    Ambiguous(String),
    /// The name is taken.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container {id}. \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        id: String,
    },
    /// Not a name.
    #[error("Invalid container name ({0:?}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    BadName(String),
    /// It would have to run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// It must not run.
    #[error("container {0} is running: stop the container before removing or force remove")]
    Running(String),
    /// It was killed and is still there.
    #[error("container {0} was killed and does not go: a disk or a parent of it hangs")]
    Stays(String),
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What lasts of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as the user named it.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// The directories of the image's layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// The program and its arguments, as shown by `ps`.
    pub command: Vec<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether PID 1 is ours, starting and reaping for the program.
    pub init: bool,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
    /// `bridge`, `host` or `none`.
    pub network: String,
    /// Labels of the container.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Record {
    /// What is known of a container that is made of this image and configuration; the rest is as it mostly is, or empty.
    ///
    /// # Errors
    /// When a layer is missing.
    pub fn of_image(
        store: &Store,
        image: &Image,
        config: &ImageConfig,
        id: String,
        spec: &Spec,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            id,
            name: String::new(),
            image: image.reference.clone(),
            image_id: image.id.clone(),
            layers: store.layers(config)?,
            command: spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default(),
            created: now(),
            tty: false,
            init: false,
            auto_remove: false,
            stop_signal: None,
            network: String::new(),
            labels: std::collections::BTreeMap::new(),
        })
    }

    /// The twelve digits that people know it by.
    #[must_use]
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// What a reboot ends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// The container's first process; none before it started.
    pub pid: Option<u32>,
    /// Clock ticks from boot to the start of that process, which tell it from a later one of its number.
    pub pid_start: u64,
    /// Seconds since 1970 at which it started.
    pub started: Option<u64>,
    /// Seconds since 1970 at which it ended.
    pub finished: Option<u64>,
    /// How it ended, as a shell would say.
    pub exit_code: Option<i32>,
    /// The unit that it belongs to.
    pub unit: Option<String>,
    /// Why it did not start; empty if it did.
    #[serde(default)]
    pub error: String,
    /// Whether it ended and is about to be started again.
    #[serde(default)]
    pub restarting: bool,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Made, never started.
    Created,
    /// Its parent lives.
    Running,
    /// It ended with this status.
    Exited(i32),
}

impl Status {
    /// Docker's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Exited(_) => "exited",
        }
    }
}

/// A container as found.
#[derive(Clone, Debug)]
pub struct Container {
    /// What lasts.
    pub record: Record,
    /// What does not.
    pub state: State,
    /// Where it is in its life.
    pub status: Status,
}

/// All containers.
#[derive(Clone, Debug)]
pub struct Containers {
    store: PathBuf,
    run: PathBuf,
}

/// The proof that this process looks after a container. Others see it end when it is dropped.
#[derive(Debug)]
pub struct Owner {
    _lock: OwnedFd,
}

impl Containers {
    /// The containers of this store, with their running state under `run`.
    #[must_use]
    pub fn new(store: &Path, run: &Path) -> Self {
        Self { store: store.join("containers"), run: run.to_owned() }
    }

    /// The directory that lasts.
    #[must_use]
    pub fn dir(&self, id: &str) -> PathBuf {
        self.store.join(id)
    }

    /// Where what a container writes goes.
    #[must_use]
    pub fn upper(&self, id: &str) -> PathBuf {
        self.dir(id).join("upper")
    }

    /// The root file system of a container; `devices`: device nodes in it may be opened.
    #[must_use]
    pub fn rootfs(&self, record: &Record, devices: bool) -> Rootfs {
        let dir = self.dir(&record.id);
        Rootfs {
            layers: record.layers.clone(),
            upper: self.upper(&record.id),
            work: dir.join("work"),
            target: dir.join("rootfs"),
            devices,
        }
    }

    pub(crate) fn run_dir(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }

    /// Makes a container: gives out an id, keeps the name for it, writes both files.
    ///
    /// # Errors
    /// When the name is taken or no name, or the disk fails.
    pub fn create(
        &self,
        store: &Store,
        mut record: Record,
        config: &Spec,
    ) -> Result<(Record, Owner), StateError> {
        let _names = self.lock_names()?;
        if record.name.is_empty() {
            record.name = record.short_id().to_owned();
        }
        if !is_name(&record.name) {
            return Err(StateError::BadName(record.name));
        }
        if let Some(other) = self.list()?.into_iter().find(|other| other.record.name == record.name) {
            return Err(StateError::NameTaken { name: record.name, id: other.record.id });
        }
        let dir = self.dir(&record.id);
        for name in ["upper", "work", "rootfs"] {
            make_dir(&dir.join(name))?;
        }
        // The root directory of the container is what anyone inside may enter.
        set_mode(&dir.join("upper"), 0o755)?;
        let owner = self.own(&record.id)?;
        let json = |value: Result<Vec<u8>, serde_json::Error>, path: &Path| {
            value.map_err(|error| io_error(path, error.into()))
        };
        let path = dir.join("config.json");
        store.write(&path, &json(serde_json::to_vec_pretty(config), &path)?)?;
        // Last: without it the directory is rubbish that clearing removes.
        let path = dir.join("container.json");
        store.write(&path, &json(serde_json::to_vec_pretty(&record), &path)?)?;
        Ok((record, owner))
    }

    fn lock_names(&self) -> Result<OwnedFd, StateError> {
        make_dir(&self.run)?;
        lock(&self.run.join("lock"), FlockOperation::LockExclusive)
    }

    /// Becomes the one that looks after this container.
    ///
    /// # Errors
    /// When someone else does.
    pub fn own(&self, id: &str) -> Result<Owner, StateError> {
        make_dir(&self.run_dir(id))?;
        let path = self.run_dir(id).join("lock");
        match lock(&path, FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Owner { _lock: lock }),
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => {
                Err(StateError::Running(id.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// When the name is taken or no name, or the disk fails.
    pub fn rename(&self, store: &Store, record: &Record, name: &str) -> Result<Record, StateError> {
        let _names = self.lock_names()?;
        if !is_name(name) {
            return Err(StateError::BadName(name.to_owned()));
        }
        if let Some(other) = self.list()?.into_iter().find(|other| other.record.name == name) {
            return Err(StateError::NameTaken { name: name.to_owned(), id: other.record.id });
        }
        let record = Record { name: name.to_owned(), ..record.clone() };
        let path = self.dir(&record.id).join("container.json");
        let text = serde_json::to_vec_pretty(&record).map_err(|error| io_error(&path, error.into()))?;
        store.write(&path, &text)?;
        Ok(record)
    }

    /// Keeps the state of a container that the caller owns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_state(&self, id: &str, state: &State) -> Result<(), StateError> {
        let dir = self.run_dir(id);
        let (new, path) = (dir.join("state.json.new"), dir.join("state.json"));
        let text = serde_json::to_vec(state).map_err(|error| io_error(&path, error.into()))?;
        // A tmpfs: moved into place so that a reader never sees half of it; there is no disk to sync.
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).map_err(|error| io_error(&path, error))
    }

    /// All containers, the newest first.
    ///
    /// # Errors
    /// When the directory cannot be read. A container without a readable record is left out.
    pub fn list(&self) -> Result<Vec<Container>, StateError> {
        let entries = match fs::read_dir(&self.store) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| io_error(&self.store, error))?,
        };
        let mut all: Vec<Container> =
            entries.flatten().filter_map(|entry| self.read(entry.file_name().to_str()?)).collect();
        all.sort_by(|a, b| (b.record.created, &b.record.id).cmp(&(a.record.created, &a.record.id)));
        Ok(all)
    }

    /// The ids of the images that containers were made from.
    #[must_use]
    pub fn images(&self) -> Vec<String> {
        let all = self.list().unwrap_or_default();
        all.into_iter().map(|container| container.record.image_id).collect()
    }

    fn read(&self, id: &str) -> Option<Container> {
        let record: Record =
            serde_json::from_slice(&fs::read(self.dir(id).join("container.json")).ok()?).ok()?;
        let state_text = fs::read(self.run_dir(id).join("state.json")).ok();
        let state: State = state_text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let owned = matches!(self.is_owned(id), Ok(true));
        let status = match (owned, state.exit_code) {
            (_, Some(code)) => Status::Exited(code),
            (true, None) if state.started.is_some() => Status::Running,
            (true, None) => Status::Created,
            (false, None) if self.dir(id).join(UNSTARTED).exists() => Status::Created,
            (false, None) => Status::Exited(if state.pid.is_some() { 137 } else { UNSEEN }),
        };
        Some(Container { record, state, status })
    }

    /// Whether somebody looks after the container.
    #[must_use]
    pub fn is_looked_after(&self, id: &str) -> bool {
        self.is_owned(id).unwrap_or(false)
    }

    fn is_owned(&self, id: &str) -> Result<bool, StateError> {
        let path = self.run_dir(id).join("lock");
        if !path.exists() {
            return Ok(false);
        }
        match lock(&path, FlockOperation::NonBlockingLockShared) {
            Ok(_) => Ok(false),
            Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The container of this name, id, or beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, name: &str) -> Result<Container, StateError> {
        let all = self.list()?;
        let name = name.strip_prefix('/').unwrap_or(name);
        if let Some(exact) = all.iter().find(|one| one.record.name == name || one.record.id == name) {
            return Ok(exact.clone());
        }
        let mut begin = all.into_iter().filter(|one| !name.is_empty() && one.record.id.starts_with(name));
        match (begin.next(), begin.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(StateError::Ambiguous(name.to_owned())),
            (None, _) => Err(StateError::Missing(name.to_owned())),
        }
    }

    /// Waits until nobody looks after the container any more, or the time is over. Tells which.
    ///
    /// # Errors
    /// When its lock cannot be tried.
    pub fn wait_for_end(&self, id: &str, limit: Duration) -> Result<bool, StateError> {
        let begin = std::time::Instant::now();
        while self.is_owned(id)? {
            if begin.elapsed() >= limit {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// Removes a container that does not run, with all that it wrote.
    ///
    /// # Errors
    /// When it runs, or something cannot be removed.
    pub fn remove(&self, container: &Container) -> Result<(), StateError> {
        let id = &container.record.id;
        let owner = self.own(id)?;
        // Its parent is gone; the kernel kills it along, but this may be a moment later.
        if let Some(pidfd) = container.state.process() {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            let mut polled = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            let _ = rustix::event::poll(&mut polled, None);
        }
        self.remove_owned(id, &owner)
    }

    /// Removes a container that the caller owns.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove_owned(&self, id: &str, _owner: &Owner) -> Result<(), StateError> {
        let dir = self.dir(id);
        let gone = |path: &Path, result: io::Result<()>| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
            _ => Ok(()),
        };
        // Without its record it is rubbish from here on, whatever happens.
        let record = dir.join("container.json");
        gone(&record, fs::remove_file(&record))?;
        gone(&dir, fs::remove_dir_all(&dir))?;
        let run = self.run_dir(id);
        gone(&run, fs::remove_dir_all(&run))
    }

    /// Clears what a power cut or a kill left: directories without a record, and containers that were
    /// to be removed at their end. Returns how many.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> Result<usize, StateError> {
        let _names = self.lock_names()?;
        let mut removed = 0;
        for container in self.list()? {
            if container.record.auto_remove && matches!(container.status, Status::Exited(_)) {
                match self.remove(&container) {
                    Ok(()) => removed += 1,
                    Err(StateError::Running(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for entry in fs::read_dir(&self.store).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str() else { continue };
            if self.read(id).is_none()
                && let Ok(owner) = self.own(id)
            {
                self.remove_owned(id, &owner)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl State {
    /// The container's first process, if it is still that one.
    #[must_use]
    pub fn process(&self) -> Option<OwnedFd> {
        let pid = self.pid?;
        let pidfd = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // Asked after the descriptor is ours: now the number cannot pass to another process unseen.
        (start_of(pid)? == self.pid_start).then_some(pidfd)
    }
}

/// Clock ticks from boot to the start of a process.
#[must_use]
pub fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and parentheses; it ends with the last one.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A new id.
///
/// # Errors
/// When the kernel gives no random numbers.
pub fn new_id() -> Result<String, StateError> {
    Ok(random_name()?)
}

/// Whether containers, networks and volumes may be called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 128
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

pub(crate) fn lock(path: &Path, how: FlockOperation) -> Result<OwnedFd, StateError> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| io_error(path, error.into()))?;
    flock(&file, how).map_err(|error| io_error(path, error.into()))?;
    Ok(file)
}

pub(crate) fn make_dir(path: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| io_error(path, error))
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StateError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|error| io_error(path, error))
}

fn io_error(path: &Path, source: io::Error) -> StateError {
    StateError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
