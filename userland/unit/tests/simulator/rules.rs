//! What must hold of what the engine wants, and of its state when it rests.

use std::collections::{BTreeMap, BTreeSet};

use unit::{
    Action, ActiveState, Dependency, JobState, JobStatus, Level, Passed, Pid, Role, Target, UnitName,
    UnitType,
};

use super::Simulation;
use super::world::render;

/// Whether the engine says with this that a run of a unit is over.
fn is_end(message: &str) -> bool {
    ["Deactivated successfully", "Failed with result", "Skipped due to"]
        .iter()
        .any(|end| message.contains(end))
}

/// Whether the engine says with this that it cannot stop a unit: others have it started and stopped too often, or a job
/// that may not be replaced is in the way. systemd too says so, and leaves it at that.
fn says_it_stays(message: &str) -> bool {
    message.contains("leaving it as it is") || message.starts_with("Failed to enqueue stop job")
}

impl Simulation {
    /// Checks what the engine wants; says which processes got a signal that ends them.
    pub fn follow(&mut self, actions: &[Action]) -> Vec<(Pid, i32)> {
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
                    // it waits before its first process; a job that comes while it is at work has nothing to wait
                    // for: systemd too looks at the order before it runs a job, and never again
                    let first = match spawn.role {
                        Role::Condition | Role::StartPre | Role::Start => {
                            self.begun.insert(spawn.unit.clone())
                        }
                        role => matches!(role, Role::Mount | Role::Activate),
                    };
                    if first && self.open.contains_key(&spawn.unit) {
                        for earlier in self.related(&spawn.unit, Dependency::After) {
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
                Action::Log { unit: Some(unit), message, .. } if says_it_stays(message) => {
                    self.left_alone.insert(unit.clone());
                }
                _ => {}
            }
        }
        dying
    }

    fn related(&self, unit: &UnitName, kind: Dependency) -> Vec<UnitName> {
        let status = self.machine.engine.status(unit);
        status.and_then(|mut status| status.dependencies.remove(&kind)).unwrap_or_default()
    }

    /// What has begun to run since the last look, did so while nothing held it back, by the rule of systemd's
    /// `job_compare`: a unit's job waits for the one of a unit that it comes after, unless it stops; and for the one
    /// of a unit that comes after it, if that one stops. What was there then and is there still, was there in
    /// between.
    fn look_at_order(&self, jobs: &BTreeMap<UnitName, JobStatus>) {
        let kept = |unit: &UnitName| {
            let (before, now) = (self.jobs.get(unit)?, jobs.get(unit)?);
            (before.id == now.id).then_some((before, now))
        };
        for job in jobs.values().filter(|job| job.state == JobState::Running) {
            if kept(&job.unit).is_some_and(|(before, _)| before.state == JobState::Running) {
                continue;
            }
            let held_back = |kind, by: &dyn Fn(&JobStatus) -> bool| {
                let mut others = self.related(&job.unit, kind).into_iter();
                others.find(|other| kept(other).is_some_and(|(then, now)| by(then) && by(now)))
            };
            let first = if job.kind.stops() { None } else { held_back(Dependency::After, &|_| true) };
            let first = first.or_else(|| held_back(Dependency::Before, &|other| other.kind.stops()));
            assert!(first.is_none(), "the {:?} of {} did not wait for {first:?}", job.kind, job.unit);
        }
    }

    /// What must hold when the engine rests.
    pub fn look(&mut self) {
        let jobs: BTreeMap<UnitName, JobStatus> =
            self.machine.engine.jobs().into_iter().map(|job| (job.unit.clone(), job)).collect();
        self.look_at_order(&jobs);
        self.jobs = jobs;
        let engine = &self.machine.engine;
        let jobs = engine.jobs();
        let units: BTreeSet<UnitName> = jobs.iter().map(|job| job.unit.clone()).collect();
        assert_eq!(units.len(), jobs.len(), "a unit has two jobs");
        assert_eq!(units, self.open.keys().cloned().collect(), "the engine and what it said differ");
        for unit in engine.units() {
            let status = engine.status(&unit).unwrap();
            if status.active.is_down() || status.sub == "auto-restart" {
                self.begun.remove(&unit);
            }
            if status.active.is_down() {
                self.left_alone.remove(&unit);
            }
            for pid in [status.main_pid, status.control_pid].into_iter().flatten() {
                assert_eq!(engine.unit_of(pid), Some(&unit), "{unit}: its process is another's");
                assert!(
                    self.machine.system.processes.borrow().contains_key(&pid),
                    "{unit} has a process that is not there"
                );
                assert!(!status.active.is_down(), "{unit} is down and has a process");
            }
            match unit.unit_type() {
                UnitType::Socket => {
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
                UnitType::Automount => {
                    let placed = matches!(status.active, ActiveState::Active);
                    assert_eq!(self.automounts.contains(&unit), placed, "{unit} is {}", status.sub);
                }
                UnitType::Path => {
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
}
