//! Running jobs and ending them.

use super::{Engine, Machine};
use crate::condition;
use crate::job::Job;
use crate::machine::{Step, is_below};
use crate::settings::ServiceType;
use crate::unit::EmergencyAction;
use crate::{
    Action, ActiveState, Dependency, INFINITY, JobId, JobKind, JobMode, JobResult, JobState, Level,
    LoadState, Shutdown, Stamp, UnitName, UnitType, Usec, World,
};

/// What running a job came to.
enum Ran {
    /// The unit is on its way.
    Begun,
    /// Not yet.
    Wait,
    /// At its end.
    Done(JobResult),
}

impl Engine {
    pub(super) fn run(&mut self, id: JobId, world: &World<'_>) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.state == JobState::Running {
            return;
        }
        let (unit, kind) = (job.unit.clone(), job.kind);
        if let Some(first) = self.goes_first(job).cloned() {
            self.held_back.entry(first).or_default().insert(id);
            return;
        }
        self.set_running(id, Some(world.now));
        let ran = match kind {
            JobKind::Start => self.start_unit(&unit, world),
            JobKind::VerifyActive => match self.active(&unit) {
                state if state.is_up() => Ran::Done(JobResult::Done),
                ActiveState::Activating => Ran::Wait,
                _ => Ran::Done(JobResult::Skipped),
            },
            JobKind::Stop | JobKind::Restart => self.stop_unit(&unit, kind, world),
            JobKind::Reload => self.reload_unit(&unit, world),
            JobKind::Nop => Ran::Done(JobResult::Done),
        };
        match ran {
            Ran::Begun => {}
            Ran::Wait => self.set_running(id, None),
            Ran::Done(result) => self.finish(id, result, true, world),
        }
    }

    fn set_running(&mut self, id: JobId, started: Option<Usec>) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = if started.is_some() { JobState::Running } else { JobState::Waiting };
            job.started = started;
        }
    }

    /// A unit whose job goes before this one, by their order. Stopping goes before starting, and backwards.
    fn goes_first(&self, job: &Job) -> Option<&UnitName> {
        if job.ignore_order {
            return None;
        }
        let other =
            |name: &UnitName| self.job_of(name).filter(|other| !other.ignore_order).map(|other| other.kind);
        // whoever is before us goes first, unless we stop and it does not; the last of them is told, for jobs begin
        // and often end in the order of their names
        let mut after = self.graph.each(&job.unit, Dependency::After).rev();
        if !job.kind.stops()
            && let Some(name) = after.find(|name| other(name).is_some())
        {
            return Some(name);
        }
        // whoever is after us goes first if it stops
        let mut before = self.graph.each(&job.unit, Dependency::Before).rev();
        before.find(|name| other(name).is_some_and(JobKind::stops))
    }

    fn start_unit(&mut self, name: &UnitName, world: &World<'_>) -> Ran {
        let Some(entry) = self.entries.get(name) else { return Ran::Done(JobResult::Invalid) };
        let unit = entry.base.unit.clone();
        let state = entry.base.active;
        if state.is_up() {
            return Ran::Done(JobResult::Done);
        }
        if unit.load != LoadState::Loaded {
            return Ran::Done(JobResult::Invalid);
        }
        if state.is_down()
            && let Some(result) = self.checks(name, world)
        {
            return Ran::Done(result);
        }
        let bound = self.graph.of(name, &[Dependency::BindsTo]);
        let unbound = bound
            .iter()
            .find(|other| self.graph.has(name, Dependency::After, other) && !self.active(other).is_up());
        if let Some(other) = unbound {
            let message = format!("Bound to unit {other}, but unit isn't active.");
            self.log(Some(name.clone()), Level::Notice, message);
            return Ran::Done(JobResult::Dependency);
        }
        let fresh = state.is_down();
        if fresh && let Some(entry) = self.entries.get_mut(name) {
            entry.start_limit_hit = false;
        }
        if fresh && has_start_limit(name.unit_type()) && !self.within_start_limit(name, world.now) {
            let message = format!("{name}: Start request repeated too quickly.");
            self.log(Some(name.clone()), Level::Warning, message);
            self.with(name, world, |entry, stage| {
                entry.start_limit_hit = true;
                entry.life().hit_start_limit(stage);
            });
            self.emergency(unit.start_limit_action, name, world);
            return Ran::Done(JobResult::Failed);
        }
        let quiet = unit.service().is_some_and(|s| matches!(s.kind, ServiceType::Simple | ServiceType::Idle));
        if fresh && !quiet {
            self.announce_begin(name, JobKind::Start);
        }
        self.step(name, world, |entry, stage| entry.life().start(stage))
    }

    fn step(
        &mut self,
        name: &UnitName,
        world: &World<'_>,
        act: impl FnOnce(&mut super::Entry, &mut crate::machine::Stage<'_>) -> Step,
    ) -> Ran {
        match self.with(name, world, act) {
            Some(Step::Begun) => Ran::Begun,
            Some(Step::Later) => Ran::Wait,
            Some(Step::Unsupported) => Ran::Done(JobResult::Unsupported),
            Some(Step::Failed) => Ran::Done(JobResult::Failed),
            None => Ran::Done(JobResult::Invalid),
        }
    }

    /// Conditions and assertions; `None` if all hold.
    fn checks(&mut self, name: &UnitName, world: &World<'_>) -> Option<JobResult> {
        let unit = self.entries.get(name)?.base.unit.clone();
        let stamp = Stamp { realtime: world.realtime, monotonic: world.now };
        let conditions = condition::hold(&unit.conditions, &self.host, world.probe);
        if let Some(entry) = self.entries.get_mut(name) {
            entry.condition = (stamp, conditions.is_ok());
        }
        if let Err(check) = conditions {
            let message = format!(
                "{} was skipped because of an unmet condition check (Condition{}={}{}{}).",
                unit.description,
                check.name,
                if check.trigger { "|" } else { "" },
                if check.negate { "!" } else { "" },
                check.parameter
            );
            self.log(Some(name.clone()), Level::Info, message);
            return Some(JobResult::Skipped);
        }
        let asserts = condition::hold(&unit.asserts, &self.host, world.probe);
        if let Some(entry) = self.entries.get_mut(name) {
            entry.assertion = (stamp, asserts.is_ok());
        }
        if let Err(check) = asserts {
            let message = format!("Starting {name} failed: Assert{} not met.", check.name);
            self.log(Some(name.clone()), Level::Error, message);
            return Some(JobResult::Assert);
        }
        None
    }

    fn within_start_limit(&mut self, name: &UnitName, now: Usec) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return true };
        let (interval, burst) = (entry.base.unit.start_limit_interval, entry.base.unit.start_limit_burst);
        if interval == 0 || burst == 0 {
            return true;
        }
        is_below(&mut entry.window, interval, burst, now)
    }

    fn stop_unit(&mut self, name: &UnitName, kind: JobKind, world: &World<'_>) -> Ran {
        if self.active(name).is_down() {
            return Ran::Done(JobResult::Done);
        }
        let awaits_restart = self.entries.get(name).is_some_and(|entry| entry.base.sub == "auto-restart");
        if self.active(name) != ActiveState::Deactivating && !awaits_restart {
            self.announce_begin(name, JobKind::Stop);
        }
        self.step(name, world, |entry, stage| entry.life().stop(stage, kind == JobKind::Restart))
    }

    fn reload_unit(&mut self, name: &UnitName, world: &World<'_>) -> Ran {
        match self.active(name) {
            ActiveState::Reloading | ActiveState::Activating => return Ran::Wait,
            ActiveState::Active => {}
            _ => return Ran::Done(JobResult::Invalid),
        }
        if !self.can(name, JobKind::Reload) {
            return Ran::Done(JobResult::Invalid);
        }
        self.announce_begin(name, JobKind::Reload);
        self.step(name, world, |entry, stage| entry.life().reload(stage))
    }

    /// Ends a job. `recursive`: what needs it fails along.
    pub(super) fn finish(&mut self, id: JobId, result: JobResult, recursive: bool, world: &World<'_>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (unit, kind) = (job.unit.clone(), job.kind);
        if result == JobResult::Done && kind == JobKind::Restart {
            // the first half is over
            job.kind = JobKind::Start;
            job.state = JobState::Waiting;
            job.started = None;
            return self.wake_after(&unit);
        }
        self.take_out(id, result);
        if recursive && result != JobResult::Done {
            match kind {
                JobKind::Start | JobKind::VerifyActive
                    if result != JobResult::Skipped || kind != JobKind::Start =>
                {
                    let kinds = [Dependency::RequiredBy, Dependency::RequisiteOf, Dependency::BoundBy];
                    self.fail_dependents(&unit, &kinds, world);
                }
                JobKind::Stop => self.fail_dependents(&unit, &[Dependency::ConflictedBy], world),
                _ => {}
            }
        }
        // a start that was merged with a verification must not let it pass
        if result == JobResult::Done && kind == JobKind::Start && self.active(&unit).is_down() {
            self.fail_dependents(&unit, &[Dependency::RequisiteOf], world);
        }
        let failed = matches!(result, JobResult::Timeout | JobResult::Dependency | JobResult::Failed);
        if failed && kind == JobKind::Start && result != JobResult::Failed {
            self.trigger(&unit, Dependency::OnFailure, world);
        }
        self.conclude(&unit, world);
    }

    /// Takes a job out of memory and tells those who asked for it.
    pub(super) fn take_out(&mut self, id: JobId, result: JobResult) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let unit = job.unit;
        if let Some(entry) = self.entries.get_mut(&unit) {
            entry.job = None;
        }
        self.announce_end(&unit, job.kind, result);
        let requests = job.requests.into_iter().collect();
        self.fx.actions.push(Action::JobDone { job: id, requests, unit, result });
    }

    /// What follows for others from the end of a unit's job.
    pub(super) fn conclude(&mut self, unit: &UnitName, world: &World<'_>) {
        // while there was a job, it might have brought what others are bound to
        self.bound.insert(unit.clone());
        self.bound.extend(self.graph.of(unit, &[Dependency::BoundBy]));
        self.with(unit, world, |entry, stage| {
            if let Machine::Service(service) = &mut entry.machine {
                service.job_is_over(stage);
            }
        });
        self.tell_triggers(unit, world);
        self.let_go(unit, world);
        self.wake_after(unit);
        self.fx.actions.push(Action::Changed { unit: unit.clone() });
    }

    fn fail_dependents(&mut self, unit: &UnitName, kinds: &[Dependency], world: &World<'_>) {
        for other in self.graph.of(unit, kinds) {
            let job =
                self.job_of(&other).filter(|job| matches!(job.kind, JobKind::Start | JobKind::VerifyActive));
            if let Some(id) = job.map(|job| job.id) {
                self.finish(id, JobResult::Dependency, true, world);
            }
        }
    }

    /// The earliest time at which a job runs out of time.
    pub(super) fn job_deadline(&self) -> Option<Usec> {
        self.jobs.values().filter_map(|job| self.expires(job)).min()
    }

    fn expires(&self, job: &crate::job::Job) -> Option<Usec> {
        let unit = &self.entries.get(&job.unit)?.base.unit;
        let at = |from: Option<Usec>, time: Usec| {
            from.filter(|_| time != INFINITY).map(|from| from.saturating_add(time))
        };
        [at(Some(job.queued), unit.job_timeout), at(job.started, unit.job_running_timeout)]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn expire_jobs(&mut self, world: &World<'_>) {
        let due: Vec<(JobId, UnitName)> = self
            .jobs
            .values()
            .filter(|job| self.expires(job).is_some_and(|at| at <= world.now))
            .map(|job| (job.id, job.unit.clone()))
            .collect();
        for (id, unit) in due {
            self.finish(id, JobResult::Timeout, true, world);
            let Some(definition) = self.entries.get(&unit).map(|entry| entry.base.unit.clone()) else {
                continue;
            };
            let argument = definition.job_timeout_reboot_argument.as_deref();
            self.emergency_with(definition.job_timeout_action, &unit, argument, world);
        }
    }

    /// FailureAction= and its kin, with RebootArgument=.
    pub(super) fn emergency(&mut self, action: EmergencyAction, unit: &UnitName, world: &World<'_>) {
        let definition = self.entries.get(unit).map(|entry| entry.base.unit.clone());
        let argument = definition.as_ref().and_then(|unit| unit.reboot_argument.as_deref());
        self.emergency_with(action, unit, argument, world);
    }

    fn emergency_with(
        &mut self,
        action: EmergencyAction,
        unit: &UnitName,
        argument: Option<&str>,
        world: &World<'_>,
    ) {
        let reboots = matches!(
            action,
            EmergencyAction::Orderly(Shutdown::Reboot)
                | EmergencyAction::Force(Shutdown::Reboot)
                | EmergencyAction::Immediate(Shutdown::Reboot)
        );
        if let Some(argument) = argument.filter(|_| reboots) {
            self.fx.actions.push(Action::RebootArgument(argument.to_owned()));
        }
        match action {
            EmergencyAction::None => {}
            EmergencyAction::Force(how) | EmergencyAction::Immediate(how) => {
                self.log(Some(unit.clone()), Level::Notice, format!("{unit}: going down: {how:?}."));
                self.fx.actions.push(Action::Shutdown(how));
            }
            EmergencyAction::Orderly(how) => {
                let target = match how {
                    Shutdown::PowerOff => "poweroff.target",
                    Shutdown::Reboot => "reboot.target",
                    Shutdown::Halt => "halt.target",
                    Shutdown::Kexec => "kexec.target",
                    Shutdown::Exit(_) => "exit.target",
                };
                if let Ok(target) = UnitName::parse(target) {
                    self.enqueue(JobKind::Start, &target, JobMode::ReplaceIrreversibly, world);
                }
            }
        }
    }
}

/// What can fail to start can do so too often.
fn has_start_limit(kind: UnitType) -> bool {
    !matches!(kind, UnitType::Target | UnitType::Slice | UnitType::Scope | UnitType::Device)
}
