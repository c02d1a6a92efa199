//! The read side.

use super::Engine;
use super::{Machine, cgroup_path};
use crate::exec::CommandLine;
use crate::machine::{Control, Runs, Service};
use crate::settings::{Commands, ServiceType};
use crate::{ActiveState, CommandStatus, Details, JobStatus, Pid, Role, Unit, UnitName, UnitStatus, Usec};

impl Engine {
    /// When to send `Event::Elapsed`: monotonic; `None`: not before something else happens.
    pub fn deadline(&self) -> Option<Usec> {
        let units = self.entries.values().filter_map(|entry| entry.deadline()).min();
        units.into_iter().chain(self.job_deadline()).min()
    }

    /// The names of all units in memory, without aliases.
    pub fn units(&self) -> Vec<UnitName> {
        self.entries.keys().cloned().collect()
    }

    /// How many names there are for the units in memory, aliases among them.
    pub fn name_count(&self) -> usize {
        self.entries.len() + self.aliases.len()
    }

    /// How many units have failed.
    pub fn failed_count(&self) -> usize {
        self.entries.values().filter(|entry| entry.base.active == ActiveState::Failed).count()
    }

    /// Whether any job is queued.
    pub fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
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

    /// Every name that a service in memory has on the bus, if Type=dbus waits for it.
    pub fn bus_names(&self) -> std::collections::BTreeSet<String> {
        self.entries.values().filter_map(|entry| awaited_name(&entry.base.unit)).map(str::to_owned).collect()
    }

    /// The name that a unit in memory has on the bus, if Type=dbus waits for it.
    pub fn bus_name_of(&self, unit: &UnitName) -> Option<&str> {
        awaited_name(self.definition(unit)?)
    }

    /// Every process that is a main or control process of a unit.
    pub fn processes(&self) -> Vec<Pid> {
        self.fx.pids.keys().copied().collect()
    }

    /// What a unit's files say; aliases are followed. `None`: not loaded.
    pub fn definition(&self, name: &UnitName) -> Option<&Unit> {
        let name = self.aliases.get(name).unwrap_or(name);
        self.entries.get(name).map(|entry| &*entry.base.unit)
    }

    /// A unit's state; aliases are followed. `None`: not loaded.
    pub fn active_state(&self, name: &UnitName) -> Option<ActiveState> {
        let name = self.aliases.get(name).unwrap_or(name);
        self.entries.get(name).map(|entry| entry.base.active)
    }

    /// All that is known of a unit; aliases are followed. `None`: not loaded (send `Event::Load`).
    pub fn status(&self, name: &UnitName) -> Option<UnitStatus> {
        let name = self.resolve(name)?;
        let entry = self.entries.get(&name)?;
        let base = &entry.base;
        let unit = &base.unit;
        let (main_pid, control_pid) = entry.machine.life().pids();
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
            main_ended: None,
            commands: Vec::new(),
            cgroup: base.has_cgroup.then(|| cgroup_path(unit)),
            invocation_id: base.invocation_id.clone(),
            dependencies: self.graph.all(&name),
            names,
            mounted: None,
            details: Details::None,
        };
        match &entry.machine {
            Machine::Service(service) => service_status(&mut status, service),
            Machine::Mount(mount) => {
                status.result = mount.result;
                let mounted = mount.entry.as_ref();
                status.mounted = mounted.map(|e| (e.what.clone(), e.fs_type.clone(), e.options.clone()));
            }
            Machine::Socket(socket) => {
                status.result = socket.result;
                let lines = unit.socket().map(|settings| &settings.commands);
                status.commands =
                    lines.map(|lines| control_commands(lines, &socket.control)).unwrap_or_default();
                status.details = Details::Socket {
                    connections: socket.connections(),
                    accepted: socket.accepted,
                    refused: socket.refused,
                };
            }
            Machine::Timer(timer) => {
                status.result = timer.result;
                status.details = Details::Timer {
                    last_trigger: timer.last_trigger,
                    next_realtime: timer.next_realtime,
                    next_monotonic: timer.next_monotonic,
                    next_of: timer.next_of.clone(),
                };
            }
            Machine::Path(path) => status.result = path.result,
            Machine::Automount(automount) => status.result = automount.result,
            Machine::Scope(scope) => status.result = scope.result,
            Machine::Swap(swap) => {
                status.result = swap.result;
                status.details = Details::Swap { priority: swap.entry.as_ref().map(|entry| entry.priority) };
            }
            Machine::Device(device) => {
                let sysfs = device.sysfs.clone();
                let known = sysfs.as_ref().and_then(|sysfs| self.devices.get(sysfs));
                let description = known.map(|device| device.description.clone()).unwrap_or_default();
                status.details = Details::Device { sysfs: sysfs.unwrap_or_default(), description };
            }
            Machine::Switch(_) => {}
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
    status.main_ended = service.main_ended;
    let unit = status.definition.clone();
    let Some(settings) = unit.service() else { return };
    status.details = Details::Service { stored: service.stored.len() as u32 };
    status.commands = commands(&settings.commands, &service.runs);
}

fn control_commands(lines: &Commands, control: &Control) -> Vec<CommandStatus> {
    commands(lines, &control.runs)
}

fn commands(lines: &Commands, runs: &Runs) -> Vec<CommandStatus> {
    let status = |(role, place, line): (Role, usize, &CommandLine)| {
        let run = runs.get((role, place)).cloned().unwrap_or_default();
        CommandStatus {
            role,
            path: line.path.clone(),
            argv: line.argv.clone(),
            flags: line.flags,
            start: run.start,
            exit: run.exit,
            pid: run.pid,
            status: run.status,
        }
    };
    lines.all().map(status).collect()
}

fn awaited_name(unit: &Unit) -> Option<&str> {
    let service = unit.service().filter(|service| service.kind == ServiceType::Dbus)?;
    service.bus_name.as_deref()
}
