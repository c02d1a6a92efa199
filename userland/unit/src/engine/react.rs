//! Conclusions from what a unit did: for its job, and for the units tied to it.

use super::Engine;
use super::Machine;
use crate::machine::{Change, is_below};
use crate::{
    Action, ActiveState, Dependency, JobKind, JobMode, JobResult, JobState, Level, LoadState, UnitName, World,
};

/// The engine's own wishes for one unit: so many in so long, then it is left alone. systemd's figures.
const OWN_INTERVAL: crate::Usec = 10_000_000;
const OWN_BURST: u32 = 16;

impl Engine {
    pub(super) fn react(&mut self, change: &Change, world: &World<'_>) {
        let unit = &change.unit;
        self.fx.actions.push(Action::Changed { unit: unit.clone() });
        let expected = self.advance_job(change, world);
        self.tell_triggers(unit, world);
        let (from, to) = (change.from, change.to);
        if from != to {
            if !expected {
                self.follow(change, world);
            }
            if to == ActiveState::Failed && !change.will_restart {
                self.trigger(unit, Dependency::OnFailure, world);
                let action = self.entries.get(unit).map(|entry| entry.base.unit.failure_action);
                self.emergency(action.unwrap_or_default(), unit, world);
            }
            if to == ActiveState::Inactive && !from.is_down() && !change.will_restart {
                self.trigger(unit, Dependency::OnSuccess, world);
                let action = self.entries.get(unit).map(|entry| entry.base.unit.success_action);
                self.emergency(action.unwrap_or_default(), unit, world);
            }
            if to.is_down() {
                if !change.will_restart {
                    self.let_go(unit, world);
                }
                self.drop_unneeded(unit, world);
                self.uphold(unit, &[Dependency::UpheldBy], world);
            }
            if to.is_up() {
                self.bound.insert(unit.clone());
                for other in self.graph.of(unit, &[Dependency::Upholds]) {
                    self.uphold(&other, &[Dependency::UpheldBy], world);
                }
            }
        }
        self.wake_after(unit);
    }

    /// Moves the unit's job along. `false` if no job wanted this change.
    fn advance_job(&mut self, change: &Change, world: &World<'_>) -> bool {
        let Some(job) = self.job_of(&change.unit) else { return false };
        let (id, to) = (job.id, change.to);
        let running = job.state == JobState::Running;
        let skipped = self.entries.get(&change.unit).is_some_and(|entry| entry.was_skipped());
        let result_of = |state: ActiveState| match state {
            ActiveState::Failed => JobResult::Failed,
            _ if skipped => JobResult::Skipped,
            _ => JobResult::Done,
        };
        let (result, expected) = match job.kind {
            JobKind::Start | JobKind::VerifyActive => match to {
                _ if to.is_up() => (Some(JobResult::Done), true),
                ActiveState::Activating => (None, true),
                _ if running && to.is_down() => (Some(result_of(to)), false),
                _ => (None, !running),
            },
            JobKind::Reload if running => match to {
                ActiveState::Active if change.from == ActiveState::Reloading && change.reload_failed => {
                    (Some(JobResult::Failed), true)
                }
                ActiveState::Active => (Some(JobResult::Done), true),
                ActiveState::Activating | ActiveState::Reloading => (None, true),
                _ if to.is_down() => (Some(result_of(to)), false),
                _ => (None, false),
            },
            JobKind::Stop | JobKind::Restart => match to {
                _ if to.is_down() => (Some(JobResult::Done), true),
                // it has come back to life under a running stop
                _ if running && to != ActiveState::Deactivating => (Some(JobResult::Failed), false),
                _ => (None, true),
            },
            _ => (None, true),
        };
        if let Some(result) = result {
            self.finish(id, result, true, world);
        }
        expected
    }

    /// Nobody asked for the change: what the unit needs follows it up, what needs it follows it down.
    fn follow(&mut self, change: &Change, world: &World<'_>) {
        use Dependency::{
            After, BindsTo, BoundBy, ConflictedBy, Conflicts, PropagatesStopTo, Requires, Upholds, Wants,
        };
        let unit = &change.unit;
        let rises = |state: ActiveState| state.is_up() || state == ActiveState::Activating;
        if !rises(change.from) && rises(change.to) {
            for (kinds, mode) in
                [(&[Requires, BindsTo, Upholds][..], JobMode::Replace), (&[Wants][..], JobMode::Fail)]
            {
                for other in self.graph.of(unit, kinds) {
                    let loaded =
                        self.entries.get(&other).is_some_and(|e| e.base.unit.load == LoadState::Loaded);
                    if loaded && !self.graph.has(unit, After, &other) && !rises(self.active(&other)) {
                        self.enqueue_own(JobKind::Start, &other, mode, world);
                    }
                }
            }
            for other in self.graph.of(unit, &[Conflicts, ConflictedBy]) {
                if !self.active(&other).is_down() {
                    self.enqueue_own(JobKind::Stop, &other, JobMode::Replace, world);
                }
            }
        }
        if rises(change.from) && !rises(change.to) {
            for other in self.graph.of(unit, &[BoundBy, PropagatesStopTo]) {
                if !self.active(&other).is_down() {
                    self.enqueue_own(JobKind::Stop, &other, JobMode::Replace, world);
                }
            }
        }
    }

    /// OnFailure=, OnSuccess=.
    pub(super) fn trigger(&mut self, unit: &UnitName, kind: Dependency, world: &World<'_>) {
        let Some(entry) = self.entries.get(unit) else { return };
        let mode = match kind {
            Dependency::OnFailure => entry.base.unit.on_failure_mode,
            _ => entry.base.unit.on_success_mode,
        };
        let others = self.graph.of(unit, &[kind]);
        if !others.is_empty() {
            let message = format!("{unit}: Triggering {}= dependencies.", kind.as_str());
            self.log(Some(unit.clone()), Level::Info, message);
        }
        for other in others {
            self.enqueue_own(JobKind::Start, &other, mode, world);
        }
    }

    /// Queues a job that nobody asked for, unless that comes to a quarrel of units.
    fn enqueue_own(&mut self, kind: JobKind, unit: &UnitName, mode: JobMode, world: &World<'_>) {
        let Some(entry) = self.entries.get_mut(unit) else { return };
        if is_below(&mut entry.own_window, OWN_INTERVAL, OWN_BURST, world.now) {
            self.enqueue(kind, unit, mode, world);
        } else if entry.own_window.1 == OWN_BURST + 1 {
            let message =
                format!("{unit}: started and stopped by other units too often, leaving it as it is.");
            self.log(Some(unit.clone()), Level::Warning, message);
        }
    }

    /// A bound unit must not be up without what it is bound to.
    pub(super) fn keep_bound(&mut self, unit: &UnitName, world: &World<'_>) {
        if !self.active(unit).is_up() {
            return;
        }
        let lost = self.graph.of(unit, &[Dependency::BindsTo]).into_iter().find(|other| {
            self.graph.has(unit, Dependency::After, other)
                && self.active(other).is_down()
                && self.job_of(other).is_none()
        });
        if let Some(other) = lost.filter(|_| self.job_of(unit).is_none()) {
            self.log(
                Some(unit.clone()),
                Level::Info,
                format!("{unit}: Unit is bound to inactive unit {other}. Stopping, too."),
            );
            self.enqueue_own(JobKind::Stop, unit, JobMode::Replace, world);
        }
    }

    /// StopWhenUnneeded= of what the unit needed.
    fn drop_unneeded(&mut self, unit: &UnitName, world: &World<'_>) {
        use Dependency::{
            BindsTo, BoundBy, RequiredBy, Requires, Requisite, RequisiteOf, UpheldBy, Upholds, WantedBy,
            Wants,
        };
        for other in self.graph.of(unit, &[Requires, Requisite, Wants, BindsTo, Upholds]) {
            let Some(entry) = self.entries.get(&other) else { continue };
            if !entry.base.unit.stop_when_unneeded || !entry.base.active.is_up() || entry.job.is_some() {
                continue;
            }
            let users = self.graph.of(&other, &[RequiredBy, RequisiteOf, WantedBy, BoundBy, UpheldBy]);
            let needed = users.iter().any(|user| !self.active(user).is_down() || self.job_of(user).is_some());
            if !needed {
                self.log(
                    Some(other.clone()),
                    Level::Info,
                    format!("{other}: Unit not needed anymore. Stopping."),
                );
                self.enqueue_own(JobKind::Stop, &other, JobMode::Fail, world);
            }
        }
    }

    /// Upholds=: start it again while its upholder is up. The start limit ends a hopeless case.
    fn uphold(&mut self, unit: &UnitName, kinds: &[Dependency], world: &World<'_>) {
        if !self.active(unit).is_down() || self.job_of(unit).is_some() {
            return;
        }
        let held = self
            .graph
            .of(unit, kinds)
            .into_iter()
            .any(|other| self.active(&other).is_up() && self.job_of(&other).is_none());
        let limit_left = self.entries.get(unit).is_some_and(|entry| {
            let burst = entry.base.unit.start_limit_burst;
            burst == 0 || entry.window.1 <= burst
        });
        if held && limit_left {
            self.enqueue_own(JobKind::Start, unit, JobMode::Fail, world);
        }
    }

    /// RestartSec= is over.
    pub(super) fn auto_restart(&mut self, unit: &UnitName, world: &World<'_>) {
        let stopping = self.job_of(unit).is_some_and(|job| job.kind == JobKind::Stop);
        let queued = !stopping && self.enqueue(JobKind::Restart, unit, JobMode::Replace, world);
        self.with(unit, world, |entry, stage| {
            let Machine::Service(service) = &mut entry.machine else { return };
            match (queued, stopping) {
                (true, _) => service.restart_queued(stage),
                (false, true) => service.restart_postponed(stage),
                (false, false) => service.restart_refused(stage),
            }
        });
    }
}
