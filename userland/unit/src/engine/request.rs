//! Requests: from somebody's wish, or the engine's own, to installed jobs.

use std::collections::BTreeSet;

use super::Engine;
use crate::job::Job;
use crate::transaction::{Plan, Wish};
use crate::{
    Action, ActiveState, JobId, JobKind, JobMode, JobResult, JobState, Level, LoadState, RequestError,
    RequestId, UnitName, Verb, World,
};

impl Engine {
    pub(super) fn request(
        &mut self,
        id: RequestId,
        verb: Verb,
        unit: &UnitName,
        mode: JobMode,
        world: &World<'_>,
    ) {
        if unit.is_template() {
            let error = RequestError::Template(unit.clone());
            return self.fx.actions.push(Action::Refused { id, error });
        }
        let unit = self.bring_in(unit, world);
        let outcome = self.allowed(verb, &unit).and_then(|()| {
            let kind = self.kind_of(verb, &unit);
            match kind {
                JobKind::Nop => {
                    self.nop(id, &unit);
                    Ok(())
                }
                _ => self.plan(kind, &unit, mode, Some(id), world),
            }
        });
        if let Err(error) = outcome {
            self.fx.actions.push(Action::Refused { id, error });
        }
    }

    /// The engine's own wish. Failure is logged.
    pub(super) fn enqueue(
        &mut self,
        kind: JobKind,
        unit: &UnitName,
        mode: JobMode,
        world: &World<'_>,
    ) -> bool {
        let unit = self.bring_in(unit, world);
        match self.plan(kind, &unit, mode, None, world) {
            Ok(()) => true,
            Err(error) => {
                let message = format!("Failed to enqueue {} job for {unit}: {error}", kind.as_str());
                self.log(Some(unit), Level::Warning, message);
                false
            }
        }
    }

    fn allowed(&self, verb: Verb, unit: &UnitName) -> Result<(), RequestError> {
        let Some(entry) = self.entries.get(unit) else { return Err(RequestError::NotFound(unit.clone())) };
        let definition = &entry.base.unit;
        let gone = definition.load == LoadState::NotFound && entry.base.active == ActiveState::Inactive;
        if gone && matches!(verb, Verb::Stop | Verb::TryRestart | Verb::ReloadOrTryRestart) {
            return Err(RequestError::NotFound(unit.clone()));
        }
        let starts = !matches!(verb, Verb::Stop | Verb::Reload | Verb::VerifyActive);
        let stops = matches!(verb, Verb::Stop | Verb::Restart | Verb::TryRestart);
        if (starts && definition.refuse_manual_start) || (stops && definition.refuse_manual_stop) {
            return Err(RequestError::OnlyByDependency(unit.clone()));
        }
        Ok(())
    }

    /// What the verb comes to for a unit in its state.
    fn kind_of(&self, verb: Verb, unit: &UnitName) -> JobKind {
        let down = matches!(
            self.active(unit),
            ActiveState::Inactive | ActiveState::Failed | ActiveState::Deactivating
        );
        let reloads = self.can(unit, JobKind::Reload);
        match verb {
            Verb::Start => JobKind::Start,
            Verb::Stop => JobKind::Stop,
            Verb::Reload => JobKind::Reload,
            Verb::Restart => JobKind::Restart,
            Verb::VerifyActive => JobKind::VerifyActive,
            Verb::TryRestart | Verb::ReloadOrTryRestart if down => JobKind::Nop,
            Verb::TryRestart => JobKind::Restart,
            Verb::ReloadOrTryRestart | Verb::ReloadOrRestart if !reloads => JobKind::Restart,
            Verb::ReloadOrRestart if down => JobKind::Start,
            Verb::ReloadOrTryRestart | Verb::ReloadOrRestart => JobKind::Reload,
        }
    }

    fn next_job(&mut self) -> JobId {
        self.last_job = self.last_job.wrapping_add(1).max(1);
        JobId(self.last_job)
    }

    fn nop(&mut self, id: RequestId, unit: &UnitName) {
        let job = self.next_job();
        self.fx.actions.push(Action::JobQueued { job, request: Some(id), unit: unit.clone() });
        let done = Action::JobDone { job, requests: vec![id], unit: unit.clone(), result: JobResult::Done };
        self.fx.actions.push(done);
    }

    fn plan(
        &mut self,
        kind: JobKind,
        unit: &UnitName,
        mode: JobMode,
        request: Option<RequestId>,
        world: &World<'_>,
    ) -> Result<(), RequestError> {
        let mut notes = Vec::new();
        let plan = Plan::make(self, Wish { kind, unit, mode }, &mut notes);
        for (unit, message) in notes {
            self.log(Some(unit), Level::Warning, message);
        }
        let plan = plan?;
        if matches!(mode, JobMode::Isolate | JobMode::Flush) {
            let kept: BTreeSet<&UnitName> = plan.iter().map(|planned| &planned.unit).collect();
            let others: Vec<JobId> =
                self.jobs.values().filter(|job| !kept.contains(&job.unit)).map(|job| job.id).collect();
            for job in others {
                self.finish(job, JobResult::Canceled, false, world);
            }
        }
        for planned in plan {
            let request = request.filter(|_| planned.anchor);
            let job = Job {
                id: JobId(0),
                unit: planned.unit,
                kind: planned.kind,
                state: JobState::Waiting,
                requests: request.into_iter().collect(),
                irreversible: mode == JobMode::ReplaceIrreversibly,
                ignore_order: mode == JobMode::IgnoreDependencies,
                queued: world.now,
                started: None,
            };
            self.install(job, world);
        }
        Ok(())
    }

    /// Puts a job in: it becomes part of the unit's job, or takes its place.
    fn install(&mut self, mut job: Job, world: &World<'_>) {
        let state = self.active(&job.unit);
        let unit = job.unit.clone();
        let old = self.job_of(&unit).map(|old| old.id);
        if let Some(old) = old {
            let Some(installed) = self.jobs.get_mut(&old) else { return };
            match installed.kind.merge(job.kind, state) {
                Some(kind) => {
                    let covered = kind == installed.kind && job.kind != JobKind::Reload;
                    if installed.state == JobState::Running && !covered {
                        installed.state = JobState::Waiting;
                        installed.started = None;
                    }
                    installed.kind = kind;
                    installed.irreversible |= job.irreversible;
                    installed.ignore_order |= job.ignore_order;
                    installed.requests.extend(&job.requests);
                    for request in std::mem::take(&mut job.requests) {
                        let queued =
                            Action::JobQueued { job: old, request: Some(request), unit: unit.clone() };
                        self.fx.actions.push(queued);
                    }
                    self.queue.insert(old);
                    self.wake_after(&unit);
                    return;
                }
                None => self.take_out(old, JobResult::Canceled),
            }
        }
        job.id = self.next_job();
        let id = job.id;
        let request = job.requests.first().copied();
        self.jobs.insert(id, job);
        if let Some(entry) = self.entries.get_mut(&unit) {
            entry.job = Some(id);
        }
        self.fx.actions.push(Action::JobQueued { job: id, request, unit: unit.clone() });
        self.queue.insert(id);
        if old.is_some() {
            self.conclude(&unit, world);
        }
    }

    /// Something happened to a unit or to its job: looks again at that job and at those that it held back.
    pub(super) fn wake_after(&mut self, unit: &UnitName) {
        let own = self.job_of(unit).filter(|job| job.state == JobState::Waiting).map(|job| job.id);
        self.queue.extend(own);
        self.queue.extend(self.held_back.remove(unit).into_iter().flatten());
    }

    /// Looks at every job again.
    pub(super) fn wake(&mut self) {
        self.held_back.clear();
        let waiting = self.jobs.values().filter(|job| job.state == JobState::Waiting).map(|job| job.id);
        self.queue.extend(waiting);
    }
}
