//! The state machine of each kind of unit, and the stage on which they act.
//!
//! A machine never looks at jobs or at other units: it changes its state and asks for actions; the engine draws
//! the conclusions from the changes, in the order in which they happened.

mod kill;
mod mount;
mod process;
mod service;
mod spawn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) use mount::Mount;
pub(crate) use service::{Service, ServiceResult};

use crate::{Action, ActiveState, Host, Level, Pid, SpawnToken, Stamp, Unit, UnitName, Usec, World};

/// What came of a start, stop or reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is under way, or done already.
    Begun,
    /// Not now: try again when the unit's state changes.
    Later,
    /// This kind of unit cannot.
    Unsupported,
}

/// A change of the state that all kinds have in common, or a mere sign that something moved.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) unit: UnitName,
    pub(crate) from: ActiveState,
    pub(crate) to: ActiveState,
    /// It failed but will start again by itself.
    pub(crate) will_restart: bool,
    /// A reload went wrong.
    pub(crate) reload_failed: bool,
}

/// What machines leave for the engine.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) actions: Vec<Action>,
    pub(crate) changes: VecDeque<Change>,
    /// Units whose RestartSec= is over.
    pub(crate) restarts: VecDeque<UnitName>,
    pub(crate) pids: BTreeMap<Pid, UnitName>,
    pub(crate) last_token: u64,
}

/// What every unit in memory has.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) unit: Arc<Unit>,
    pub(crate) active: ActiveState,
    pub(crate) sub: &'static str,
    pub(crate) state_change: Stamp,
    pub(crate) inactive_exit: Stamp,
    pub(crate) active_enter: Stamp,
    pub(crate) active_exit: Stamp,
    pub(crate) inactive_enter: Stamp,
    pub(crate) invocation_id: String,
    /// It was asked for by a first `Spawn` or a starting slice.
    pub(crate) has_cgroup: bool,
}

impl Base {
    pub(crate) fn new(unit: Arc<Unit>, sub: &'static str) -> Base {
        Base {
            unit,
            active: ActiveState::Inactive,
            sub,
            state_change: Stamp::default(),
            inactive_exit: Stamp::default(),
            active_enter: Stamp::default(),
            active_exit: Stamp::default(),
            inactive_enter: Stamp::default(),
            invocation_id: String::new(),
            has_cgroup: false,
        }
    }
}

/// A unit's own stage: its base, and the world it acts on.
pub(crate) struct Stage<'a> {
    pub(crate) base: &'a mut Base,
    pub(crate) fx: &'a mut Effects,
    pub(crate) world: &'a World<'a>,
    pub(crate) host: &'a Host,
}

impl Stage<'_> {
    pub(crate) fn now(&self) -> Usec {
        self.world.now
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { realtime: self.world.realtime, monotonic: self.world.now }
    }

    pub(crate) fn name(&self) -> UnitName {
        self.base.unit.name.clone()
    }

    pub(crate) fn cgroup(&self) -> String {
        crate::engine::cgroup_path(&self.base.unit)
    }

    /// The processes in the unit's cgroup.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        if self.base.has_cgroup { self.world.probe.processes(&self.cgroup()) } else { Vec::new() }
    }

    pub(crate) fn log(&mut self, level: Level, message: impl Into<String>) {
        let unit = Some(self.name());
        self.fx.actions.push(Action::Log { unit, level, message: message.into() });
    }

    pub(crate) fn token(&mut self) -> SpawnToken {
        self.fx.last_token += 1;
        SpawnToken(self.fx.last_token)
    }

    /// Asks for the unit's cgroup to be removed, if it has one.
    pub(crate) fn remove_cgroup(&mut self) {
        if std::mem::take(&mut self.base.has_cgroup) {
            let (unit, cgroup) = (self.name(), self.cgroup());
            self.fx.actions.push(Action::RemoveCgroup { unit, cgroup });
        }
    }

    /// Enters a state; every call is seen by the engine.
    pub(crate) fn enter(&mut self, to: ActiveState, sub: &'static str) {
        self.enter_with(to, sub, false, false);
    }

    pub(crate) fn enter_with(
        &mut self,
        to: ActiveState,
        sub: &'static str,
        will_restart: bool,
        reload_failed: bool,
    ) {
        let stamp = self.stamp();
        let from = self.base.active;
        let base = &mut *self.base;
        if from != to || base.sub != sub {
            base.state_change = stamp;
        }
        if from.is_down() && !to.is_down() {
            base.inactive_exit = stamp;
        }
        if !from.is_down() && to.is_down() {
            base.inactive_enter = stamp;
        }
        if !from.is_up() && to.is_up() {
            base.active_enter = stamp;
        }
        if from.is_up() && !to.is_up() {
            base.active_exit = stamp;
        }
        base.active = to;
        base.sub = sub;
        let unit = base.unit.name.clone();
        self.fx.changes.push_back(Change { unit, from, to, will_restart, reload_failed });
    }
}
