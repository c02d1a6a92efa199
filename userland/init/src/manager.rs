//! The owner of all state of PID 1: the engine, the cgroup tree, the unit directories, the children on their way.
//!
//! Whoever wants something calls a method; each runs the engine at once and carries its actions out (`act`). What came
//! of it is kept as [`News`] until the event loop hands it to the face.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use unit::settings::Phase;
use unit::{
    Engine, Event, Host, JobId, JobMode, KillWhom, Pid, RequestId, Shutdown, SpawnToken, UnitName, Usec,
    Verb, World,
};

use crate::automounts::Automounts;
use crate::catalog::{Change, ChangeError, Changes, Directories};
use crate::cgroup::{Resources, Tree};
use crate::configuration::{self, Configuration};
use crate::exec::Report;
use crate::face::News;
use crate::log::{self, Level};
use crate::paths::Paths;
use crate::probe::System;
use crate::sockets::Sockets;

/// More news than this are dropped, the oldest first: a face that does not listen costs no more memory.
const MOST_NEWS: usize = 65_536;

/// The manager.
pub struct Manager {
    pub(crate) engine: Engine,
    pub(crate) tree: Tree,
    pub(crate) catalog: Directories,
    pub(crate) probe: System,
    pub(crate) sockets: Sockets,
    pub(crate) paths: Paths,
    pub(crate) automounts: Automounts,
    /// What came along with the notification that is being handled.
    pub(crate) handed: Vec<OwnedFd>,
    pub(crate) news: Vec<News>,
    pub(crate) events: VecDeque<Event>,
    /// Children that have not said yet how their way to the program went, by process.
    pub(crate) starting: BTreeMap<Pid, Starting>,
    /// Watches `starting` for the event loop.
    pub(crate) epoll: Option<rustix::fd::OwnedFd>,
    pub(crate) shutdown: Option<Shutdown>,
    pub(crate) reexecute: bool,
    /// Something has happened since the state was last written down.
    pub(crate) has_moved: bool,
    pub(crate) show_status: bool,
    pub(crate) host: Host,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) last_request: u64,
    pub(crate) times: Times,
    /// Who on the bus keeps which unit in memory.
    pub(crate) holders: crate::transient::Holders,
    /// Streams that clients have handed over for transient units.
    pub(crate) streams: BTreeMap<UnitName, Vec<rustix::fd::OwnedFd>>,
    pub(crate) configuration: Configuration,
}

/// A child on its way to its program.
pub(crate) struct Starting {
    pub(crate) unit: UnitName,
    pub(crate) token: SpawnToken,
    pub(crate) report: Report,
}

/// When what happened, in µs: realtime and monotonic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// The kernel began.
    pub kernel: (Usec, Usec),
    /// PID 1 began.
    pub userspace: (Usec, Usec),
    /// The first unit files were loaded.
    pub units_load: (Usec, Usec),
    /// The default target was reached; zero before.
    pub finish: (Usec, Usec),
}

/// A process of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its cgroup: `/system.slice/x.service`.
    pub cgroup: String,
    /// Its id.
    pub pid: u32,
    /// Its command line, or its name in brackets.
    pub command: String,
}

/// CLOCK_REALTIME and CLOCK_MONOTONIC, in µs.
#[must_use]
pub fn now() -> (Usec, Usec) {
    let usec = |clock| {
        let time = clock_gettime(clock);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1000
    };
    (usec(ClockId::Realtime), usec(ClockId::Monotonic))
}

impl Manager {
    /// A manager of an empty engine.
    #[must_use]
    pub fn new(host: Host, tree: Tree, catalog: Directories, probe: System) -> Manager {
        let (realtime, monotonic) = now();
        let kernel = (realtime.saturating_sub(monotonic), 0);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).ok();
        Manager {
            engine: Engine::new(host.clone()),
            tree,
            catalog,
            probe,
            sockets: Sockets::new(),
            paths: Paths::new(),
            automounts: Automounts::new(),
            handed: Vec::new(),
            news: Vec::new(),
            events: VecDeque::new(),
            starting: BTreeMap::new(),
            epoll,
            shutdown: None,
            reexecute: false,
            has_moved: true,
            show_status: true,
            environment: host.environment.iter().cloned().collect(),
            host,
            last_request: 0,
            holders: crate::transient::Holders::new(),
            streams: BTreeMap::new(),
            configuration: Configuration::default(),
            times: Times { kernel, userspace: (realtime, monotonic), ..Times::default() },
        }
    }

    /// The engine, to read from.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What does not change while the system runs.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Hands an event to the engine and carries out what it answers, and what comes of that, until all is quiet.
    pub fn handle(&mut self, event: Event) {
        self.catalog.look_again();
        self.has_moved = true;
        self.events.push_back(event);
        while let Some(event) = self.events.pop_front() {
            let (realtime, now) = now();
            let world = World { now, realtime, catalog: &self.catalog, probe: &self.probe };
            let actions = self.engine.handle(event, &world);
            for action in actions {
                self.carry_out(action);
            }
        }
    }

    /// Asks for a job. The answer is news: `Queued` or `Refused`, and later `Done`.
    pub fn submit(&mut self, verb: Verb, unit: UnitName, mode: JobMode) -> RequestId {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.handle(Event::Request { id, verb, unit, mode });
        id
    }

    /// Cancels a queued job; false: there is none of this number.
    pub fn cancel(&mut self, job: JobId) -> bool {
        let there = self.engine.jobs().iter().any(|status| status.id == job);
        self.handle(Event::Cancel { job });
        there
    }

    /// Sends a signal to processes of a unit.
    pub fn kill(&mut self, unit: UnitName, whom: KillWhom, signal: i32) {
        self.handle(Event::Kill { unit, whom, signal });
    }

    /// Forgets that a unit, or that all units, failed.
    pub fn reset_failed(&mut self, unit: Option<UnitName>) {
        self.handle(Event::ResetFailed { unit });
    }

    /// Brings a unit into memory, a missing one too: the engine's `status` answers afterwards.
    pub fn load(&mut self, unit: &UnitName) {
        if self.engine.status(unit).is_none() {
            self.handle(Event::Load { unit: unit.clone() });
        }
    }

    /// daemon-reload: reads all unit files anew, keeps all state.
    pub fn reload(&mut self) {
        self.tell(News::Reloading(true));
        self.configure(configuration::read(Path::new("/")));
        crate::generators::run(&self.configuration.manager_environment);
        self.catalog.forget();
        self.handle(Event::Reload);
        self.tell(News::Reloading(false));
    }

    /// daemon-reexec: PID 1 executes itself anew after this event, and goes on with all state.
    pub fn reexecute(&mut self) {
        self.reexecute = true;
    }

    /// A process was killed: perhaps for want of memory, and its unit hears of that first.
    pub(crate) fn look_for_oom_kill(&mut self, pid: Pid) {
        let Some(unit) = self.engine.unit_of(pid).cloned() else { return };
        let cgroup = self.engine.status(&unit).and_then(|status| status.cgroup);
        if cgroup.is_some_and(|cgroup| self.tree.has_oom_kills(&cgroup)) {
            self.handle(Event::OomKilled { unit });
        }
    }

    /// Goes down after this event without stopping units first.
    pub fn power(&mut self, how: Shutdown) {
        self.shutdown = Some(how);
    }

    /// The unit that a process belongs to, by its cgroup.
    #[must_use]
    pub fn unit_of(&self, pid: u32) -> Option<UnitName> {
        crate::cgroup::unit_of(pid)
    }

    /// A unit's cgroup, if it is there.
    #[must_use]
    pub fn cgroup_of(&self, unit: &UnitName) -> Option<String> {
        self.engine.status(unit)?.cgroup.filter(|path| self.tree.exists(path))
    }

    /// The processes of a unit and of what is below its cgroup.
    #[must_use]
    pub fn processes(&self, unit: &UnitName) -> Vec<Process> {
        let Some(path) = self.cgroup_of(unit) else { return Vec::new() };
        let process = |(cgroup, pid): (String, u32)| Process { command: command_of(pid), cgroup, pid };
        self.tree.processes(&path).into_iter().map(process).collect()
    }

    /// What a unit uses.
    #[must_use]
    pub fn resources(&self, unit: &UnitName) -> Resources {
        self.cgroup_of(unit).map(|path| self.tree.resources(&path)).unwrap_or_default()
    }

    /// The unit directories.
    #[must_use]
    pub fn catalog(&self) -> &Directories {
        &self.catalog
    }

    /// Changes links in the unit directories; takes effect with [`Manager::reload`].
    ///
    /// # Errors
    /// As [`ChangeError`] says.
    pub fn change_unit_files(&mut self, change: &Change) -> Result<Changes, ChangeError> {
        let result = self.catalog.change(change);
        self.tell(News::UnitFilesChanged);
        result
    }

    /// The variables that services inherit, as `NAME=value`.
    #[must_use]
    pub fn environment(&self) -> Vec<String> {
        self.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Removes variables (names or whole assignments), then sets some (`NAME=value`).
    pub fn change_environment(&mut self, unset: &[String], set: &[String]) {
        for item in unset {
            match item.split_once('=') {
                Some((name, value)) if self.environment.get(name).is_some_and(|have| have == value) => {
                    self.environment.remove(name);
                }
                Some(_) => {}
                None => {
                    self.environment.remove(item);
                }
            }
        }
        let pairs = set.iter().filter_map(|item| item.split_once('='));
        self.environment.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        self.share_environment();
    }

    /// Hands the variables to the engine, which gives them to services.
    pub(crate) fn share_environment(&mut self) {
        self.engine.set_environment(self.environment.clone().into_iter().collect());
    }

    /// When what happened.
    #[must_use]
    pub fn times(&self) -> &Times {
        &self.times
    }

    pub(crate) fn units_loaded(&mut self) {
        self.times.units_load = now();
    }

    pub(crate) fn finished(&mut self) {
        if self.times.finish == (0, 0) {
            self.times.finish = now();
            self.enter(Phase::Regular);
            let seconds = |usec: Usec| format!("{}.{:03}s", usec / 1_000_000, usec / 1000 % 1000);
            let (kernel, all) = (self.times.userspace.1, self.times.finish.1);
            let text = format!(
                "Startup finished in {} (kernel) + {} (userspace) = {}.",
                seconds(kernel),
                seconds(all.saturating_sub(kernel)),
                seconds(all)
            );
            log::say(Level::Info, None, &text);
            self.tell(News::StartupFinished { kernel, all });
        }
    }

    pub(crate) fn tell(&mut self, news: News) {
        if self.news.len() >= MOST_NEWS {
            self.news.remove(0);
        }
        self.news.push(news);
    }
}

/// The longest command line shown, in bytes.
const LONGEST_COMMAND: usize = 4096;

fn command_of(pid: u32) -> String {
    let mut bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.truncate(LONGEST_COMMAND);
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        return format!("[{}]", name.trim());
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
