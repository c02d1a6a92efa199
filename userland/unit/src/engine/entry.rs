//! A unit in memory: its base, its machine, its job.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::machine::{
    Automount, Base, Device, Life, Mount, Path, Peer, Scope, Service, ServiceResult, Socket, Stage, Step,
    Swap, Timer,
};
use crate::{
    Action, ActiveState, Dependency, JobId, JobKind, Kind, Stamp, Unit, UnitName, UnitType, Usec, World,
};

/// PID 1's own scope.
const OWN_SCOPE: &str = "init.scope";

/// The state machine of a unit's kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Machine {
    Service(Box<Service>),
    Mount(Box<Mount>),
    Socket(Box<Socket>),
    Timer(Box<Timer>),
    Path(Box<Path>),
    Automount(Box<Automount>),
    Swap(Box<Swap>),
    Scope(Box<Scope>),
    Device(Device),
    Switch(Switch),
}

/// Targets and slices: on or off.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Switch;

impl Machine {
    fn of(unit: &Unit) -> Machine {
        match unit.kind {
            Kind::Service(_) => Machine::Service(Box::new(Service::new())),
            Kind::Mount(_) => Machine::Mount(Box::new(Mount::new())),
            Kind::Socket(_) => Machine::Socket(Box::new(Socket::new())),
            Kind::Timer(_) => Machine::Timer(Box::new(Timer::new())),
            Kind::Path(_) => Machine::Path(Box::new(Path::new())),
            Kind::Automount(_) => Machine::Automount(Box::new(Automount::new())),
            Kind::Swap(_) => Machine::Swap(Box::new(Swap::new())),
            Kind::Scope(_) if unit.name.as_str() == OWN_SCOPE => Machine::Scope(Box::new(Scope::running())),
            Kind::Scope(_) => Machine::Scope(Box::new(Scope::new())),
            Kind::Device => Machine::Device(Device::default()),
            Kind::Target | Kind::Slice => Machine::Switch(Switch),
        }
    }

    pub(crate) fn life(&self) -> &dyn Life {
        match self {
            Machine::Service(it) => &**it,
            Machine::Mount(it) => &**it,
            Machine::Socket(it) => &**it,
            Machine::Timer(it) => &**it,
            Machine::Path(it) => &**it,
            Machine::Automount(it) => &**it,
            Machine::Swap(it) => &**it,
            Machine::Scope(it) => &**it,
            Machine::Device(it) => it,
            Machine::Switch(it) => it,
        }
    }

    pub(crate) fn life_mut(&mut self) -> &mut dyn Life {
        match self {
            Machine::Service(it) => &mut **it,
            Machine::Mount(it) => &mut **it,
            Machine::Socket(it) => &mut **it,
            Machine::Timer(it) => &mut **it,
            Machine::Path(it) => &mut **it,
            Machine::Automount(it) => &mut **it,
            Machine::Swap(it) => &mut **it,
            Machine::Scope(it) => &mut **it,
            Machine::Device(it) => it,
            Machine::Switch(it) => it,
        }
    }
}

impl Life for Switch {
    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        switch_on(stage);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        switch_off(stage);
        Step::Begun
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) base: Base,
    pub(crate) machine: Machine,
    #[serde(skip)]
    pub(crate) job: Option<JobId>,
    /// The start limit's window: when it began, and the starts in it.
    #[serde(default)]
    pub(crate) window: (Usec, u32),
    /// The last start was one too many.
    #[serde(default)]
    pub(crate) start_limit_hit: bool,
    /// The same for what the engine starts and stops by itself.
    #[serde(default)]
    pub(crate) own_window: (Usec, u32),
    #[serde(default)]
    pub(crate) condition: (Stamp, bool),
    #[serde(default)]
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

impl Entry {
    pub(super) fn new(unit: Arc<Unit>) -> Entry {
        let machine = Machine::of(&unit);
        let name = unit.name.as_str();
        // what is there as long as PID 1 is
        let sub = match name {
            "-.slice" => Some("active"),
            OWN_SCOPE => Some("running"),
            _ => None,
        };
        let mut base = Base::new(unit, sub.unwrap_or("dead"));
        if sub.is_some() {
            base.active = ActiveState::Active;
        }
        Entry {
            base,
            machine,
            job: None,
            window: (0, 0),
            start_limit_hit: false,
            own_window: (0, 0),
            condition: (Stamp::default(), false),
            assertion: (Stamp::default(), false),
        }
    }

    pub(super) fn life(&mut self) -> &mut dyn Life {
        self.machine.life_mut()
    }

    pub(super) fn deadline(&self) -> Option<Usec> {
        self.machine.life().deadline()
    }

    /// ExecCondition= had it not start.
    pub(super) fn was_skipped(&self) -> bool {
        matches!(&self.machine, Machine::Service(service) if service.result == ServiceResult::SkipCondition)
    }

    pub(super) fn reset_failed(&mut self, stage: &mut Stage<'_>) {
        self.window = (0, 0);
        self.start_limit_hit = false;
        self.life().reset_failed(stage);
    }
}

fn switch_on(stage: &mut Stage<'_>) {
    if stage.base.unit.unit_type() == UnitType::Slice {
        stage.base.has_cgroup = true;
        let (unit, cgroup) = (stage.name(), stage.cgroup());
        let resources = Arc::clone(&stage.base.unit.cgroup);
        stage.fx.actions.push(Action::ConfigureCgroup { unit, cgroup, resources });
    }
    stage.enter(ActiveState::Active, "active");
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
        let peer = self.peer_of(&name);
        let stop_pending = self.job_of(&name).is_some_and(|job| job.kind == JobKind::Stop);
        let entry = self.entries.get_mut(&name)?;
        // the machine and the base are parts of one entry: the base is taken out while the machine acts on it
        let mut base = entry.base.clone();
        let (fx, host, graph) = (&mut self.fx, &self.host, &self.graph);
        let mut stage = Stage { base: &mut base, fx, world, host, graph, peer, stop_pending };
        let outcome = act(entry, &mut stage);
        entry.base = base;
        Some(outcome)
    }

    /// What a socket, timer, path or automount triggers.
    fn peer_of(&self, name: &UnitName) -> Option<Peer> {
        if !triggers(name.unit_type()) {
            return None;
        }
        let unit = &self.entries.get(name)?.base.unit;
        let name = self.resolve(unit.names(Dependency::Triggers).next()?)?;
        let entry = self.entries.get(&name)?;
        let job = self.job_of(&name).map(|job| job.kind);
        let base = &entry.base;
        Some(Peer {
            load: base.unit.load,
            active: base.active,
            sub: base.sub,
            has_job: job.is_some(),
            has_start_job: matches!(job, Some(JobKind::Start | JobKind::Restart)),
            start_limit_hit: entry.start_limit_hit,
            inactive_exit: base.inactive_exit,
            inactive_enter: base.inactive_enter,
            name,
        })
    }

    /// Tells the units that trigger this one that it has changed, or that its job is over.
    pub(super) fn tell_triggers(&mut self, name: &UnitName, world: &World<'_>) {
        for other in self.graph.of(name, &[Dependency::TriggeredBy]) {
            if triggers(other.unit_type()) {
                self.with(&other, world, |entry, stage| entry.life().peer_changed(stage));
            }
        }
    }
}

fn triggers(kind: UnitType) -> bool {
    matches!(kind, UnitType::Socket | UnitType::Timer | UnitType::Path | UnitType::Automount)
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
