//! Random units, random requests, random ends of processes: what must hold of the engine in every case.

// a test may panic
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use unit::{Action, Dependency, Event, ExitStatus, JobId, JobMode, Pid, RequestId, Role, UnitName, Verb};
use world::{Files, Machine, message};

const UNITS: usize = 6;
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
    "OnFailure",
    "OnSuccess",
    "PropagatesStopTo",
    "PropagatesReloadTo",
];
const TYPES: &[&str] = &["simple", "oneshot", "notify"];
const RESTARTS: &[&str] = &["no", "on-failure", "on-abnormal"];
const VERBS: &[Verb] = &[
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
    JobMode::Fail,
    JobMode::Isolate,
    JobMode::Flush,
    JobMode::ReplaceIrreversibly,
    JobMode::IgnoreRequirements,
];

fn name(index: usize) -> UnitName {
    UnitName::parse(&format!("u{}.service", index % UNITS)).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Request(usize, usize, usize),
    /// A process of the many ends so.
    Exit(usize, i32),
    Ready(usize),
    Pass(u64),
    BreakSpawn,
    Reload,
    ResetFailed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..VERBS.len(), 0..UNITS, 0..MODES.len()).prop_map(|(verb, unit, mode)| Step::Request(verb, unit, mode)),
        4 => (any::<usize>(), prop_oneof![Just(0), Just(1), Just(-9)]).prop_map(|(which, how)| Step::Exit(which, how)),
        2 => (0..UNITS).prop_map(Step::Ready),
        2 => (1u64..200_000_000).prop_map(Step::Pass),
        1 => Just(Step::BreakSpawn),
        1 => Just(Step::Reload),
        1 => Just(Step::ResetFailed),
    ]
}

fn files(edges: &[(usize, usize, usize)], settings: &[(usize, usize, bool, bool)]) -> Files {
    let mut files = Files::default();
    for (index, (kind, restart, remain, stops)) in settings.iter().enumerate() {
        let mut unit = String::from("[Unit]\nAllowIsolate=yes\nStartLimitBurst=3\n");
        for (from, kind, to) in edges.iter().filter(|(from, ..)| from % UNITS == index) {
            unit.push_str(&format!("{}={}\n", KINDS[kind % KINDS.len()], name(*to)));
            let _ = from;
        }
        unit.push_str(&format!("[Service]\nType={}\nRestart={}\n", TYPES[*kind], RESTARTS[*restart]));
        unit.push_str(&format!("RemainAfterExit={remain}\nExecStart=/bin/a\nExecReload=/bin/r\n"));
        if *stops {
            unit.push_str("ExecStop=/bin/s\nExecStopPost=/bin/p\n");
        }
        files.0.insert(name(index).to_string(), unit);
    }
    files
}

/// Reads the actions in order and checks them.
#[derive(Default)]
struct Watcher {
    open: BTreeMap<UnitName, JobId>,
    asked: BTreeSet<RequestId>,
    answered: BTreeSet<RequestId>,
}

impl Watcher {
    fn watch(&mut self, machine: &mut Machine) -> Result<(), TestCaseError> {
        let actions = std::mem::take(&mut machine.seen);
        for (index, action) in actions.iter().cloned().enumerate() {
            match action {
                // a job that is queued only to be done is nobody's second one
                Action::JobQueued { job, ref unit, .. }
                    if self.open.get(unit) != Some(&job) && is_done(actions.get(index + 1), job) => {}
                Action::JobDone { job, ref requests, ref unit, .. } if self.open.get(unit) != Some(&job) => {
                    prop_assert!(is_queued(index.checked_sub(1).and_then(|before| actions.get(before)), job));
                    for id in requests {
                        prop_assert!(self.answered.insert(*id), "{:?} was answered twice", id);
                    }
                }
                Action::JobQueued { job, unit, .. } => {
                    let open = *self.open.entry(unit.clone()).or_insert(job);
                    prop_assert_eq!(open, job, "{} has two jobs", unit);
                }
                Action::JobDone { job, unit, requests, .. } => {
                    prop_assert_eq!(self.open.remove(&unit), Some(job));
                    for id in requests {
                        prop_assert!(self.answered.insert(id), "{:?} was answered twice", id);
                    }
                }
                Action::Refused { id, .. } => {
                    prop_assert!(self.answered.insert(id), "{:?} was answered twice", id)
                }
                Action::Spawn(spawn) if spawn.role == Role::Start => {
                    let status = machine.engine.status(&spawn.unit).unwrap();
                    for earlier in status.dependencies.get(&Dependency::After).into_iter().flatten() {
                        prop_assert!(
                            !self.open.contains_key(earlier),
                            "{} did not wait for {}",
                            spawn.unit,
                            earlier
                        );
                    }
                }
                _ => {}
            }
        }
        let jobs = machine.engine.jobs();
        let units: BTreeSet<_> = jobs.iter().map(|job| job.unit.clone()).collect();
        prop_assert_eq!(units.len(), jobs.len());
        prop_assert_eq!(units, self.open.keys().cloned().collect::<BTreeSet<_>>());
        Ok(())
    }
}

fn is_done(action: Option<&Action>, id: JobId) -> bool {
    matches!(action, Some(Action::JobDone { job, .. }) if *job == id)
}

fn is_queued(action: Option<&Action>, id: JobId) -> bool {
    matches!(action, Some(Action::JobQueued { job, .. }) if *job == id)
}

fn status(how: i32) -> ExitStatus {
    if how < 0 { ExitStatus::Signal { signal: -how, core: false } } else { ExitStatus::Code(how) }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hold_whatever_happens(
        edges in prop::collection::vec((0..UNITS, 0..KINDS.len(), 0..UNITS), 0..14),
        settings in prop::collection::vec((0..TYPES.len(), 0..RESTARTS.len(), any::<bool>(), any::<bool>()), UNITS),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut machine = Machine::new(files(&edges, &settings));
        let mut watcher = Watcher::default();
        for step in steps {
            match step {
                Step::Request(verb, unit, mode) => {
                    let id = machine.request(VERBS[verb], &name(unit), MODES[mode]);
                    watcher.asked.insert(id);
                }
                Step::Exit(which, how) => {
                    let pids: Vec<Pid> = machine.system.processes.borrow().keys().copied().collect();
                    if let Some(pid) = pids.get(which % pids.len().max(1)) {
                        machine.exit(*pid, status(how));
                    }
                }
                Step::Ready(unit) => {
                    let main = machine.engine.status(&name(unit)).and_then(|status| status.main_pid);
                    if let Some(pid) = main {
                        machine.handle(Event::Notified { pid, unit: Some(name(unit)), message: message(&["READY=1"]) });
                    }
                }
                Step::Pass(time) => machine.pass(time),
                Step::BreakSpawn => machine.broken_spawns += 1,
                Step::Reload => machine.handle(Event::Reload),
                Step::ResetFailed => machine.handle(Event::ResetFailed { unit: None }),
            }
            watcher.watch(&mut machine)?;
        }
        // everything ends in the end: no request is lost
        for _ in 0..200 {
            let pids: Vec<Pid> = machine.system.processes.borrow().keys().copied().collect();
            for pid in pids {
                machine.exit(pid, ExitStatus::Code(0));
            }
            // enough for a restart, too little for a timeout
            machine.pass(1_000_000);
            watcher.watch(&mut machine)?;
        }
        let lost: Vec<_> = watcher.asked.difference(&watcher.answered).collect();
        prop_assert!(lost.is_empty(), "{:?} lost, jobs left: {:?}", lost, machine.engine.jobs());
    }
}
