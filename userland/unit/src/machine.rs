//! The state machine of each kind of unit, and the stage on which they act.
//!
//! A machine never looks at jobs or at other units: it changes its state and asks for actions; the engine draws
//! the conclusions from the changes, in the order in which they happened.

mod automount;
mod control;
mod device;
mod kill;
mod mount;
mod path;
mod process;
mod scope;
mod service;
mod socket;
mod spawn;
mod swap;
mod timer;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(crate) use automount::Automount;
pub(crate) use control::Control;
pub(crate) use device::Device;
pub(crate) use mount::Mount;
pub(crate) use path::Path;
pub(crate) use process::Runs;
pub(crate) use scope::Scope;
pub(crate) use service::{Service, ServiceResult};
pub(crate) use socket::Socket;
pub(crate) use swap::Swap;
pub(crate) use timer::Timer;

use serde::{Deserialize, Serialize};

use crate::graph::Graph;
use crate::saved::{nobody, word};
use crate::{
    Action, ActiveState, ConnectionId, ExitStatus, Host, Level, LoadState, Notify, Pid, SpawnToken, Stamp,
    Unit, UnitName, Usec, World,
};

/// One of systemd's words, for a state or for how it came out.
pub(crate) type Word = &'static str;

/// What the machines have in common. What a kind has no use for, it leaves out.
pub(crate) trait Life {
    /// When `elapsed` must be called.
    fn deadline(&self) -> Option<Usec> {
        None
    }
    /// The main and the control process.
    fn pids(&self) -> (Option<Pid>, Option<Pid>) {
        (None, None)
    }
    fn can_reload(&self, _unit: &Unit) -> bool {
        false
    }
    fn start(&mut self, stage: &mut Stage<'_>) -> Step;
    fn stop(&mut self, stage: &mut Stage<'_>, for_restart: bool) -> Step;
    fn reload(&mut self, _stage: &mut Stage<'_>) -> Step {
        Step::Unsupported
    }
    /// A process that was asked for is there, or could not be made.
    fn spawned(&mut self, _stage: &mut Stage<'_>, _token: SpawnToken, _outcome: Result<Pid, String>) {}
    /// It has executed its program.
    fn executed(&mut self, _stage: &mut Stage<'_>, _token: SpawnToken) {}
    fn exited(&mut self, _stage: &mut Stage<'_>, _pid: Pid, _status: ExitStatus) {}
    fn notified(&mut self, _stage: &mut Stage<'_>, _pid: Pid, _message: &Notify) {}
    fn cgroup_empty(&mut self, _stage: &mut Stage<'_>) {}
    fn elapsed(&mut self, _stage: &mut Stage<'_>) {}
    fn reset_failed(&mut self, _stage: &mut Stage<'_>) {}
    /// It failed before it could be tried: the start limit was hit.
    fn hit_start_limit(&mut self, _stage: &mut Stage<'_>) {}
    /// The unit that this one triggers has changed, or its job is over.
    fn peer_changed(&mut self, _stage: &mut Stage<'_>) {}
    /// The unit that this one triggers could not be started.
    fn wish_refused(&mut self, _stage: &mut Stage<'_>, _connection: Option<ConnectionId>) {}
}

/// What came of a start, stop or reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is under way, or done already.
    Begun,
    /// Not now: try again when the unit's state changes.
    Later,
    /// This kind of unit cannot.
    Unsupported,
    /// It cannot even begin: why is in the log.
    Failed,
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

/// A unit is to start because of another one.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) by: UnitName,
    pub(crate) unit: UnitName,
    /// The connection that the unit is to serve.
    pub(crate) connection: Option<ConnectionId>,
}

/// What a triggering unit may know of the one that it triggers.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) name: UnitName,
    pub(crate) load: LoadState,
    pub(crate) active: ActiveState,
    pub(crate) sub: &'static str,
    pub(crate) has_job: bool,
    pub(crate) has_start_job: bool,
    pub(crate) start_limit_hit: bool,
    pub(crate) inactive_exit: Stamp,
    pub(crate) inactive_enter: Stamp,
}

/// Counts in a window of time that begins with the first event after the last one is over.
pub(crate) fn is_below(window: &mut (Usec, u32), interval: Usec, burst: u32, now: Usec) -> bool {
    let (began, count) = *window;
    if count == 0 || began.saturating_add(interval) <= now {
        *window = (now, 1);
        return true;
    }
    window.1 = count.saturating_add(1);
    count < burst
}

/// What machines leave for the engine.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) actions: Vec<Action>,
    pub(crate) changes: VecDeque<Change>,
    /// Units whose RestartSec= is over.
    pub(crate) restarts: VecDeque<UnitName>,
    /// Units that others want to start.
    pub(crate) wishes: VecDeque<Wish>,
    /// Units that others want to stop.
    pub(crate) stops: VecDeque<UnitName>,
    pub(crate) pids: BTreeMap<Pid, UnitName>,
    pub(crate) last_token: u64,
}

/// What every unit in memory has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Base {
    /// What its files say, which are read again: it is not part of the saved state.
    #[serde(skip, default = "nobody")]
    pub(crate) unit: Arc<Unit>,
    pub(crate) active: ActiveState,
    #[serde(deserialize_with = "word")]
    pub(crate) sub: Word,
    #[serde(default)]
    pub(crate) state_change: Stamp,
    #[serde(default)]
    pub(crate) inactive_exit: Stamp,
    #[serde(default)]
    pub(crate) active_enter: Stamp,
    #[serde(default)]
    pub(crate) active_exit: Stamp,
    #[serde(default)]
    pub(crate) inactive_enter: Stamp,
    #[serde(default)]
    pub(crate) invocation_id: String,
    /// It was asked for by a first `Spawn` or a starting slice.
    #[serde(default)]
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
    pub(crate) graph: &'a Graph,
    /// What this unit triggers.
    pub(crate) peer: Option<Peer>,
    /// A stop of this unit is queued.
    pub(crate) stop_pending: bool,
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

    pub(crate) fn new_invocation(&mut self) {
        self.base.invocation_id = format!("{:032x}", self.world.probe.random_id());
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
