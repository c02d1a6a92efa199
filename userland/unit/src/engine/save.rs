//! The engine's state, to be carried over to another one: that of the same program executed anew, or of a newer one.
//!
//! What unit files say is not part of it: they are read again, as by a reload. Each unit and each job is a record of
//! its own, so that one that cannot be read costs that one only. Fields that are missing have their first value,
//! those that are unknown are passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Engine, Entry, Machine};
use crate::job::Job;
use crate::{Device, JobId, MountEntry, Pid, SwapEntry, UnitName, World};

/// A saved state, as it is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    units: BTreeMap<String, Value>,
    jobs: Vec<Value>,
    last_job: u32,
    last_token: u64,
    mounts: BTreeMap<String, MountEntry>,
    swaps: BTreeMap<String, SwapEntry>,
    devices: BTreeMap<String, Device>,
}

/// The same, as it is written.
#[derive(Serialize)]
struct Saving<'a> {
    units: &'a BTreeMap<UnitName, Box<Entry>>,
    jobs: Vec<&'a Job>,
    last_job: u32,
    last_token: u64,
    mounts: &'a BTreeMap<String, MountEntry>,
    swaps: &'a BTreeMap<String, SwapEntry>,
    devices: &'a BTreeMap<String, Device>,
}

impl Engine {
    /// The state between two events.
    pub fn save(&self) -> impl Serialize + '_ {
        Saving {
            units: &self.entries,
            jobs: self.jobs.values().collect(),
            last_job: self.last_job,
            last_token: self.fx.last_token,
            mounts: &self.mounts,
            swaps: &self.swaps,
            devices: &self.devices,
        }
    }

    /// Takes over a saved state into an engine without units. Returns what could not be taken over, a line each.
    pub fn restore(&mut self, saved: Saved, world: &World<'_>) -> Vec<String> {
        let mut lost = Vec::new();
        self.last_job = saved.last_job;
        self.fx.last_token = saved.last_token;
        self.mounts = saved.mounts;
        self.swaps = saved.swaps;
        self.devices = saved.devices;
        let parse = |name: &String| UnitName::parse(name).ok();
        let names: Vec<UnitName> = saved.units.keys().filter_map(parse).collect();
        self.bring_in_all(&names, world);
        // what the files have that we do not take was told when they were first read
        self.fx.actions.clear();
        for (name, record) in saved.units {
            if let Err(why) = self.restore_unit(&name, record) {
                lost.push(format!("{name}: {why}"));
            }
        }
        for record in saved.jobs {
            if let Err(why) = self.restore_job(record) {
                lost.push(format!("a job: {why}"));
            }
        }
        self.wake();
        lost
    }

    /// A unit runs that is down as far as is known: it goes on from here.
    pub(super) fn found(
        &mut self,
        unit: &UnitName,
        main: Option<Pid>,
        invocation: String,
        world: &World<'_>,
    ) {
        let name = self.bring_in(unit, world);
        self.with(&name, world, |entry, stage| {
            if !stage.base.active.is_down() {
                return;
            }
            stage.base.invocation_id = invocation;
            stage.base.has_cgroup = true;
            match &mut entry.machine {
                Machine::Service(service) => service.found(stage, main),
                Machine::Scope(scope) => scope.found(stage),
                _ => {}
            }
        });
    }

    fn restore_unit(&mut self, name: &str, record: Value) -> Result<(), String> {
        let saved: Entry = serde_json::from_value(record).map_err(|error| error.to_string())?;
        let name = UnitName::parse(name).map_err(|error| error.to_string())?;
        let entry = self.entries.get_mut(&name).ok_or("it is another name of a unit now")?;
        if std::mem::discriminant(&entry.machine) != std::mem::discriminant(&saved.machine) {
            return Err("it is of another kind".into());
        }
        let (main, control) = saved.machine.life().pids();
        for pid in [main, control].into_iter().flatten() {
            self.fx.pids.insert(pid, name.clone());
        }
        let unit = entry.base.unit.clone();
        **entry = saved;
        entry.base.unit = unit;
        Ok(())
    }

    fn restore_job(&mut self, record: Value) -> Result<(), String> {
        let job: Job = serde_json::from_value(record).map_err(|error| error.to_string())?;
        let entry = self.entries.get_mut(&job.unit).ok_or_else(|| format!("{} is not there", job.unit))?;
        if let Some(JobId(other)) = entry.job.replace(job.id).filter(|other| *other != job.id) {
            entry.job = Some(JobId(other));
            return Err(format!("{} has another one, {other}", job.unit));
        }
        self.last_job = self.last_job.max(job.id.0);
        self.jobs.insert(job.id, job);
        Ok(())
    }
}
