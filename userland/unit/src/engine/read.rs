//! The read side.

use super::Engine;
use super::entry::{Machine, cgroup_path};
use crate::machine::Service;
use crate::{CommandStatus, JobStatus, Pid, UnitName, UnitStatus, Usec};

impl Engine {
    /// When to send `Event::Elapsed`: monotonic; `None`: not before something else happens.
    pub fn deadline(&self) -> Option<Usec> {
        let units = self.entries.values().filter_map(super::Entry::deadline).min();
        units.into_iter().chain(self.job_deadline()).min()
    }

    /// The names of all units in memory, without aliases.
    pub fn units(&self) -> Vec<UnitName> {
        self.entries.keys().cloned().collect()
    }

    /// All queued jobs.
    pub fn jobs(&self) -> Vec<JobStatus> {
        self.jobs
            .values()
            .map(|job| JobStatus { id: job.id, unit: job.unit.clone(), kind: job.kind, state: job.state })
            .collect()
    }

    /// The unit whose main or control process this is.
    pub fn unit_of(&self, pid: Pid) -> Option<&UnitName> {
        self.fx.pids.get(&pid)
    }

    /// All that is known of a unit; aliases are followed. `None`: not loaded (send `Event::Load`).
    pub fn status(&self, name: &UnitName) -> Option<UnitStatus> {
        let name = self.resolve(name)?;
        let entry = self.entries.get(&name)?;
        let base = &entry.base;
        let unit = &base.unit;
        let (main_pid, control_pid) = entry.pids();
        let mut names = vec![name.clone()];
        names.extend(self.aliases.iter().filter(|(_, real)| **real == name).map(|(alias, _)| alias.clone()));
        let mut status = UnitStatus {
            definition: unit.clone(),
            load: unit.load,
            load_error: unit.load_error.clone(),
            active: base.active,
            sub: base.sub,
            state_change: base.state_change,
            inactive_exit: base.inactive_exit,
            active_enter: base.active_enter,
            active_exit: base.active_exit,
            inactive_enter: base.inactive_enter,
            condition_stamp: entry.condition.0,
            condition_result: entry.condition.1,
            assert_stamp: entry.assertion.0,
            assert_result: entry.assertion.1,
            job: self.job_of(&name).map(|job| JobStatus {
                id: job.id,
                unit: job.unit.clone(),
                kind: job.kind,
                state: job.state,
            }),
            main_pid,
            control_pid,
            status_text: None,
            status_errno: 0,
            result: "success",
            n_restarts: 0,
            main_start: Default::default(),
            main_exit: Default::default(),
            main_status: None,
            commands: Vec::new(),
            cgroup: base.has_cgroup.then(|| cgroup_path(unit)),
            invocation_id: base.invocation_id.clone(),
            dependencies: self.graph.all(&name),
            names,
            mounted: None,
        };
        match &entry.machine {
            Machine::Service(service) => service_status(&mut status, service),
            Machine::Mount(mount) => {
                status.result = mount.result;
                let mounted = mount.entry.as_ref();
                status.mounted = mounted.map(|e| (e.what.clone(), e.fs_type.clone(), e.options.clone()));
            }
            Machine::Switch | Machine::Other => {}
        }
        Some(status)
    }
}

fn service_status(status: &mut UnitStatus, service: &Service) {
    status.status_text = service.status_text.clone();
    status.status_errno = service.status_errno;
    status.result = service.result.as_str();
    status.n_restarts = service.n_restarts;
    status.main_start = service.main_start;
    status.main_exit = service.main_exit;
    status.main_status = service.main_status;
    let unit = status.definition.clone();
    let Some(settings) = unit.service() else { return };
    for (role, lines) in &settings.commands {
        for (index, line) in lines.iter().enumerate() {
            let run = service.runs.get(&(*role, index)).cloned().unwrap_or_default();
            status.commands.push(CommandStatus {
                role: *role,
                path: line.path.clone(),
                argv: line.argv.clone(),
                flags: line.flags,
                start: run.start,
                exit: run.exit,
                pid: run.pid,
                status: run.status,
            });
        }
    }
}
