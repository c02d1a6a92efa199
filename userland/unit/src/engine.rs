//! The engine: units, jobs, and the one way in.
//!
//! `load` brings units into memory, `request` turns wishes into jobs, `run` runs and ends jobs, `react` draws the
//! conclusions from what units did, `read` answers questions, `save` carries the state over to
//! another engine.

mod announce;
mod entry;
mod kernel;
mod load;
mod react;
mod read;
mod request;
mod run;
mod save;
mod shared;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use entry::{Entry, Machine, cgroup_path};
pub use save::Saved;
use shared::Shared;

use crate::graph::Graph;
use crate::job::Job;
use crate::machine::Effects;
use crate::settings::{CgroupSettings, Defaults, ExecSettings};
use crate::{
    Action, ActiveState, Device, Event, Host, JobId, JobKind, JobMode, JobResult, KillWhom, Level,
    MountEntry, Notify, Pid, SwapEntry, Target, UnitName, World,
};

/// More steps than any event can lead to, at least and for each unit in memory: beyond it, something goes round in
/// circles.
const MOST_STEPS: usize = 20_000;
const MOST_STEPS_EACH: usize = 100;

/// The whole state of the manager.
#[derive(Debug)]
pub struct Engine {
    pub(crate) host: Host,
    /// Boxed: a table keeps room for more, and they are large.
    pub(crate) entries: BTreeMap<UnitName, Box<Entry>>,
    aliases: BTreeMap<UnitName, UnitName>,
    pub(crate) graph: Graph,
    /// The graph lacks what only drawing it anew would bring; that is done when units come in.
    graph_is_old: bool,
    exec_settings: Shared<ExecSettings>,
    cgroup_settings: Shared<CgroupSettings>,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    last_job: u32,
    queue: BTreeSet<JobId>,
    /// The jobs that were held back by the job of a unit: to be looked at again when that one is over.
    held_back: BTreeMap<UnitName, BTreeSet<JobId>>,
    /// Units that may have lost what they are bound to: to be looked at when no transaction is half done.
    bound: BTreeSet<UnitName>,
    fx: Effects,
    mounts: BTreeMap<String, MountEntry>,
    swaps: BTreeMap<String, SwapEntry>,
    /// By their folders in /sys.
    devices: BTreeMap<String, Device>,
}

impl Engine {
    /// An engine without units.
    pub fn new(host: Host) -> Engine {
        Engine {
            host,
            entries: BTreeMap::new(),
            aliases: BTreeMap::new(),
            graph: Graph::default(),
            graph_is_old: false,
            exec_settings: Shared::new(),
            cgroup_settings: Shared::new(),
            jobs: BTreeMap::new(),
            last_job: 0,
            queue: BTreeSet::new(),
            held_back: BTreeMap::new(),
            bound: BTreeSet::new(),
            fx: Effects::default(),
            mounts: BTreeMap::new(),
            swaps: BTreeMap::new(),
            devices: BTreeMap::new(),
        }
    }

    /// What units are read by from now on: those in memory with the next reload.
    pub fn set_defaults(&mut self, defaults: Defaults) {
        self.host.defaults = defaults;
    }

    /// What services inherit from now on.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.host.environment = environment;
    }

    /// Takes an event in and says what to do, in order. Of every `Spawn` hand in `Spawned` before anything else.
    pub fn handle(&mut self, event: Event, world: &World<'_>) -> Vec<Action> {
        match event {
            Event::Request { id, verb, unit, mode } => self.request(id, verb, &unit, mode, world),
            Event::Cancel { job } => self.finish(job, JobResult::Canceled, true, world),
            Event::Load { unit } => {
                self.bring_in(&unit, world);
            }
            Event::ResetFailed { unit } => self.reset_failed(unit, world),
            Event::Kill { unit, whom, signal } => self.kill(&unit, whom, signal, world),
            Event::Spawned { unit, token, outcome } => {
                if self.resolve(&unit).is_none() {
                    if let Ok(pid) = outcome {
                        self.fx.actions.push(Action::Signal { unit, target: Target::Pid(pid), signal: 9 });
                    }
                } else {
                    self.with(&unit, world, |entry, stage| entry.life().spawned(stage, token, outcome));
                }
            }
            Event::Executed { unit, token } => {
                self.with(&unit, world, |entry, stage| entry.life().executed(stage, token));
            }
            Event::ExecFailed { unit, why, .. } => {
                let message = format!("{unit}: Failed to execute: {why}");
                self.log(Some(unit), Level::Error, message);
            }
            Event::Exited { pid, status } => {
                if let Some(unit) = self.fx.pids.remove(&pid) {
                    self.with(&unit, world, |entry, stage| entry.life().exited(stage, pid, status));
                }
            }
            Event::Notified { pid, unit, message } => self.notified(pid, unit, &message, world),
            Event::Found { unit, main, invocation } => self.found(&unit, main, invocation, world),
            Event::CgroupEmpty { unit } => {
                self.with(&unit, world, |entry, stage| entry.life().cgroup_empty(stage));
            }
            Event::Elapsed => self.elapsed(world),
            Event::Forget { unit } => self.forget_asked(&unit, world),
            Event::Reload => self.reload(world),
            other => self.outside(other, world),
        }
        self.settle(world);
        std::mem::take(&mut self.fx.actions)
    }

    /// Draws every conclusion, one step at a time, until there is nothing left to do at once.
    fn settle(&mut self, world: &World<'_>) {
        for _ in 0..MOST_STEPS.max(self.entries.len().saturating_mul(MOST_STEPS_EACH)) {
            if let Some(change) = self.fx.changes.pop_front() {
                self.react(&change, world);
            } else if let Some(unit) = self.fx.restarts.pop_front() {
                self.auto_restart(&unit, world);
            } else if let Some(wish) = self.fx.wishes.pop_front() {
                self.grant(wish, world);
            } else if let Some(unit) = self.fx.stops.pop_front() {
                self.enqueue(JobKind::Stop, &unit, JobMode::Replace, world);
            } else if let Some(unit) = self.bound.pop_first() {
                self.keep_bound(&unit, world);
            } else if let Some(job) = self.queue.pop_first() {
                self.run(job, world);
            } else {
                return;
            }
        }
        self.log(None, Level::Critical, "Units start each other in circles, pausing.".into());
    }

    fn log(&mut self, unit: Option<UnitName>, level: Level, message: String) {
        self.fx.actions.push(Action::Log { unit, level, message });
    }

    /// The name under which a unit is in memory.
    pub(crate) fn resolve(&self, name: &UnitName) -> Option<UnitName> {
        let name = self.aliases.get(name).unwrap_or(name);
        self.entries.contains_key(name).then(|| name.clone())
    }

    pub(crate) fn active(&self, name: &UnitName) -> ActiveState {
        self.entries.get(name).map_or(ActiveState::Inactive, |entry| entry.base.active)
    }

    pub(crate) fn job_of(&self, name: &UnitName) -> Option<&Job> {
        self.jobs.get(&self.entries.get(name)?.job?)
    }

    fn kill(&mut self, unit: &UnitName, whom: KillWhom, signal: i32, world: &World<'_>) {
        let Some(name) = self.resolve(unit) else { return };
        let Some(entry) = self.entries.get(&name) else { return };
        let (main, control) = entry.machine.life().pids();
        let mut targets: Vec<Target> = Vec::new();
        match whom {
            KillWhom::Main => targets.extend(main.map(Target::Pid)),
            KillWhom::Control => targets.extend(control.map(Target::Pid)),
            KillWhom::All => {
                let cgroup = cgroup_path(&entry.base.unit);
                let inside = if entry.base.has_cgroup { world.probe.processes(&cgroup) } else { Vec::new() };
                let outside = [main, control].into_iter().flatten().filter(|pid| !inside.contains(pid));
                targets.extend(outside.map(Target::Pid));
                if !inside.is_empty() {
                    targets.push(Target::Cgroup(cgroup));
                }
            }
        }
        for target in targets {
            self.fx.actions.push(Action::Signal { unit: name.clone(), target, signal });
        }
    }

    fn notified(&mut self, pid: Pid, unit: Option<UnitName>, message: &Notify, world: &World<'_>) {
        let unit = self.fx.pids.get(&pid).cloned().or(unit);
        if let Some(unit) = unit {
            self.with(&unit, world, |entry, stage| entry.life().notified(stage, pid, message));
        }
    }

    fn reset_failed(&mut self, unit: Option<UnitName>, world: &World<'_>) {
        let names = match unit {
            Some(unit) => vec![unit],
            None => self.entries.keys().cloned().collect(),
        };
        for name in names {
            self.with(&name, world, |entry, stage| entry.reset_failed(stage));
        }
    }

    fn elapsed(&mut self, world: &World<'_>) {
        let due: Vec<UnitName> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.deadline().is_some_and(|at| at <= world.now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.with(&name, world, |entry, stage| entry.life().elapsed(stage));
        }
        self.expire_jobs(world);
    }

    /// Whether a unit of this kind could be told to do that.
    pub(crate) fn can(&self, name: &UnitName, kind: JobKind) -> bool {
        match kind {
            JobKind::Reload => {
                self.entries.get(name).is_some_and(|e| e.machine.life().can_reload(&e.base.unit))
            }
            // they are there as long as the system is
            JobKind::Stop | JobKind::Restart => {
                !matches!(name.as_str(), "-.slice" | "system.slice" | "-.mount" | "init.scope")
            }
            _ => true,
        }
    }
}
