//! The cgroup tree (version 2): a cgroup for each unit, its settings, its processes, the word when it runs empty.
//!
//! Paths are as the kernel tells them in `/proc/PID/cgroup`: `/system.slice/x.service`. Controllers are switched on
//! from the top down before a cgroup is made; one that the kernel lacks is left out. Source: cgroups(7) and
//! Documentation/admin-guide/cgroup-v2.rst.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use unit::settings::{CgroupSettings, Phase};
use unit::{Event, UnitName, UnitType};

use crate::guard::{self, Guards};
use crate::handover::Inherited;
use crate::log::{self, Level};
use crate::resources;

const ROOT: &str = "/sys/fs/cgroup";
/// Where PID 1 itself lives.
const OWN: &str = "/init.scope";
/// Where the kernel counts what it does for want of memory.
const MEMORY_EVENTS: &str = "memory.events";
const CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];
/// Cgroups nested deeper than this are not walked.
const DEEPEST: usize = 32;

/// The tree, and the watch over the cgroups that may run empty.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    inotify: Option<OwnedFd>,
    watched: HashMap<i32, (UnitName, String)>,
    /// Folders below which the controllers are on.
    opened: HashSet<String>,
    guards: Guards,
    /// Found empty when their watch began.
    found_empty: Vec<UnitName>,
    /// How many processes of each cgroup the kernel has killed for want of memory.
    oom_kills: HashMap<String, u64>,
    /// Controllers that are not to be on below a cgroup (DisableControllers=).
    disabled: HashMap<String, Vec<String>>,
    phase: Phase,
}

/// What a unit uses, as far as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// Bytes of memory now.
    pub memory_current: Option<u64>,
    /// Tasks now.
    pub tasks_current: Option<u64>,
    /// Nanoseconds of CPU time since the cgroup was made.
    pub cpu_usage_nsec: Option<u64>,
}

impl Tree {
    /// Takes over the tree: PID 1 moves into its own scope.
    #[must_use]
    pub fn take_over() -> Tree {
        let tree = Tree::at(Path::new(ROOT));
        let own = tree.folder(OWN);
        if fs::create_dir_all(&own).is_ok() {
            let _ = fs::write(own.join("cgroup.procs"), "0");
        }
        tree
    }

    /// A tree elsewhere.
    fn at(root: &Path) -> Tree {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok();
        Tree {
            root: root.to_owned(),
            inotify,
            watched: HashMap::new(),
            opened: HashSet::new(),
            guards: Guards::default(),
            found_empty: Vec::new(),
            oom_kills: HashMap::new(),
            disabled: HashMap::new(),
            phase: Phase::default(),
        }
    }

    /// Readable when a watched cgroup changed.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    fn folder(&self, path: &str) -> PathBuf {
        let safe = path.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..");
        let mut folder = self.root.clone();
        folder.extend(safe);
        folder
    }

    /// Makes a unit's cgroup with its settings; returns its folder, for a child to be born in.
    ///
    /// # Errors
    /// The folder cannot be made. A setting that the kernel refuses is no error.
    pub fn ensure(&mut self, unit: &UnitName, path: &str, settings: &CgroupSettings) -> io::Result<OwnedFd> {
        self.open_controllers(path)?;
        let folder = self.folder(path);
        fs::create_dir_all(&folder)?;
        self.configure(path, settings);
        self.disable(path, &settings.disable_controllers);
        self.watch(unit, path);
        let opened = File::open(&folder)?;
        if let Err(error) = self.guards.apply(path, &opened, settings) {
            let text = format!("{unit}: DeviceAllow= and IPAddressDeny= are not in force: {error}");
            log::say(Level::Warning, Some(unit), &text);
        }
        Ok(opened.into())
    }

    /// Writes a cgroup's settings. One that the kernel refuses is no error.
    fn configure(&self, path: &str, settings: &CgroupSettings) {
        let folder = self.folder(path);
        for (file, value) in resources::files(settings, self.phase) {
            let _ = fs::write(folder.join(file), value);
        }
    }

    /// Another phase begins, for these cgroups.
    pub fn enter<'a>(&mut self, phase: Phase, all: impl Iterator<Item = (&'a str, &'a CgroupSettings)>) {
        self.phase = phase;
        all.for_each(|(path, settings)| self.configure(path, settings));
    }

    /// The phase that it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Keeps controllers off below a cgroup; those that are on are switched off, from the bottom up.
    fn disable(&mut self, path: &str, controllers: &[String]) {
        let before = match controllers {
            [] => self.disabled.remove(path),
            _ => self.disabled.insert(path.to_owned(), controllers.to_vec()),
        };
        if before.as_deref().unwrap_or_default() == controllers {
            return;
        }
        let mut opened: Vec<&String> = self.opened.iter().filter(|opened| is_in(opened, path)).collect();
        opened.sort_by_key(|opened| std::cmp::Reverse(opened.len()));
        for folder in opened {
            for controller in controllers {
                let _ =
                    fs::write(self.folder(folder).join("cgroup.subtree_control"), format!("-{controller}"));
            }
        }
        // what is no longer kept off comes back with the next cgroup below
        self.opened.retain(|opened| !is_in(opened, path));
    }

    /// A cgroup below a unit's, for a control process of a delegated unit.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn ensure_below(&self, path: &str, name: &str) -> io::Result<OwnedFd> {
        let folder = self.folder(path).join(name);
        fs::create_dir_all(&folder)?;
        Ok(File::open(&folder)?.into())
    }

    /// Makes a scope's cgroup and moves processes into it. One that is gone already is left out.
    ///
    /// # Errors
    /// The cgroup cannot be made, or no process can be moved.
    pub fn adopt(
        &mut self,
        unit: &UnitName,
        path: &str,
        settings: &CgroupSettings,
        pids: &[unit::Pid],
    ) -> io::Result<()> {
        self.ensure(unit, path, settings)?;
        let procs = self.folder(path).join("cgroup.procs");
        let moved: Vec<io::Result<()>> =
            pids.iter().filter(|pid| pid.0 > 1).map(|pid| fs::write(&procs, pid.0.to_string())).collect();
        if moved.iter().any(Result::is_ok) {
            Ok(())
        } else {
            moved.into_iter().find(Result::is_err).unwrap_or(Ok(()))
        }
    }

    /// Switches the controllers on in every ancestor.
    fn open_controllers(&mut self, path: &str) -> io::Result<()> {
        let mut ancestors = vec![""];
        ancestors.extend(path.match_indices('/').skip(1).filter_map(|(at, _)| path.get(..at)));
        for ancestor in ancestors {
            if self.opened.contains(ancestor) {
                continue;
            }
            let folder = self.folder(ancestor);
            fs::create_dir_all(&folder)?;
            let there = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
            let is_off = |name: &str| {
                self.disabled
                    .iter()
                    .any(|(above, off)| is_in(ancestor, above) && off.iter().any(|it| it == name))
            };
            let is_there =
                |name: &&&str| there.split_whitespace().any(|word| word == **name) && !is_off(name);
            let wanted: Vec<String> =
                CONTROLLERS.iter().filter(is_there).map(|name| format!("+{name}")).collect();
            let switch = folder.join("cgroup.subtree_control");
            // all at once, for each write rebuilds the tree; where one is refused, at least the others
            if !wanted.is_empty() && fs::write(&switch, wanted.join(" ")).is_err() {
                for controller in &wanted {
                    let _ = fs::write(&switch, controller);
                }
            }
            self.opened.insert(ancestor.to_owned());
        }
        Ok(())
    }

    fn watch(&mut self, unit: &UnitName, path: &str) {
        if unit.unit_type() == UnitType::Slice {
            return;
        }
        for file in ["cgroup.events", MEMORY_EVENTS] {
            if let Some(inotify) = &self.inotify
                && let Ok(watch) =
                    inotify::add_watch(inotify, self.folder(path).join(file), inotify::WatchFlags::MODIFY)
            {
                self.watched.insert(watch, (unit.clone(), path.to_owned()));
            }
        }
        if !self.oom_kills.contains_key(path) {
            self.has_oom_kills(path);
        }
    }

    /// Whether the kernel has killed processes of a cgroup for want of memory since the last call.
    pub fn has_oom_kills(&mut self, path: &str) -> bool {
        let text = fs::read_to_string(self.folder(path).join(MEMORY_EVENTS)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0);
        let before = self.oom_kills.insert(path.to_owned(), count);
        before.is_some_and(|before| before < count)
    }

    /// Writes down what PID 1 executed anew cannot find in the tree.
    #[must_use]
    pub fn save(&self) -> guard::Saved {
        self.guards.save()
    }

    /// Takes over what was written down.
    pub fn restore(&mut self, saved: guard::Saved, inherited: &mut Inherited) {
        self.guards.restore(saved, inherited);
    }

    /// Watches a cgroup that is there already. If it is empty, [`Tree::happened`] tells of it.
    pub fn watch_again(&mut self, unit: &UnitName, path: &str) {
        self.watch(unit, path);
        if unit.unit_type() != UnitType::Slice && !self.is_populated(path) {
            self.found_empty.push(unit.clone());
        }
    }

    /// What has happened to watched cgroups since the last call: the kernel has killed for want of memory, and then,
    /// they ran empty.
    pub fn happened(&mut self) -> Vec<Event> {
        let mut changed = Vec::new();
        if let Some(inotify) = &self.inotify {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(inotify, &mut buffer);
            while let Ok(event) = reader.next() {
                if event.events().contains(inotify::ReadFlags::IGNORED) {
                    self.watched.remove(&event.wd());
                } else if let Some(entry) = self.watched.get(&event.wd())
                    && !changed.contains(entry)
                {
                    changed.push(entry.clone());
                }
            }
        }
        let mut events = Vec::new();
        for (unit, path) in &changed {
            if self.has_oom_kills(path) {
                events.push(Event::OomKilled { unit: unit.clone() });
            }
        }
        changed.retain(|(_, path)| !self.is_populated(path));
        let empty = std::mem::take(&mut self.found_empty);
        let empty = empty.into_iter().chain(changed.into_iter().map(|(unit, _)| unit));
        events.extend(empty.map(|unit| Event::CgroupEmpty { unit }));
        events
    }

    /// Whether any process is in a cgroup or below it.
    #[must_use]
    pub fn is_populated(&self, path: &str) -> bool {
        let events = fs::read_to_string(self.folder(path).join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "populated 1")
    }

    /// Whether the cgroup is there.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.folder(path).is_dir()
    }

    /// Removes a cgroup and all below it; what still holds processes stays.
    pub fn remove(&mut self, path: &str) {
        self.opened.retain(|opened| !is_in(opened, path));
        self.disabled.remove(path);
        self.guards.forget(path);
        self.oom_kills.retain(|known, _| !is_in(known, path));
        remove_folder(&self.folder(path), 0);
    }

    /// Every unit whose cgroup has processes, with the cgroup.
    #[must_use]
    pub fn populated(&self) -> Vec<(UnitName, String)> {
        let mut found = Vec::new();
        let mut left = vec![(String::new(), 0)];
        while let Some((path, depth)) = left.pop() {
            for name in below(&self.folder(&path)) {
                let inside = format!("{path}/{name}");
                let Ok(unit) = UnitName::parse(&name) else { continue };
                let is_slice = unit.unit_type() == UnitType::Slice;
                if is_slice && depth < DEEPEST {
                    left.push((inside, depth + 1));
                } else if !is_slice && inside != OWN && self.is_populated(&inside) {
                    found.push((unit, inside));
                }
            }
        }
        found
    }

    /// Sends a signal to every process in a cgroup and below it.
    pub fn signal(&self, path: &str, signal: i32) {
        // The kernel kills a whole cgroup at once, forks in flight included.
        if signal == SIGKILL && fs::write(self.folder(path).join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for pid in self.processes(path).into_iter().map(|(_, pid)| pid) {
            if pid != std::process::id() {
                let _ = linux::signal::kill(pid, signal);
            }
        }
    }

    /// Every process in a cgroup and below it, with the cgroup it is in.
    #[must_use]
    pub fn processes(&self, path: &str) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        let mut left = vec![(path.trim_end_matches('/').to_owned(), 0)];
        while let Some((path, depth)) = left.pop() {
            let folder = self.folder(&path);
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| Some((path.clone(), line.parse().ok()?))));
            if depth < DEEPEST {
                left.extend(below(&folder).map(|name| (format!("{path}/{name}"), depth + 1)));
            }
        }
        found
    }

    /// What a cgroup uses.
    #[must_use]
    pub fn resources(&self, path: &str) -> Resources {
        let read = |file: &str| fs::read_to_string(self.folder(path).join(file)).ok();
        let number = |file: &str| read(file)?.trim().parse().ok();
        let usage = read("cpu.stat").and_then(|text| {
            let usec: u64 = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()?;
            usec.checked_mul(1000)
        });
        Resources {
            memory_current: number("memory.current"),
            tasks_current: number("pids.current"),
            cpu_usage_nsec: usage,
        }
    }
}

const SIGKILL: i32 = 9;

/// The processes in a cgroup of this system and below it.
#[must_use]
pub fn processes_in(path: &str) -> Vec<u32> {
    let tree = Tree {
        root: ROOT.into(),
        inotify: None,
        watched: HashMap::new(),
        opened: HashSet::new(),
        guards: Guards::default(),
        found_empty: Vec::new(),
        oom_kills: HashMap::new(),
        disabled: HashMap::new(),
        phase: Phase::default(),
    };
    tree.processes(path).into_iter().map(|(_, pid)| pid).collect()
}

/// The unit that a process belongs to.
#[must_use]
pub fn unit_of(pid: u32) -> Option<UnitName> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    unit_in(text.lines().find_map(|line| line.strip_prefix("0::"))?)
}

/// The unit of a cgroup path: the first part that is one and no slice.
fn unit_in(path: &str) -> Option<UnitName> {
    let mut names = path.split('/').filter_map(|part| UnitName::parse(part).ok());
    names.find(|name| name.unit_type() != UnitType::Slice)
}

fn is_in(path: &str, ancestor: &str) -> bool {
    path.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn below(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

fn remove_folder(folder: &Path, depth: usize) {
    if depth < DEEPEST {
        for name in below(folder) {
            remove_folder(&folder.join(name), depth + 1);
        }
    }
    let _ = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_paths() {
        let unit = |path| unit_in(path).map(|unit| unit.to_string());
        assert_eq!(unit("/system.slice/x.service").as_deref(), Some("x.service"));
        assert_eq!(
            unit("/system.slice/system-a.slice/a@1.service/sub/b.scope").as_deref(),
            Some("a@1.service")
        );
        assert_eq!(unit("/init.scope").as_deref(), Some("init.scope"));
        assert_eq!(unit("/"), None);
        assert_eq!(unit("/user.slice/etwas"), None);
    }

    /// A folder stands for the kernel's: what is written to a file is what the kernel is told last.
    #[test]
    fn controllers_are_kept_off_below() {
        let root = tempfile::tempdir().unwrap();
        let mut tree = Tree::at(root.path());
        let told = |path: &str| fs::read_to_string(root.path().join(path).join("cgroup.subtree_control"));
        for path in ["", "a.slice", "a.slice/a-b.slice"] {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        }
        let unit = |name: &str| UnitName::parse(name).unwrap();
        let off =
            CgroupSettings { disable_controllers: vec!["cpu".into(), "pids".into()], ..Default::default() };
        let plain = CgroupSettings::default();
        tree.ensure(&unit("a.slice"), "/a.slice", &off).unwrap();
        tree.ensure(&unit("x.service"), "/a.slice/a-b.slice/x.service", &plain).unwrap();
        assert_eq!(told("").unwrap(), "+cpu +memory +pids");
        assert_eq!(
            (told("a.slice").unwrap(), told("a.slice/a-b.slice").unwrap()),
            ("+memory".into(), "+memory".into())
        );
        // the slice is set anew, with the controller in use
        tree.ensure(&unit("a.slice"), "/a.slice", &plain).unwrap();
        tree.ensure(&unit("y.service"), "/a.slice/y.service", &plain).unwrap();
        assert_eq!(told("a.slice").unwrap(), "+cpu +memory +pids");
        let late = CgroupSettings { disable_controllers: vec!["memory".into()], ..Default::default() };
        tree.ensure(&unit("a.slice"), "/a.slice", &late).unwrap();
        assert_eq!(told("a.slice").unwrap(), "-memory");
    }

    #[test]
    fn no_path_leads_out_of_the_tree() {
        let tree = Tree::at(Path::new("/t"));
        assert_eq!(tree.folder("/a/../../b/./c"), Path::new("/t/a/b/c"));
        assert!(is_in("/a/b", "/a") && is_in("/a", "/a") && !is_in("/ab", "/a"));
    }
}
