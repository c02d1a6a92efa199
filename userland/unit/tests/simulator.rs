//! A simulator: random units of every kind, random wishes, deaths, connections, clocks, reloads and re-executions, for
//! as many steps as wanted, against what must hold of the engine at every moment.
//!
//! Everything comes of one number. A failure prints it: `UNIT_SIMULATOR_SEED=N cargo test -p unit --test simulator`
//! plays the same again, and with `UNIT_SIMULATOR_TRACE=1` tells what happens. `UNIT_SIMULATOR_STEPS` sets how many steps to take in
//! all (default: a few seconds' worth).

// a test may panic
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use unit::{
    Action, ActiveState, Connection, ConnectionId, Dependency, Device, Event, ExitStatus, JobId, JobMode,
    JobState, Level, Passed, Pid, RequestId, Role, SwapEntry, Target, UnitName, Verb,
};
use world::{Files, Machine, message, render};

/// Steps of one machine; then comes another with other units.
const STEPS: u64 = 400;
const DEFAULT_STEPS: u64 = 2_000;
const FIRST_SEED: u64 = 1;

#[test]
fn whatever_happens_the_invariants_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let steps = number("UNIT_SIMULATOR_STEPS").unwrap_or(DEFAULT_STEPS);
    let (first, machines) = match number("UNIT_SIMULATOR_SEED") {
        Some(seed) => (seed, 1),
        None => (FIRST_SEED, steps.div_ceil(STEPS)),
    };
    for seed in first..first + machines {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed).run());
        assert!(outcome.is_ok(), "play it again with UNIT_SIMULATOR_SEED={seed}");
    }
}

/// What once went wrong: a restart whose job was canceled never came, and who waited for it waited for ever.
#[test]
fn what_was_found_stays_mended() {
    for seed in [18, 91] {
        Simulation::new(seed).run();
    }
}

/// A small generator (splitmix64): the same numbers everywhere and for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

const KINDS: &[&str] = &[
    "Requires",
    "Wants",
    "BindsTo",
    "Requisite",
    "PartOf",
    "Upholds",
    "Conflicts",
    "Before",
    "After",
    "After",
    "OnFailure",
    "OnSuccess",
    "PropagatesStopTo",
    "PropagatesReloadTo",
];
const VERBS: &[Verb] = &[
    Verb::Start,
    Verb::Start,
    Verb::Stop,
    Verb::Restart,
    Verb::TryRestart,
    Verb::Reload,
    Verb::ReloadOrRestart,
    Verb::VerifyActive,
];
const MODES: &[JobMode] = &[
    JobMode::Replace,
    JobMode::Replace,
    JobMode::Fail,
    JobMode::Isolate,
    JobMode::Flush,
    JobMode::ReplaceIrreversibly,
    JobMode::IgnoreRequirements,
];

/// Whether the engine says with this that a run of a unit is over.
fn is_end(message: &str) -> bool {
    ["Deactivated successfully", "Failed with result", "Skipped due to"]
        .iter()
        .any(|end| message.contains(end))
}

fn name(text: &str) -> UnitName {
    UnitName::parse(text).unwrap()
}

/// The names of a simulation's units: some of each kind.
fn names(random: &mut Random) -> Vec<String> {
    let mut names: Vec<String> = (0..3 + random.below(6)).map(|index| format!("s{index}.service")).collect();
    names.extend((0..random.below(3)).map(|index| format!("t{index}.target")));
    for (kind, most) in [("socket", 3), ("timer", 2), ("path", 2)] {
        names.extend((0..random.below(most)).map(|index| format!("s{index}.{kind}")));
    }
    names.extend(["a.socket", "m.mount", "m.automount", "dev-x.device", "dev-x.swap"].map(str::to_owned));
    names
}

fn unit_file(random: &mut Random, unit: &str, names: &[String]) -> String {
    let mut text = String::from("[Unit]\nAllowIsolate=yes\nStartLimitBurst=3\n");
    if random.one_in(6) {
        text.push_str("StopWhenUnneeded=yes\n");
    }
    if random.one_in(8) {
        text.push_str("JobTimeoutSec=30\n");
    }
    for _ in 0..random.below(4) {
        text.push_str(&format!("{}={}\n", random.pick(KINDS), random.pick::<String>(names)));
    }
    match unit.rsplit_once('.').unwrap() {
        (_, "service") => {
            let kind = *random.pick(&["simple", "oneshot", "notify", "exec", "forking"]);
            text.push_str(&format!("[Service]\nType={kind}\n"));
            text.push_str(&format!("Restart={}\n", random.pick(&["no", "on-failure", "on-abnormal"])));
            text.push_str(&format!("RemainAfterExit={}\n", random.pick(&["yes", "no"])));
            text.push_str(&format!("KillMode={}\n", random.pick(&["control-group", "mixed", "process"])));
            text.push_str("FileDescriptorStoreMax=2\nNotifyAccess=all\nTimeoutSec=20\nExecStart=/bin/a\nExecReload=/bin/r\n");
            for (line, chances) in [
                ("ExecStartPre=/bin/b", 4),
                ("ExecStartPost=/bin/c", 4),
                ("ExecCondition=/bin/d", 8),
                ("ExecStop=/bin/e", 3),
                ("ExecStopPost=/bin/f", 3),
                ("WatchdogSec=5", 6),
                ("RuntimeMaxSec=40", 6),
            ] {
                if random.one_in(chances) {
                    text.push_str(&format!("{line}\n"));
                }
            }
        }
        (_, "socket") if unit == "a.socket" => {
            text.push_str(
                "[Socket]\nListenStream=/a\nAccept=yes\nMaxConnections=3\nMaxConnectionsPerSource=2\n",
            );
        }
        (stem, "socket") => {
            text.push_str(&format!("[Socket]\nListenStream=/{stem}\nTimeoutSec=20\n"));
            if random.one_in(3) {
                text.push_str("ExecStartPre=/bin/b\nExecStopPost=/bin/f\n");
            }
        }
        (_, "timer") => text.push_str(random.pick::<&str>(&[
            "[Timer]\nOnActiveSec=3\nOnUnitInactiveSec=7\n",
            "[Timer]\nOnCalendar=*:*:0/10\nPersistent=yes\n",
            "[Timer]\nOnActiveSec=5\nRemainAfterElapse=no\n",
        ])),
        (_, "path") => {
            text.push_str(random.pick::<&str>(&["[Path]\nPathExists=/flag\n", "[Path]\nPathChanged=/flag\n"]))
        }
        (_, "mount") => text.push_str("[Mount]\nWhat=/dev/x\nWhere=/m\nTimeoutSec=20\n"),
        (_, "automount") => text.push_str("[Automount]\nWhere=/m\n"),
        (_, "swap") => text.push_str("[Swap]\nWhat=/dev/x\nTimeoutSec=20\n"),
        _ => {}
    }
    text
}

struct Simulation {
    random: Random,
    /// When the engine is executed anew, which must make no difference.
    again: Random,
    machine: Machine,
    names: Vec<String>,
    open: BTreeMap<UnitName, JobId>,
    asked: BTreeSet<RequestId>,
    answered: BTreeSet<RequestId>,
    /// Socket units whose descriptors are open, and whether they are watched.
    sockets: BTreeMap<UnitName, bool>,
    connections: BTreeMap<ConnectionId, bool>,
    automounts: BTreeSet<UnitName>,
    watched_paths: BTreeSet<UnitName>,
    next_connection: u64,
    /// Units that have had the first process of their run.
    begun: BTreeSet<UnitName>,
    trace: bool,
    /// Units that others started and stopped so often that the engine leaves them as they are: it says so.
    left_alone: BTreeSet<UnitName>,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let mut random = Random(seed);
        let names = names(&mut random);
        let mut files = Files::default();
        for unit in &names {
            if unit != "dev-x.device" && !random.one_in(30) {
                files.0.insert(unit.clone(), unit_file(&mut random, unit, &names));
            }
        }
        files.0.insert("a@.service".into(), unit_file(&mut random, "a@.service", &names));
        let mut machine = Machine::new(files);
        machine.wall = 1_700_000_000_000_000;
        Simulation {
            random,
            again: Random(!seed),
            machine,
            names,
            open: BTreeMap::new(),
            asked: BTreeSet::new(),
            answered: BTreeSet::new(),
            sockets: BTreeMap::new(),
            connections: BTreeMap::new(),
            automounts: BTreeSet::new(),
            watched_paths: BTreeSet::new(),
            next_connection: 0,
            begun: BTreeSet::new(),
            trace: std::env::var_os("UNIT_SIMULATOR_TRACE").is_some(),
            left_alone: BTreeSet::new(),
        }
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            self.step();
            self.check();
            if self.again.one_in(20) {
                self.machine.reexecute();
                self.check();
            }
        }
        self.end();
    }

    fn unit(&mut self) -> UnitName {
        name(self.random.pick::<String>(&self.names))
    }

    fn process(&mut self) -> Option<Pid> {
        let pids: Vec<Pid> = self.machine.system.processes.borrow().keys().copied().collect();
        (!pids.is_empty()).then(|| *self.random.pick(&pids))
    }

    fn status(&mut self) -> ExitStatus {
        match self.random.below(4) {
            0 => ExitStatus::Code(1),
            1 => ExitStatus::Signal { signal: *self.random.pick(&[9, 11, 15]), core: false },
            _ => ExitStatus::Code(0),
        }
    }

    fn step(&mut self) {
        match self.random.below(22) {
            0..=5 => {
                let (verb, unit, mode) = (*self.random.pick(VERBS), self.unit(), *self.random.pick(MODES));
                let id = self.machine.request(verb, &unit, mode);
                if self.trace {
                    eprintln!("{id:?}: {verb:?} {unit} {mode:?}");
                }
                self.asked.insert(id);
            }
            6..=9 => {
                if let Some(pid) = self.process() {
                    let status = self.status();
                    self.machine.exit(pid, status);
                }
            }
            10 => self.tell("READY=1"),
            11 => {
                let text =
                    *self.random.pick(&["RELOADING=1", "STOPPING=1", "WATCHDOG=1", "STATUS=x", "FDSTORE=1"]);
                self.tell(text);
            }
            12..=13 => {
                let time = self.random.next() % 8_000_000;
                self.machine.pass(time);
            }
            14 => {
                let unit = self.unit();
                self.machine.handle(Event::SocketReady { unit });
            }
            15 => {
                self.next_connection += 1;
                let id = ConnectionId(self.next_connection);
                self.connections.insert(id, true);
                let source = self.random.below(3).to_string();
                let instance = format!("{}-{source}", 1000 + self.next_connection);
                let connection = Connection { id, source, instance };
                self.machine.handle(Event::Connected { unit: name("a.socket"), connection });
            }
            16 => {
                if self.random.one_in(2) {
                    self.machine.system.paths.borrow_mut().insert("/flag".into());
                } else {
                    self.machine.system.paths.borrow_mut().remove("/flag");
                }
                for unit in self.watched_paths.clone() {
                    let changed = self.random.one_in(2);
                    self.machine.handle(Event::PathTouched { unit, changed });
                }
            }
            17 => self.kernel(),
            18 => self.machine.broken_spawns += 1,
            19 => {
                let broken = self.random.one_in(2);
                self.machine.broken_sockets = broken.then(|| "Address already in use".into());
            }
            20 => match self.random.below(4) {
                0 => self.machine.handle(Event::Reload),
                1 => self.machine.handle(Event::ResetFailed { unit: None }),
                2 => {
                    let jobs: Vec<JobId> = self.open.values().copied().collect();
                    if !jobs.is_empty() {
                        let job = *self.random.pick(&jobs);
                        self.machine.handle(Event::Cancel { job });
                    }
                }
                _ => {
                    self.machine.wall = 1_700_000_000_000_000 + self.random.next() % 100_000_000;
                    self.machine.handle(Event::ClockChanged);
                }
            },
            _ => {
                let unit = self.unit();
                let cgroup = self.machine.engine.status(&unit).and_then(|status| status.cgroup);
                if let Some(cgroup) = cgroup.filter(|_| unit.unit_type() == unit::UnitType::Service) {
                    self.machine.fork(cgroup);
                }
            }
        }
    }

    fn tell(&mut self, text: &str) {
        let unit = self.unit();
        let main = self.machine.engine.status(&unit).and_then(|status| status.main_pid);
        if let Some(pid) = main {
            let mut message = message(&[text]);
            message.descriptors = u32::from(message.store);
            self.machine.handle(Event::Notified { pid, unit: Some(unit), message });
        }
    }

    /// Mounts, swaps and devices come and go of their own.
    fn kernel(&mut self) {
        let there = self.random.one_in(2);
        match self.random.below(4) {
            0 => {
                self.machine.mounts.clear();
                if there {
                    self.machine.mounts.push(unit::MountEntry {
                        what: "/dev/x".into(),
                        place: "/m".into(),
                        fs_type: "ext4".into(),
                        options: "rw".into(),
                    });
                }
                self.machine.handle(Event::MountsChanged { mounted: self.machine.mounts.clone() });
            }
            1 => {
                let active =
                    if there { vec![SwapEntry { what: "/dev/x".into(), priority: -2 }] } else { Vec::new() };
                self.machine.handle(Event::SwapsChanged { active });
            }
            2 if there => {
                let (sysfs, paths) = ("/sys/x".to_string(), vec!["/dev/x".to_string()]);
                let device = Device { sysfs, paths, description: String::new() };
                self.machine.handle(Event::DevicesPlugged(vec![device]));
            }
            2 => self.machine.handle(Event::DeviceGone { sysfs: "/sys/x".into() }),
            _ => {
                for unit in self.automounts.clone() {
                    self.machine.handle(Event::AutomountWanted { unit, pid: Pid(7) });
                }
            }
        }
    }

    /// Follows the actions in their order, then looks at the engine.
    fn check(&mut self) {
        // what is killed dies, and most of what is asked to
        for _ in 0..100 {
            let seen = std::mem::take(&mut self.machine.seen);
            if seen.is_empty() {
                break;
            }
            let dying = self.follow(&seen);
            for (pid, signal) in dying {
                if self.machine.system.processes.borrow().contains_key(&pid)
                    && (signal == 9 || !self.random.one_in(4))
                {
                    self.machine.exit(pid, ExitStatus::Signal { signal, core: false });
                }
            }
        }
        self.look();
    }

    /// Checks what the engine wants; says which processes got a signal that ends them.
    fn follow(&mut self, actions: &[Action]) -> Vec<(Pid, i32)> {
        let mut dying = Vec::new();
        let mut last_queued = None;
        for action in actions {
            if self.trace {
                eprintln!("{}", render(action).unwrap_or_default());
            }
            match action {
                Action::JobQueued { job, unit, .. } => {
                    last_queued = Some(*job);
                    let had = self.open.insert(unit.clone(), *job);
                    // a job that is over as soon as it is queued is nobody's second one
                    if let Some(had) = had.filter(|had| had != job) {
                        assert!(
                            self.machine.engine.jobs().iter().all(|status| status.id != *job),
                            "{unit} has two jobs"
                        );
                        self.open.insert(unit.clone(), had);
                    }
                }
                Action::JobDone { job, requests, unit, .. } => {
                    if self.open.get(unit) == Some(job) {
                        self.open.remove(unit);
                    } else {
                        assert_eq!(last_queued, Some(*job), "{unit}: an unknown job is done");
                    }
                    for id in requests {
                        assert!(self.answered.insert(*id), "{id:?} was answered twice");
                    }
                }
                Action::Refused { id, .. } => assert!(self.answered.insert(*id), "{id:?} was answered twice"),
                Action::Signal { target: Target::Pid(pid), signal, .. } if matches!(signal, 9 | 15) => {
                    dying.push((*pid, *signal));
                }
                Action::Signal { target: Target::Cgroup(path), signal, .. } if matches!(signal, 9 | 15) => {
                    let processes = self.machine.system.processes.borrow();
                    dying.extend(
                        processes.iter().filter(|(_, at)| *at == path).map(|(pid, _)| (*pid, *signal)),
                    );
                }
                Action::Spawn(spawn) => {
                    for passed in &spawn.passed {
                        if let Passed::Connection(id) = passed {
                            assert_eq!(
                                self.connections.get(id),
                                Some(&true),
                                "a closed connection is handed on"
                            );
                        }
                    }
                    // it waits before its first process; a job that comes while it is at work has nothing to wait for
                    let first = matches!(spawn.role, Role::Condition | Role::StartPre | Role::Start)
                        && self.begun.insert(spawn.unit.clone());
                    if first && self.open.contains_key(&spawn.unit) {
                        let status = self.machine.engine.status(&spawn.unit);
                        let earlier =
                            status.and_then(|status| status.dependencies.get(&Dependency::After).cloned());
                        for earlier in earlier.into_iter().flatten() {
                            assert!(
                                !self.open.contains_key(&earlier),
                                "{} did not wait for {earlier}",
                                spawn.unit
                            );
                        }
                    }
                }
                Action::OpenSockets { unit } if self.machine.broken_sockets.is_none() => {
                    assert!(
                        self.sockets.insert(unit.name.clone(), false).is_none(),
                        "{} opens twice",
                        unit.name
                    );
                }
                Action::WatchSockets { unit, on } => {
                    assert_eq!(
                        self.sockets.insert(unit.clone(), *on),
                        Some(!on),
                        "{unit} is watched in vain"
                    );
                }
                Action::CloseSockets { unit } => {
                    self.sockets.remove(&unit.name);
                }
                Action::CloseConnection { id } => {
                    assert_eq!(self.connections.insert(*id, false), Some(true), "{id:?} is closed twice");
                }
                Action::PlaceAutomount { unit } if self.machine.broken_sockets.is_none() => {
                    assert!(self.automounts.insert(unit.name.clone()), "{} is placed twice", unit.name);
                }
                Action::RemoveAutomount { unit } => {
                    self.automounts.remove(unit);
                }
                Action::WatchPaths { unit } => {
                    assert!(self.watched_paths.insert(unit.name.clone()), "{} is watched twice", unit.name);
                }
                Action::UnwatchPaths { unit } => {
                    assert!(self.watched_paths.remove(unit), "{unit} was not watched");
                }
                Action::Log { level: Level::Critical, message, .. } => panic!("{message}"),
                Action::Log { unit: Some(unit), message, .. } if is_end(message) => {
                    self.begun.remove(unit);
                }
                Action::Log { unit: Some(unit), message, .. } if message.contains("leaving it as it is") => {
                    self.left_alone.insert(unit.clone());
                }
                _ => {}
            }
        }
        dying
    }

    /// What must hold when the engine rests.
    fn look(&mut self) {
        let engine = &self.machine.engine;
        let jobs = engine.jobs();
        let units: BTreeSet<UnitName> = jobs.iter().map(|job| job.unit.clone()).collect();
        assert_eq!(units.len(), jobs.len(), "a unit has two jobs");
        assert_eq!(units, self.open.keys().cloned().collect(), "the engine and what it said differ");
        for unit in engine.units() {
            let status = engine.status(&unit).unwrap();
            for pid in [status.main_pid, status.control_pid].into_iter().flatten() {
                assert_eq!(engine.unit_of(pid), Some(&unit), "{unit}: its process is another's");
                assert!(
                    self.machine.system.processes.borrow().contains_key(&pid),
                    "{unit} has a process that is not there"
                );
                assert!(!status.active.is_down(), "{unit} is down and has a process");
            }
            match unit.unit_type() {
                unit::UnitType::Socket => {
                    let open = self.sockets.get(&unit);
                    let expected = match status.sub {
                        "listening" => Some(&true),
                        "running" | "start-post" | "stop-pre" | "stop-pre-sigterm" | "stop-pre-sigkill" => {
                            Some(&false)
                        }
                        _ => None,
                    };
                    assert_eq!(open, expected, "{unit} is {}", status.sub);
                }
                unit::UnitType::Automount => {
                    let placed = matches!(status.active, ActiveState::Active);
                    assert_eq!(self.automounts.contains(&unit), placed, "{unit} is {}", status.sub);
                }
                unit::UnitType::Path => {
                    let watched = status.active == ActiveState::Active;
                    assert_eq!(self.watched_paths.contains(&unit), watched, "{unit} is {}", status.sub);
                }
                _ => {}
            }
            // what it is bound to and comes after is there, or it is on its way down
            if status.active == ActiveState::Active && status.job.is_none() {
                let of = |kind| status.dependencies.get(&kind).cloned().unwrap_or_default();
                let after = of(Dependency::After);
                for bound in of(Dependency::BindsTo).iter().filter(|other| after.contains(other)) {
                    let there = engine
                        .status(bound)
                        .is_some_and(|other| !other.active.is_down() || other.job.is_some());
                    assert!(there || self.left_alone.contains(&unit), "{unit} is up without {bound}");
                }
            }
        }
        // nothing waits for nothing: a waiting job has somebody before it, or something that will wake it
        let waiting = jobs.iter().filter(|job| job.state == JobState::Waiting).count();
        let running = jobs.len() - waiting;
        let busy = running > 0 || engine.deadline().is_some();
        let moving = engine.units().iter().any(|unit| {
            engine.status(unit).is_some_and(|status| {
                matches!(
                    status.active,
                    ActiveState::Activating | ActiveState::Deactivating | ActiveState::Reloading
                )
            })
        });
        assert!(waiting == 0 || busy || moving, "jobs wait for nothing: {jobs:?}");
    }

    /// The jobs that are left, the states of their units, and what has a job before or after them.
    fn left(&self) -> Vec<String> {
        let engine = &self.machine.engine;
        let tell = |job: unit::JobStatus| {
            let status = engine.status(&job.unit).unwrap();
            let of = |kind| {
                let all = status.dependencies.get(&kind).into_iter().flatten();
                let names: Vec<&str> =
                    all.filter(|name| self.open.contains_key(*name)).map(UnitName::as_str).collect();
                names.join(" ")
            };
            format!(
                "{} {} {:?} {:?}, {} {:?}, after {}; before {}",
                job.id.0,
                job.unit,
                job.kind,
                job.state,
                status.sub,
                (status.main_pid, status.control_pid),
                of(Dependency::After),
                of(Dependency::Before)
            )
        };
        engine.jobs().into_iter().map(tell).collect()
    }

    /// Everything ends in the end: no request is lost, no connection stays open, no job hangs.
    fn end(&mut self) {
        self.machine.broken_spawns = 0;
        self.machine.broken_sockets = None;
        for _ in 0..200 {
            let pids: Vec<Pid> = self.machine.system.processes.borrow().keys().copied().collect();
            for pid in pids {
                if self.machine.system.processes.borrow().contains_key(&pid) {
                    self.machine.exit(pid, ExitStatus::Code(0));
                }
            }
            self.machine.pass(1_000_000);
            self.check();
        }
        let lost: Vec<_> = self.asked.difference(&self.answered).collect();
        assert!(lost.is_empty(), "{lost:?} lost, jobs left: {:#?}", self.left());
        let down =
            |unit: &UnitName| self.machine.engine.status(unit).is_none_or(|status| status.active.is_down());
        let instances: Vec<UnitName> = self.machine.engine.units();
        let all_down = instances.iter().filter(|unit| unit.as_str().starts_with("a@")).all(down);
        let open = self.connections.values().filter(|open| **open).count();
        assert!(!all_down || open == 0, "{open} connections of nobody are open");
    }
}
