//! A unit in memory: its base, its machine, its job.

use std::sync::Arc;

use super::Engine;
use crate::machine::{Base, Mount, Service, ServiceResult, Stage, Step};
use crate::{
    Action, ActiveState, ExitStatus, JobId, Kind, MountEntry, Notify, Pid, SpawnToken, Stamp, Unit, UnitName,
    UnitType, Usec, World,
};

#[derive(Debug, Clone)]
pub(crate) enum Machine {
    Service(Box<Service>),
    Mount(Box<Mount>),
    /// Targets, slices, devices: on or off.
    Switch,
    /// A kind that is not operated yet.
    Other,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) base: Base,
    pub(crate) machine: Machine,
    pub(crate) job: Option<JobId>,
    /// The start limit's window: when it began, and the starts in it.
    pub(crate) window: (Usec, u32),
    /// The same for what the engine starts and stops by itself.
    pub(crate) own_window: (Usec, u32),
    pub(crate) condition: (Stamp, bool),
    pub(crate) assertion: (Stamp, bool),
}

/// The unit's cgroup, from the root.
pub(crate) fn cgroup_path(unit: &Unit) -> String {
    let mut path = String::new();
    let slice = if unit.unit_type() == UnitType::Slice {
        Some(unit.name.as_str())
    } else {
        unit.cgroup.slice.as_deref()
    };
    let stem = slice.and_then(|slice| slice.strip_suffix(".slice")).unwrap_or("-");
    if stem != "-" {
        let ends = stem.match_indices('-').map(|(index, _)| index).chain([stem.len()]);
        for head in ends.filter_map(|end| stem.get(..end)).filter(|head| !head.is_empty()) {
            path.push_str(&format!("/{head}.slice"));
        }
    }
    if unit.unit_type() != UnitType::Slice {
        path.push_str(&format!("/{}", unit.name));
    }
    if path.is_empty() { "/".into() } else { path }
}

/// Counts in a window of time that begins with the first event after the last one is over.
pub(super) fn is_below(window: &mut (Usec, u32), interval: Usec, burst: u32, now: Usec) -> bool {
    let (began, count) = *window;
    if count == 0 || began.saturating_add(interval) <= now {
        *window = (now, 1);
        return true;
    }
    window.1 = count.saturating_add(1);
    count < burst
}

impl Entry {
    pub(super) fn new(unit: Arc<Unit>) -> Entry {
        let machine = match unit.kind {
            Kind::Service(_) => Machine::Service(Box::new(Service::new())),
            Kind::Mount(_) => Machine::Mount(Box::new(Mount::new())),
            Kind::Target | Kind::Slice | Kind::Device => Machine::Switch,
            Kind::Other => Machine::Other,
        };
        let root = unit.name.as_str() == "-.slice";
        let mut base = Base::new(unit, if root { "active" } else { "dead" });
        if root {
            base.active = ActiveState::Active;
        }
        Entry {
            base,
            machine,
            job: None,
            window: (0, 0),
            own_window: (0, 0),
            condition: (Stamp::default(), false),
            assertion: (Stamp::default(), false),
        }
    }

    pub(super) fn deadline(&self) -> Option<Usec> {
        match &self.machine {
            Machine::Service(service) => service.deadline(),
            Machine::Mount(mount) => mount.deadline(),
            Machine::Switch | Machine::Other => None,
        }
    }

    /// The main and the control process.
    pub(super) fn pids(&self) -> (Option<Pid>, Option<Pid>) {
        match &self.machine {
            Machine::Service(service) => (
                service.main.as_ref().and_then(|process| process.pid),
                service.control.as_ref().and_then(|process| process.pid),
            ),
            Machine::Mount(mount) => (None, mount.control.as_ref().and_then(|process| process.pid)),
            Machine::Switch | Machine::Other => (None, None),
        }
    }

    /// ExecCondition= had it not start.
    pub(super) fn was_skipped(&self) -> bool {
        matches!(&self.machine, Machine::Service(service) if service.result == ServiceResult::SkipCondition)
    }

    pub(super) fn can_reload(&self) -> bool {
        match &self.machine {
            Machine::Service(_) => self.base.unit.service().is_some_and(Service::can_reload),
            Machine::Mount(_) => true,
            Machine::Switch | Machine::Other => false,
        }
    }

    pub(super) fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        match &mut self.machine {
            Machine::Service(service) => service.start(stage),
            Machine::Mount(mount) => mount.start(stage),
            Machine::Switch => {
                switch_on(stage);
                Step::Begun
            }
            Machine::Other => Step::Unsupported,
        }
    }

    pub(super) fn stop(&mut self, stage: &mut Stage<'_>, for_restart: bool) -> Step {
        match &mut self.machine {
            Machine::Service(service) => service.stop(stage, for_restart),
            Machine::Mount(mount) => mount.stop(stage),
            Machine::Switch => {
                switch_off(stage);
                Step::Begun
            }
            Machine::Other => Step::Unsupported,
        }
    }

    pub(super) fn reload(&mut self, stage: &mut Stage<'_>) -> Step {
        match &mut self.machine {
            Machine::Service(service) => service.reload(stage),
            Machine::Mount(mount) => mount.reload(stage),
            Machine::Switch | Machine::Other => Step::Unsupported,
        }
    }

    pub(super) fn spawned(&mut self, stage: &mut Stage<'_>, token: SpawnToken, outcome: Result<Pid, String>) {
        match &mut self.machine {
            Machine::Service(service) => service.spawned(stage, token, outcome),
            Machine::Mount(mount) => mount.spawned(stage, token, outcome),
            Machine::Switch | Machine::Other => {}
        }
    }

    pub(super) fn executed(&mut self, stage: &mut Stage<'_>, token: SpawnToken) {
        if let Machine::Service(service) = &mut self.machine {
            service.executed(stage, token);
        }
    }

    pub(super) fn exited(&mut self, stage: &mut Stage<'_>, pid: Pid, status: ExitStatus) {
        match &mut self.machine {
            Machine::Service(service) => service.exited(stage, pid, status),
            Machine::Mount(mount) => mount.exited(stage, pid, status),
            Machine::Switch | Machine::Other => {}
        }
    }

    pub(super) fn notified(&mut self, stage: &mut Stage<'_>, pid: Pid, message: &Notify) {
        if let Machine::Service(service) = &mut self.machine {
            service.notified(stage, pid, message);
        }
    }

    pub(super) fn cgroup_empty(&mut self, stage: &mut Stage<'_>) {
        if let Machine::Service(service) = &mut self.machine {
            service.cgroup_empty(stage);
        }
    }

    pub(super) fn table(&mut self, stage: &mut Stage<'_>, entry: Option<MountEntry>) {
        if let Machine::Mount(mount) = &mut self.machine {
            mount.table(stage, entry);
        }
    }

    pub(super) fn elapsed(&mut self, stage: &mut Stage<'_>) {
        match &mut self.machine {
            Machine::Service(service) => service.elapsed(stage),
            Machine::Mount(mount) => mount.elapsed(stage),
            Machine::Switch | Machine::Other => {}
        }
    }

    pub(super) fn reset_failed(&mut self, stage: &mut Stage<'_>) {
        self.window = (0, 0);
        match &mut self.machine {
            Machine::Service(service) => service.reset_failed(stage),
            Machine::Mount(mount) => mount.reset_failed(stage),
            Machine::Switch | Machine::Other => {}
        }
    }
}

fn switch_on(stage: &mut Stage<'_>) {
    if stage.base.unit.unit_type() == UnitType::Slice {
        stage.base.has_cgroup = true;
        let (unit, cgroup) = (stage.name(), stage.cgroup());
        let resources = Arc::clone(&stage.base.unit.cgroup);
        stage.fx.actions.push(Action::ConfigureCgroup { unit, cgroup, resources });
    }
    let sub = if stage.base.unit.unit_type() == UnitType::Device { "plugged" } else { "active" };
    stage.enter(ActiveState::Active, sub);
}

fn switch_off(stage: &mut Stage<'_>) {
    if stage.base.unit.unit_type() == UnitType::Slice {
        stage.base.has_cgroup = false;
        let (unit, cgroup) = (stage.name(), stage.cgroup());
        stage.fx.actions.push(Action::RemoveCgroup { unit, cgroup });
    }
    stage.enter(ActiveState::Inactive, "dead");
}

impl Engine {
    /// Puts a unit on its stage. `None` if it is not in memory.
    pub(super) fn with<T>(
        &mut self,
        name: &UnitName,
        world: &World<'_>,
        act: impl FnOnce(&mut Entry, &mut Stage<'_>) -> T,
    ) -> Option<T> {
        let name = self.resolve(name)?;
        let entry = self.entries.get_mut(&name)?;
        // the machine and the base are parts of one entry: the base is taken out while the machine acts on it
        let mut base = entry.base.clone();
        let mut stage = Stage { base: &mut base, fx: &mut self.fx, world, host: &self.host };
        let outcome = act(entry, &mut stage);
        entry.base = base;
        Some(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_nest_by_their_names() {
        let unit = |name: &str| {
            let name = UnitName::parse(name).unwrap();
            let sources = Ok(crate::Sources {
                fragment: Some(crate::Text { path: "/x".into(), text: "[Service]\nExecStart=/x".into() }),
                ..Default::default()
            });
            cgroup_path(&crate::load::load(&name, &sources, None, &Default::default()))
        };
        assert_eq!(unit("x.service"), "/system.slice/x.service");
        assert_eq!(unit("x@y.service"), "/system.slice/system-x.slice/x@y.service");
        assert_eq!(unit("a-b-c.slice"), "/a.slice/a-b.slice/a-b-c.slice");
        assert_eq!(unit("-.slice"), "/");
    }
}
