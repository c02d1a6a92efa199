//! A pretended machine for the engine: unit files in a map, processes that live until told otherwise.

// each test takes what it needs of it
#![allow(dead_code, missing_docs, clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use unit::{
    Action, Announcement, Catalog, Engine, Event, ExitStatus, Host, JobId, JobMode, Level, MountEntry,
    Notify, Pid, Probe, RequestId, Role, Sources, SpawnToken, SwapEntry, Target, Text, UnitFileState,
    UnitName, Usec, Verb, World,
};

/// Targets that every default dependency names.
const STANDARD: &[&str] = &[
    "sysinit.target",
    "basic.target",
    "shutdown.target",
    "umount.target",
    "local-fs.target",
    "local-fs-pre.target",
    "sockets.target",
    "timers.target",
    "paths.target",
    "swap.target",
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
    /// What those that units asked for are there for.
    pub tasks: RefCell<BTreeMap<Pid, Role>>,
    /// Paths that exist.
    pub paths: RefCell<BTreeSet<String>>,
    /// Environment files.
    pub files: RefCell<BTreeMap<String, String>>,
    /// PID files.
    pub pid_files: RefCell<BTreeMap<String, Pid>>,
    /// Times of modification.
    pub stamps: RefCell<BTreeMap<String, Usec>>,
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

    fn is_directory_not_empty(&self, path: &str) -> bool {
        self.paths.borrow().iter().any(|inside| inside.starts_with(&format!("{path}/")))
    }

    fn modified(&self, path: &str) -> Option<Usec> {
        self.stamps.borrow().get(path).copied()
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
    pub host: Host,
    pub files: Files,
    pub system: System,
    pub now: Usec,
    /// CLOCK_REALTIME when `now` was zero.
    pub wall: Usec,
    /// Why the next sockets and automounts cannot be made.
    pub broken_sockets: Option<String>,
    pub swaps: Vec<SwapEntry>,
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
            engine: Engine::new(host.clone()),
            host,
            files,
            system: System::default(),
            now: 1_000_000,
            wall: 0,
            broken_sockets: None,
            swaps: Vec::new(),
            mounts: Vec::new(),
            broken_spawns: 0,
            seen: Vec::new(),
            next_pid: 100,
            next_request: 0,
        }
    }

    /// Another engine goes on with the state of this one, as it is written and read.
    pub fn reexecute(&mut self) {
        let text = serde_json::to_string(&self.engine.save()).unwrap();
        let mut other = Engine::new(self.host.clone());
        let world = World {
            now: self.now,
            realtime: self.wall + self.now,
            catalog: &self.files,
            probe: &self.system,
        };
        let lost = other.restore(serde_json::from_str(&text).unwrap(), &world);
        assert_eq!(lost, Vec::<String>::new());
        assert_eq!(serde_json::to_string(&other.save()).unwrap(), text);
        self.engine = other;
    }

    /// Hands an event in and carries out what comes back, until nothing comes back. All actions are kept in `seen`.
    pub fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let world = World {
                now: self.now,
                realtime: self.wall + self.now,
                catalog: &self.files,
                probe: &self.system,
            };
            let actions = self.engine.handle(event, &world);
            for action in &actions {
                self.carry_out(action, &mut events);
                if let Action::Spawn(spawn) = action {
                    let outcome = if self.broken_spawns > 0 {
                        self.broken_spawns -= 1;
                        Err("Resource temporarily unavailable".to_string())
                    } else {
                        let pid = self.fork(spawn.cgroup.clone());
                        self.system.tasks.borrow_mut().insert(pid, spawn.role);
                        Ok(pid)
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

    fn carry_out(&mut self, action: &Action, events: &mut VecDeque<Event>) {
        let outcome = || self.broken_sockets.clone().map_or(Ok(()), Err);
        match action {
            Action::OpenSockets { unit } => {
                events.push_back(Event::SocketsOpened { unit: unit.name.clone(), outcome: outcome() });
            }
            Action::PlaceAutomount { unit } => {
                events.push_back(Event::AutomountPlaced { unit: unit.name.clone(), outcome: outcome() });
            }
            Action::Touch { path, at, .. } => {
                let at = at.unwrap_or(self.wall + self.now);
                self.system.stamps.borrow_mut().insert(path.clone(), at);
            }
            Action::Adopt { pids, cgroup, .. } => {
                for pid in pids {
                    self.system.processes.borrow_mut().insert(*pid, cgroup.clone());
                }
            }
            Action::WatchPaths { unit } => {
                events.push_back(Event::PathTouched { unit: unit.name.clone(), changed: false });
            }
            _ => {}
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
        self.system.tasks.borrow_mut().remove(&pid);
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
        let mut rounds = 0;
        while let Some(at) = self.engine.deadline().filter(|at| *at <= until) {
            rounds = if at > self.now { 0 } else { rounds + 1 };
            assert!(
                rounds < 1000,
                "time stands still: {:?}",
                self.seen.iter().rev().take(9).collect::<Vec<_>>()
            );
            self.now = self.now.max(at);
            self.handle(Event::Elapsed);
        }
        self.now = until;
    }
}

/// One line of a transcript; `None` for what transcripts leave out.
pub fn render(action: &Action) -> Option<String> {
    Some(match action {
        Action::Spawn(spawn) => {
            let passed: Vec<String> = spawn.passed.iter().map(|passed| format!(" with {passed:?}")).collect();
            format!("spawn {} {:?}: {}{}", spawn.unit, spawn.role, spawn.argv.join(" "), passed.concat())
        }
        Action::OpenSockets { unit } => {
            let listen = unit.socket().map(|socket| &socket.listen[..]).unwrap_or_default();
            let all: Vec<String> = listen.iter().map(|l| format!(" {} {}", l.kind(), l.place())).collect();
            format!("open {}{}", unit.name, all.concat())
        }
        Action::WatchSockets { unit, on } => format!("{} {unit}", if *on { "watch" } else { "unwatch" }),
        Action::FlushSockets { unit } => format!("flush {unit}"),
        Action::CloseSockets { unit } => format!("close {}", unit.name),
        Action::CloseConnection { id } => format!("hang up {}", id.0),
        Action::Store { unit, name, most } => {
            format!("store {unit} {} of {most}", name.as_deref().unwrap_or("stored"))
        }
        Action::DropStore { unit, name } => {
            format!("drop the store of {unit} {}", name.as_deref().unwrap_or_default())
        }
        Action::Touch { path, at, .. } => format!("touch {path} {}", at.map_or("now".into(), time)),
        Action::MakePaths { unit } => format!("make the paths of {}", unit.name),
        Action::WatchPaths { unit } => format!("watch the paths of {}", unit.name),
        Action::UnwatchPaths { unit } => format!("unwatch the paths of {unit}"),
        Action::PlaceAutomount { unit } => format!("place {}", unit.name),
        Action::AnswerAutomount { unit, mounted } => {
            format!("answer {unit} {}", if *mounted { "mounted" } else { "failed" })
        }
        Action::RemoveAutomount { unit } => format!("take away {unit}"),
        Action::ExpireAutomount { unit } => format!("expire {unit}"),
        Action::Adopt { unit, pids, cgroup, .. } => {
            let pids: Vec<String> = pids.iter().map(|pid| pid.0.to_string()).collect();
            format!("adopt {unit} {} into {cgroup}", pids.join(" "))
        }
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
        Action::RebootArgument(argument) => format!("the firmware gets {argument}"),
        _ => return None,
    })
}

/// A moment of the wall clock, readable.
pub fn time(at: Usec) -> String {
    let at = jiff::Timestamp::from_microsecond(i64::try_from(at).unwrap_or_default());
    at.map(|at| at.to_string()).unwrap_or_default()
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
