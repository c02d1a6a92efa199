//! The cgroup of a container: made, limited, frozen, emptied, removed.
//!
//! One type for both worlds. In a pure v2 tree a container has one directory, and its first process is born in
//! it. In a v1 or hybrid tree it has one in each hierarchy, of the same path, and processes are added by
//! number before they go on. Which world it is, the file system at `/sys/fs/cgroup` tells.
//! Sources: cgroups(7), the kernel's cgroup-v2 and cgroup-v1 documentation, OCI runtime specification
//! "Control groups".

pub mod devices;
pub mod statistics;
pub mod unit;
pub mod v1;
pub mod v2;
pub mod view;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags, open, statfs};
use serde::{Deserialize, Serialize};

/// Where the tree is.
pub const ROOT: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// How often a cgroup that is still in use is asked again to go: a killed process takes a moment.
const REMOVALS: u32 = 100;

/// The directories of a container: by controller in v1, under the empty name in v2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cgroup {
    paths: BTreeMap<String, PathBuf>,
}

/// Whether the tree is v2 alone.
#[must_use]
pub fn is_v2() -> bool {
    statfs(ROOT).is_ok_and(|stat| stat.f_type as i64 == CGROUP2_MAGIC)
}

impl Cgroup {
    /// One of the v2 tree, at this directory.
    #[must_use]
    pub fn of_v2(path: PathBuf) -> Self {
        Self { paths: BTreeMap::from([(String::new(), path)]) }
    }

    /// Makes the cgroup of a configuration: `wanted` as its `cgroupsPath` says, or named for the container.
    ///
    /// # Errors
    /// When the path climbs, or the kernel refuses.
    pub fn create(wanted: Option<&Path>, id: &str, resources: &LinuxResources) -> io::Result<Self> {
        let wanted = wanted.map_or_else(|| PathBuf::from(id), Path::to_owned);
        if wanted.components().any(|part| part == Component::ParentDir) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "cgroupsPath must not contain '..'"));
        }
        if is_v2() { v2::create(&wanted, resources) } else { v1::create(&wanted) }
    }

    /// The directory for a child to be born into, in a v2 tree.
    ///
    /// # Errors
    /// When it is gone.
    pub fn birthplace(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = self.paths.get("").filter(|_| self.is_v2());
        path.map(|path| open(path, flags, Mode::empty()).map_err(|error| at(path, error.into()))).transpose()
    }

    /// Whether all of it is one directory of the v2 tree.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        self.paths.len() == 1 && self.paths.contains_key("")
    }

    /// The directories: by controller in v1, under the empty name in v2.
    #[must_use]
    pub fn paths(&self) -> &BTreeMap<String, PathBuf> {
        &self.paths
    }

    /// Cgroups below it, as `[CONTROLLER[,...]:]PATH` names them; without a controller the path is for all.
    ///
    /// # Errors
    /// When one is not there, or climbs.
    pub fn below(&self, wanted: &[String]) -> io::Result<Self> {
        let mut result = self.clone();
        for text in wanted {
            let (controllers, path) =
                text.split_once(':').map_or(("", text.as_str()), |(names, path)| (names, path));
            let path = Path::new(path.trim_start_matches('/'));
            if path.components().any(|part| part == Component::ParentDir) {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("{text} must not contain '..'"),
                ));
            }
            for (name, directory) in &mut result.paths {
                if controllers.is_empty() || controllers.split(',').any(|one| one == name) {
                    directory.push(path);
                    if !directory.is_dir() {
                        return Err(at(directory, io::ErrorKind::NotFound.into()));
                    }
                }
            }
        }
        Ok(result)
    }

    /// How many of its processes the kernel has killed since memory ran out.
    #[must_use]
    pub fn out_of_memory_kills(&self) -> u64 {
        let (path, file) = match (self.paths.get("memory"), self.paths.get("")) {
            (Some(path), _) => (path, "memory.oom_control"),
            (None, Some(path)) => (path, "memory.events"),
            (None, None) => return 0,
        };
        let text = fs::read_to_string(path.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Moves a process in.
    ///
    /// # Errors
    /// What the kernel says: `ESRCH` it is gone.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        for path in self.paths.values() {
            let file = path.join("cgroup.procs");
            fs::write(&file, pid.to_string()).map_err(|error| at(&file, error))?;
        }
        Ok(())
    }

    /// Sets limits: only those that are named.
    ///
    /// # Errors
    /// When the kernel refuses one, named with its file.
    pub fn limit(&self, resources: &LinuxResources) -> io::Result<()> {
        match self.paths.get("") {
            Some(path) if self.is_v2() => v2::limit(path, resources),
            _ => v1::limit(&self.paths, resources),
        }
    }

    /// Decides which devices may be used: the configuration's rules, and those that every container has.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn allow_devices(&self, resources: &LinuxResources) -> io::Result<()> {
        let rules = devices::rules(resources);
        match (self.paths.get(""), self.paths.get("devices")) {
            (_, Some(path)) => devices::write_v1(path, &rules),
            (Some(_), None) if self.is_v2() => match self.birthplace()? {
                Some(directory) => devices::attach_v2(&directory, &rules),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Stops all processes where they are, or lets them go on; returns when that is so.
    ///
    /// # Errors
    /// When the kernel refuses or there is no freezer.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        let (path, file, value, ready) = match (self.paths.get("freezer"), self.paths.get("")) {
            (Some(path), _) => {
                let word = if frozen { "FROZEN" } else { "THAWED" };
                (path, "freezer.state", word, word)
            }
            (None, Some(path)) => (
                path,
                "cgroup.freeze",
                if frozen { "1" } else { "0" },
                if frozen { "frozen 1" } else { "frozen 0" },
            ),
            (None, None) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "there is no freezer cgroup"));
            }
        };
        fs::write(path.join(file), value).map_err(|error| at(&path.join(file), error))?;
        let told = if file == "cgroup.freeze" { "cgroup.events" } else { file };
        for _ in 0..1000 {
            if fs::read_to_string(path.join(told))?.lines().any(|line| line == ready) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, "the processes do not stop"))
    }

    /// Whether its processes are stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let says = |path: &PathBuf, file: &str, word: &str| {
            fs::read_to_string(path.join(file)).is_ok_and(|text| text.lines().any(|line| line == word))
        };
        match (self.paths.get("freezer"), self.paths.get("")) {
            (Some(path), _) => {
                says(path, "freezer.state", "FROZEN") || says(path, "freezer.state", "FREEZING")
            }
            (None, Some(path)) => says(path, "cgroup.freeze", "1"),
            (None, None) => false,
        }
    }

    /// The processes in it and below, as we see their numbers.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        let known = ["pids", "devices", "memory", ""].iter().find_map(|name| self.paths.get(*name));
        if let Some(path) = known.or_else(|| self.paths.values().next()) {
            visit(path, &mut |directory| {
                let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
                found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
            });
        }
        found
    }

    /// Kills all processes in it and below, whatever they start meanwhile.
    pub fn kill(&self) {
        if let Some(path) = self.paths.get("").filter(|_| self.is_v2())
            && fs::write(path.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for _ in 0..REMOVALS {
            let processes = self.processes();
            if processes.is_empty() {
                return;
            }
            for pid in processes {
                let _ = linux::signal::kill(pid, libc::SIGKILL);
            }
            // What is frozen dies only when it goes on.
            if self.is_frozen() {
                let _ = self.freeze(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Removes it with all below. What is not there is no error.
    ///
    /// # Errors
    /// When processes stay in it.
    pub fn remove(&self) -> io::Result<()> {
        for path in self.paths.values() {
            let mut tries = 0;
            loop {
                match remove_tree(path) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries < REMOVALS => {
                        tries += 1;
                        std::thread::sleep(Duration::from_millis(u64::from(tries.min(10))));
                    }
                    Err(error) => return Err(at(path, error)),
                }
            }
        }
        Ok(())
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
        other => return other,
    }
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

fn visit(path: &Path, seen: &mut impl FnMut(&Path)) {
    seen(path);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path(), seen);
        }
    }
}

/// An error that names the file.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes one setting.
fn set(path: &Path, file: &str, value: &str) -> io::Result<()> {
    fs::write(path.join(file), value).map_err(|error| {
        io::Error::new(error.kind(), format!("{}/{file} = {value}: {error}", path.display()))
    })
}

/// A limit as the kernel writes it.
fn number(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}
