//! A simulator: random units of every kind, random wishes, deaths, connections, clocks, reloads and re-executions, for
//! as many steps as wanted, against what must hold of the engine at every moment.
//!
//! Everything comes of one number. A failure prints it: `UNIT_SIMULATOR_SEED=N cargo test -p unit --test simulator`
//! plays the same again, and with `UNIT_SIMULATOR_TRACE=1` tells what happens. `UNIT_SIMULATOR_STEPS` sets how many steps to take in
//! all, from that seed on if one is given (default: a few seconds' worth).

// a test may panic
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "simulator/rules.rs"]
mod rules;
#[path = "simulator/units.rs"]
mod units;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use unit::{
    Connection, ConnectionId, Dependency, Device, Event, ExitStatus, JobId, JobMode, JobStatus, MountEntry,
    Pid, RequestId, Role, SwapEntry, UnitName, Verb,
};
use units::{Random, names, unit_file};
use world::{Files, Machine, message};

/// Steps of one machine; then comes another with other units.
const STEPS: u64 = 400;
const DEFAULT_STEPS: u64 = 2_000;
const FIRST_SEED: u64 = 1;

#[test]
fn whatever_happens_the_invariants_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("UNIT_SIMULATOR_SEED");
    let steps = number("UNIT_SIMULATOR_STEPS").unwrap_or(if seed.is_some() { 1 } else { DEFAULT_STEPS });
    let (first, machines) = (seed.unwrap_or(FIRST_SEED), steps.div_ceil(STEPS));
    for seed in first..first + machines {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed).run());
        assert!(outcome.is_ok(), "play it again with UNIT_SIMULATOR_SEED={seed}");
    }
}

/// What once went wrong: a restart whose job was canceled never came, and who waited for it waited for ever; an
/// automount that was stopped and started while it was being placed lost its autofs; a unit whose job was replaced was
/// stopped for want of what it is bound to before it had its new job, and then had two.
#[test]
fn what_was_found_stays_mended() {
    for seed in [18, 91, 1388, 2186] {
        Simulation::new(seed).run();
    }
}

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

fn name(text: &str) -> UnitName {
    UnitName::parse(text).unwrap()
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
    /// Units that the engine leaves as they are: it says so.
    left_alone: BTreeSet<UnitName>,
    /// The jobs when the engine last rested.
    jobs: BTreeMap<UnitName, JobStatus>,
    /// mount, umount, swapon and swapoff have done what they say. Else their success comes to nothing, and what
    /// happens to the tables is not of their doing.
    tools_work: bool,
}

impl Simulation {
    fn new(seed: u64) -> Simulation {
        let trace = std::env::var_os("UNIT_SIMULATOR_TRACE").is_some();
        let mut random = Random(seed);
        let names = names(&mut random);
        let mut files = Files::default();
        for unit in &names {
            if unit != "dev-x.device" && !random.one_in(30) {
                let text = unit_file(&mut random, unit, &names);
                if trace {
                    println!("--- {unit}\n{text}");
                }
                files.0.insert(unit.clone(), text);
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
            trace,
            left_alone: BTreeSet::new(),
            jobs: BTreeMap::new(),
            tools_work: seed % 4 < 2,
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
                    self.exit(pid, status);
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

    /// A process ends; the tables are as its success has made them before the engine hears of its end.
    fn exit(&mut self, pid: Pid, status: ExitStatus) {
        let role = self.machine.system.tasks.borrow().get(&pid).copied();
        if let Some(role) = role.filter(|_| self.tools_work && status == ExitStatus::Code(0)) {
            match role {
                Role::Mount | Role::Unmount => self.mount(role == Role::Mount),
                Role::Activate | Role::Deactivate => self.swap(role == Role::Activate),
                _ => {}
            }
        }
        self.machine.exit(pid, status);
    }

    fn mount(&mut self, there: bool) {
        self.machine.mounts.clear();
        if there {
            self.machine.mounts.push(MountEntry {
                what: "/dev/x".into(),
                place: "/m".into(),
                fs_type: "ext4".into(),
                options: "rw".into(),
            });
        }
        self.machine.handle(Event::MountsChanged { mounted: self.machine.mounts.clone() });
    }

    fn swap(&mut self, there: bool) {
        let active = if there { vec![SwapEntry { what: "/dev/x".into(), priority: -2 }] } else { Vec::new() };
        self.machine.handle(Event::SwapsChanged { active });
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
            0 => self.mount(there),
            1 => self.swap(there),
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
                    self.exit(pid, ExitStatus::Signal { signal, core: false });
                }
            }
        }
        self.look();
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

    /// Everything ends in the end: no request is lost, no connection stays open, no job hangs. What cannot be stopped
    /// is tried again and again, and holds up others, as in systemd: so everything can be. Nor does a service that is
    /// upheld, and never says that it is ready, let those begin that come after it: so each says it.
    fn end(&mut self) {
        self.tools_work = true;
        self.machine.broken_spawns = 0;
        self.machine.broken_sockets = None;
        for _ in 0..200 {
            let pids: Vec<Pid> = self.machine.system.processes.borrow().keys().copied().collect();
            for pid in pids {
                if self.machine.system.processes.borrow().contains_key(&pid) {
                    let unit = self.machine.engine.unit_of(pid).cloned();
                    let message = message(&["READY=1"]);
                    self.machine.handle(Event::Notified { pid, unit, message });
                    self.exit(pid, ExitStatus::Code(0));
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
