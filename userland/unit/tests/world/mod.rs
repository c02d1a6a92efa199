//! A pretended machine for the engine: unit files in a map, processes that live until told otherwise.

// each test takes what it needs of it
#![allow(dead_code, missing_docs)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use unit::{
    Action, Announcement, Catalog, Engine, Event, ExitStatus, Host, JobId, JobMode, Level, MountEntry,
    Notify, Pid, Probe, RequestId, Sources, SpawnToken, Target, Text, UnitFileState, UnitName, Usec, Verb,
    World,
};

/// Targets that every default dependency names.
const STANDARD: &[&str] = &[
    "sysinit.target",
    "basic.target",
    "shutdown.target",
    "umount.target",
    "local-fs.target",
    "local-fs-pre.target",
];

/// The unit files.
#[derive(Default)]
pub struct Files(pub BTreeMap<String, String>);

impl Catalog for Files {
    fn find(&self, name: &UnitName) -> Result<Sources, String> {
        let file = |name: &str| {
            self.0
                .get(name)
                .map(|text| Text { path: format!("/etc/systemd/system/{name}"), text: text.clone() })
        };
        let mut sources = Sources::default();
        let template = name.template();
        let fragment = file(name.as_str()).or_else(|| file(template.as_ref()?.as_str()));
        if let Some(target) =
            fragment.as_ref().and_then(|text| text.text.trim().strip_prefix("-> ").map(str::to_string))
        {
            match target.as_str() {
                "/dev/null" => sources.masked = true,
                other => sources.alias_of = UnitName::parse(other).ok(),
            }
            return Ok(sources);
        }
        sources.fragment = fragment;
        for stem in name.drop_in_stems().into_iter().chain([name.unit_type().as_str().to_string()]) {
            let directory = format!("{stem}.d");
            let inside =
                self.0.range(format!("{directory}/")..).take_while(|(path, _)| path.starts_with(&directory));
            sources
                .drop_ins
                .extend(inside.map(|(path, text)| Text { path: path.clone(), text: text.clone() }));
        }
        for (suffix, list) in [("wants", &mut sources.wants), ("requires", &mut sources.requires)] {
            let prefix = format!("{name}.{suffix}/");
            let names = self.0.keys().filter_map(|path| UnitName::parse(path.strip_prefix(&prefix)?).ok());
            list.extend(names);
        }
        if sources.fragment.is_none() && STANDARD.contains(&name.as_str()) {
            sources.fragment =
                Some(Text { path: format!("/usr/lib/systemd/system/{name}"), text: standard(name) });
        }
        Ok(sources)
    }

    fn list(&self) -> Vec<(UnitName, UnitFileState)> {
        let names = self.0.keys().filter_map(|name| UnitName::parse(name).ok());
        names.map(|name| (name, UnitFileState::Static)).collect()
    }
}

fn standard(name: &UnitName) -> String {
    if name.as_str() == "basic.target" {
        "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n".into()
    } else {
        "[Unit]\nDefaultDependencies=no\n".into()
    }
}

/// What the probe sees.
#[derive(Default)]
pub struct System {
    /// Live processes and their cgroups.
    pub processes: RefCell<BTreeMap<Pid, String>>,
    /// Paths that exist.
    pub paths: RefCell<BTreeSet<String>>,
    /// Environment files.
    pub files: RefCell<BTreeMap<String, String>>,
    /// PID files.
    pub pid_files: RefCell<BTreeMap<String, Pid>>,
}

impl Probe for System {
    fn path_exists(&self, path: &str) -> bool {
        self.paths.borrow().contains(path)
    }

    fn environment_files(&self, pattern: &str) -> Result<Vec<String>, String> {
        self.files
            .borrow()
            .get(pattern)
            .map(|text| vec![text.clone()])
            .ok_or_else(|| "No such file or directory".into())
    }

    fn pid_file(&self, path: &str) -> Option<Pid> {
        self.pid_files.borrow().get(path).copied()
    }

    fn is_alive(&self, pid: Pid) -> bool {
        self.processes.borrow().contains_key(&pid)
    }

    fn processes(&self, cgroup: &str) -> Vec<Pid> {
        self.processes.borrow().iter().filter(|(_, at)| *at == cgroup).map(|(pid, _)| *pid).collect()
    }
}

/// The engine with its pretended machine.
pub struct Machine {
    pub engine: Engine,
    pub files: Files,
    pub system: System,
    pub now: Usec,
    pub mounts: Vec<MountEntry>,
    /// The next processes that cannot be made.
    pub broken_spawns: usize,
    pub seen: Vec<Action>,
    next_pid: u32,
    next_request: u64,
}

impl Machine {
    pub fn new(files: Files) -> Machine {
        let host = Host {
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            hostname: "corten".into(),
            ..Host::default()
        };
        Machine {
            engine: Engine::new(host),
            files,
            system: System::default(),
            now: 1_000_000,
            mounts: Vec::new(),
            broken_spawns: 0,
            seen: Vec::new(),
            next_pid: 100,
            next_request: 0,
        }
    }

    /// Hands an event in and carries out what comes back, until nothing comes back. All actions are kept in `seen`.
    pub fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let world =
                World { now: self.now, realtime: self.now, catalog: &self.files, probe: &self.system };
            let actions = self.engine.handle(event, &world);
            for action in &actions {
                if let Action::Spawn(spawn) = action {
                    let outcome = if self.broken_spawns > 0 {
                        self.broken_spawns -= 1;
                        Err("Resource temporarily unavailable".to_string())
                    } else {
                        Ok(self.fork(spawn.cgroup.clone()))
                    };
                    events.push_back(Event::Spawned {
                        unit: spawn.unit.clone(),
                        token: spawn.token,
                        outcome,
                    });
                }
            }
            self.seen.extend(actions);
        }
    }

    pub fn request(&mut self, verb: Verb, unit: &UnitName, mode: JobMode) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.handle(Event::Request { id, verb, unit: unit.clone(), mode });
        id
    }

    pub fn fork(&mut self, cgroup: String) -> Pid {
        self.next_pid += 1;
        let pid = Pid(self.next_pid);
        self.system.processes.borrow_mut().insert(pid, cgroup);
        pid
    }

    pub fn exit(&mut self, pid: Pid, status: ExitStatus) {
        let cgroup = self.system.processes.borrow_mut().remove(&pid);
        self.handle(Event::Exited { pid, status });
        let Some(cgroup) = cgroup else { return };
        let name = cgroup.rsplit('/').next().and_then(|name| UnitName::parse(name).ok());
        let empty = !self.system.processes.borrow().values().any(|at| *at == cgroup);
        if let Some(unit) = name.filter(|_| empty) {
            self.handle(Event::CgroupEmpty { unit });
        }
    }

    pub fn pass(&mut self, time: Usec) {
        let until = self.now + time;
        while let Some(at) = self.engine.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.handle(Event::Elapsed);
        }
        self.now = until;
    }
}

/// One line of a transcript; `None` for what transcripts leave out.
pub fn render(action: &Action) -> Option<String> {
    Some(match action {
        Action::Spawn(spawn) => format!("spawn {} {:?}: {}", spawn.unit, spawn.role, spawn.argv.join(" ")),
        Action::Signal { unit, target: Target::Pid(Pid(pid)), signal } => {
            format!("signal {unit} {pid} {signal}")
        }
        Action::Signal { unit, target: Target::Cgroup(_), signal } => format!("signal {unit} all {signal}"),
        Action::JobQueued { job: JobId(job), request, unit } => {
            format!("queued {job} {unit}{}", if request.is_some() { " (asked)" } else { "" })
        }
        Action::JobDone { job: JobId(job), unit, result, requests } => {
            format!(
                "done {job} {unit} {}{}",
                result.as_str(),
                if requests.is_empty() { "" } else { " (asked)" }
            )
        }
        Action::Refused { error, .. } => format!("refused {error}"),
        Action::Announce { kind, message, .. } => match kind {
            Announcement::Begins => format!("         {message}"),
            Announcement::Ok => format!("[  OK  ] {message}"),
            Announcement::Failed => format!("[FAILED] {message}"),
            Announcement::Depend => format!("[DEPEND] {message}"),
            Announcement::Time => format!("[ TIME ] {message}"),
            Announcement::Skip => format!("[ SKIP ] {message}"),
        },
        Action::Log { level, message, .. } if *level <= Level::Info => format!("log {message}"),
        Action::RemoveDirectories { paths, .. } => format!("remove {}", paths.join(" ")),
        Action::Shutdown(how) => format!("shutdown {how:?}"),
        _ => return None,
    })
}

/// For tests that need tokens.
pub fn last_token(actions: &[Action]) -> Option<(UnitName, SpawnToken)> {
    actions.iter().rev().find_map(|action| match action {
        Action::Spawn(spawn) => Some((spawn.unit.clone(), spawn.token)),
        _ => None,
    })
}

/// A message of words: `READY=1 STATUS=x`.
pub fn message(words: &[&str]) -> Notify {
    Notify::parse(words.join("\n").as_bytes())
}
