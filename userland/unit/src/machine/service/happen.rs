//! What happens to a service: exits, messages, time.

use super::{Service, ServiceResult, State, Told, result, settings};
use crate::machine::Stage;
use crate::machine::kill::Force;
use crate::settings::{NotifyAccess, OomPolicy, ServiceType, TimeoutMode};
use crate::{Action, ExitStatus, INFINITY, Level, Notify, Pid, Role};

/// How a descriptor without FDNAME= is called.
const STORED: &str = "stored";

impl Service {
    pub(super) fn ended(&mut self, stage: &mut Stage<'_>, pid: Pid, status: ExitStatus) {
        if self.main.as_ref().is_some_and(|main| main.is(pid)) {
            self.main_exited(stage, status);
        } else if self.control.as_ref().is_some_and(|control| control.is(pid)) {
            self.control_exited(stage, status);
        }
    }

    fn main_exited(&mut self, stage: &mut Stage<'_>, status: ExitStatus) {
        let Some(main) = self.main.take() else { return };
        let settings = settings(stage);
        let mut outcome = ServiceResult::of(status, result::is_daemon(&settings), &settings.success);
        self.main_exit = stage.stamp();
        self.main_status = Some(status);
        self.main_ended = main.pid;
        // One that the service made itself is the run of no command line.
        if main.token.is_some()
            && let Some(run) = self.runs.get_mut(main.line)
        {
            run.exit = stage.stamp();
            run.status = Some(status);
        }
        let level = if outcome == ServiceResult::Success { Level::Debug } else { Level::Notice };
        let message = format!("{}: Main process exited, {}", stage.name(), result::describe(status));
        stage.log(level, message);
        if main.ignore_failure {
            outcome = ServiceResult::Success;
        }
        self.fail(outcome);
        let (_, index) = main.line;
        let oneshot = settings.kind == ServiceType::Oneshot;
        let good = outcome == ServiceResult::Success;
        if oneshot && good && self.state == State::Start && index + 1 < settings.commands(Role::Start).len() {
            return self.run_next_main(stage, index + 1);
        }
        let alone = self.control.is_none();
        match self.state {
            // without control process these states could never end
            State::StartPost | State::Reload if alone => self.enter_stop(stage, outcome),
            State::Start if oneshot && good => self.enter_start_post(stage),
            State::Start if oneshot => self.give_up(stage, outcome),
            State::Start if settings.kind == ServiceType::Notify => {
                if !good {
                    self.give_up(stage, outcome);
                } else if !settings.remain_after_exit || settings.notify_access == NotifyAccess::Main {
                    self.give_up(stage, ServiceResult::Protocol);
                }
            }
            State::Start | State::Running => self.enter_running(stage, outcome),
            State::StopWatchdog | State::StopSigterm | State::StopSigkill if alone => {
                self.enter_stop_post(stage, outcome);
            }
            State::StopPost if alone => self.enter_signal(stage, State::FinalSigterm, outcome),
            State::FinalWatchdog | State::FinalSigterm | State::FinalSigkill if alone => {
                self.enter_dead(stage, outcome, true);
            }
            _ => {}
        }
    }

    fn control_exited(&mut self, stage: &mut Stage<'_>, status: ExitStatus) {
        let Some(control) = self.control.take() else { return };
        let settings = settings(stage);
        let (role, index) = control.line;
        let mut outcome = ServiceResult::of(status, false, &settings.success);
        if let Some(run) = self.runs.get_mut(control.line) {
            run.exit = stage.stamp();
            run.status = Some(status);
        }
        if control.ignore_failure {
            outcome = ServiceResult::Success;
        }
        let skips = matches!(status, ExitStatus::Code(code) if code < 255);
        if role == Role::Condition && outcome == ServiceResult::ExitCode && skips {
            outcome = ServiceResult::SkipCondition;
        }
        let level = if outcome == ServiceResult::Success { Level::Debug } else { Level::Notice };
        let message = format!("{}: Control process exited, {}", stage.name(), result::describe(status));
        stage.log(level, message);
        if self.state != State::Reload {
            self.fail(outcome);
        }
        let good = outcome == ServiceResult::Success;
        // a forking service's ExecStart is the only line of its kind
        if good && self.goes_on(role) {
            match self.run_control(stage, role, index + 1) {
                Ok(true) => {
                    let stopping = self.state.is_stopping();
                    let time = if stopping { settings.timeout_stop } else { settings.timeout_start };
                    return self.arm(stage, time);
                }
                Ok(false) => {}
                Err(why) => {
                    stage.log(Level::Warning, why);
                    outcome = ServiceResult::Resources;
                    self.fail(outcome);
                }
            }
        }
        self.control_done(stage, outcome);
    }

    /// The state is still the one that this directive belongs to.
    fn goes_on(&self, role: Role) -> bool {
        matches!(
            (self.state, role),
            (State::Condition, Role::Condition)
                | (State::StartPre, Role::StartPre)
                | (State::StartPost, Role::StartPost)
                | (State::Reload, Role::Reload)
                | (State::Stop, Role::Stop)
                | (State::StopPost, Role::StopPost)
        )
    }

    fn control_done(&mut self, stage: &mut Stage<'_>, outcome: ServiceResult) {
        let settings = settings(stage);
        let good = outcome == ServiceResult::Success;
        let main_gone = self.main.is_none();
        match self.state {
            State::Condition | State::StartPre | State::Start | State::StartPost if !good => {
                self.give_up(stage, outcome);
            }
            State::Condition => self.enter_start_pre(stage),
            State::StartPre => self.enter_start(stage),
            State::Start => match settings.pid_file {
                Some(_) if !self.load_pid_file(stage) && settings.commands(Role::StartPost).is_empty() => {
                    self.demand_pid_file(stage);
                }
                Some(_) => self.enter_start_post(stage),
                None => {
                    self.guess_main(stage);
                    self.enter_start_post(stage);
                }
            },
            State::StartPost => {
                if settings.pid_file.is_some() && main_gone && !self.load_pid_file(stage) {
                    self.demand_pid_file(stage);
                } else {
                    self.enter_running(stage, ServiceResult::Success);
                }
            }
            State::Reload => {
                if good && !self.load_pid_file(stage) {
                    self.guess_main(stage);
                }
                self.reload_result = outcome;
                self.enter_running(stage, ServiceResult::Success);
            }
            State::Stop => self.enter_signal(stage, State::StopSigterm, outcome),
            State::StopWatchdog | State::StopSigterm | State::StopSigkill if main_gone => {
                self.enter_stop_post(stage, outcome);
            }
            State::StopPost => self.enter_signal(stage, State::FinalSigterm, outcome),
            State::FinalWatchdog | State::FinalSigterm | State::FinalSigkill if main_gone => {
                self.enter_dead(stage, outcome, true);
            }
            _ => {}
        }
    }

    fn demand_pid_file(&mut self, stage: &mut Stage<'_>) {
        if stage.processes().is_empty() {
            return self.give_up(stage, ServiceResult::Protocol);
        }
        stage.log(Level::Debug, "Waiting for the PID file.");
        self.await_pid_file(stage);
    }

    pub(super) fn ran_empty(&mut self, stage: &mut Stage<'_>) {
        let none = self.main.is_none() && self.control.is_none();
        match self.state {
            State::Start | State::StartPost if none && self.pid_file_poll.is_some() => {
                self.give_up(stage, ServiceResult::Protocol);
            }
            State::Running if none => self.enter_running(stage, ServiceResult::Success),
            State::StopWatchdog | State::StopSigterm | State::StopSigkill if none => {
                self.enter_stop_post(stage, ServiceResult::Success);
            }
            State::StopPost | State::FinalWatchdog | State::FinalSigterm | State::FinalSigkill if none => {
                self.enter_dead(stage, ServiceResult::Success, true);
            }
            // what KillMode= had left behind is gone
            State::Dead | State::Failed | State::AutoRestart => stage.remove_cgroup(),
            _ => {}
        }
    }

    pub(super) fn time_is_up(&mut self, stage: &mut Stage<'_>) {
        let now = stage.now();
        let due = |timer: Option<u64>| timer.is_some_and(|at| at <= now);
        if due(self.pid_file_poll) {
            self.poll_pid_file(stage);
        }
        if due(self.watchdog_timer) {
            self.watchdog_timer = None;
            stage.log(Level::Error, "Watchdog timeout!");
            if matches!(self.state, State::Running | State::Start | State::StartPost | State::Reload) {
                self.enter_signal(stage, State::StopWatchdog, ServiceResult::Watchdog);
            }
        }
        if due(self.timer) {
            self.timer = None;
            self.timed_out(stage);
        }
    }

    fn timed_out(&mut self, stage: &mut Stage<'_>) {
        let settings = settings(stage);
        let timeout = ServiceResult::Timeout;
        let name = stage.name();
        if self.state != State::AutoRestart {
            let message = match self.state {
                State::Running => format!("{name}: Service reached runtime time limit. Stopping."),
                state => format!("{name}: State '{}' timed out.", state.sub()),
            };
            stage.log(Level::Warning, message);
        }
        match self.state {
            State::Condition | State::StartPre | State::Start | State::StartPost => {
                match (settings.timeout_start_mode, self.state) {
                    (TimeoutMode::Terminate, State::StartPost) => self.enter_stop(stage, timeout),
                    (TimeoutMode::Terminate, _) => self.give_up(stage, timeout),
                    (TimeoutMode::Abort, _) => self.enter_signal(stage, State::StopWatchdog, timeout),
                    (TimeoutMode::Kill, _) => self.kill_at_once(stage, timeout),
                }
            }
            State::Running => self.enter_stop(stage, timeout),
            State::Reload => {
                if let Some(control) = self.control.take() {
                    stage.kill(Force::Kill, None, Some(&control));
                }
                self.reload_result = timeout;
                self.told = None;
                self.enter_running(stage, ServiceResult::Success);
            }
            State::Stop => match settings.timeout_stop_mode {
                TimeoutMode::Terminate => self.enter_signal(stage, State::StopSigterm, timeout),
                TimeoutMode::Abort => self.enter_signal(stage, State::StopWatchdog, timeout),
                TimeoutMode::Kill => self.kill_at_once(stage, timeout),
            },
            State::StopSigterm if settings.timeout_stop_mode == TimeoutMode::Abort => {
                self.enter_signal(stage, State::StopWatchdog, timeout);
            }
            State::StopWatchdog | State::StopSigterm => self.kill_at_once(stage, timeout),
            State::StopSigkill => self.enter_stop_post(stage, timeout),
            State::StopPost => match settings.timeout_stop_mode {
                TimeoutMode::Terminate => self.enter_signal(stage, State::FinalSigterm, timeout),
                TimeoutMode::Abort => self.enter_signal(stage, State::FinalWatchdog, timeout),
                TimeoutMode::Kill => self.kill_for_good(stage, timeout),
            },
            State::FinalSigterm if settings.timeout_stop_mode == TimeoutMode::Abort => {
                self.enter_signal(stage, State::FinalWatchdog, timeout);
            }
            State::FinalWatchdog | State::FinalSigterm => self.kill_for_good(stage, timeout),
            State::FinalSigkill => self.enter_dead(stage, timeout, true),
            State::AutoRestart => self.enter_restart(stage),
            State::Dead | State::Exited | State::Failed => {}
        }
    }

    /// SIGKILL where SendSIGKILL= lets it.
    fn kill_at_once(&mut self, stage: &mut Stage<'_>, result: ServiceResult) {
        if stage.base.unit.kill.send_sigkill {
            self.enter_signal(stage, State::StopSigkill, result);
        } else {
            self.enter_stop_post(stage, result);
        }
    }

    fn kill_for_good(&mut self, stage: &mut Stage<'_>, result: ServiceResult) {
        if stage.base.unit.kill.send_sigkill {
            self.enter_signal(stage, State::FinalSigkill, result);
        } else {
            self.enter_dead(stage, result, false);
        }
    }

    /// The kernel has killed a process of the unit, for want of memory.
    pub(crate) fn out_of_memory(&mut self, stage: &mut Stage<'_>) {
        let oom = ServiceResult::OomKill;
        stage.log(
            Level::Warning,
            format!("{}: A process of this unit has been killed by the OOM killer.", stage.name()),
        );
        let policy = settings(stage).oom_policy.unwrap_or(OomPolicy::Stop);
        if policy == OomPolicy::Continue {
            return;
        }
        let stops = policy == OomPolicy::Stop;
        match self.state {
            State::Condition | State::StartPre | State::Start | State::StartPost | State::Stop => {
                let state = if stops { State::StopSigterm } else { State::StopSigkill };
                self.enter_signal(stage, state, oom);
            }
            State::Running | State::Exited if stops => self.enter_stop(stage, oom),
            State::Running | State::Exited => self.enter_signal(stage, State::StopSigkill, oom),
            State::StopWatchdog | State::StopSigterm => self.enter_signal(stage, State::StopSigkill, oom),
            State::StopSigkill | State::FinalSigkill => self.fail(oom),
            State::StopPost | State::FinalWatchdog | State::FinalSigterm => {
                self.enter_signal(stage, State::FinalSigkill, oom);
            }
            _ => {}
        }
    }

    /// BusName= has an owner on the bus now, or none any more.
    pub(crate) fn bus_name_changed(&mut self, stage: &mut Stage<'_>, owned: bool) {
        let settings = settings(stage);
        if settings.kind != ServiceType::Dbus {
            return;
        }
        self.bus_name_owned = owned;
        match self.state {
            State::Start if owned => self.enter_start_post(stage),
            // it finds out what to do
            State::Running => self.enter_running(stage, ServiceResult::Success),
            _ => {}
        }
    }

    pub(super) fn heard(&mut self, stage: &mut Stage<'_>, pid: Pid, message: &Notify) {
        let settings = settings(stage);
        let is =
            |process: &Option<crate::machine::process::Process>| process.as_ref().is_some_and(|p| p.is(pid));
        let allowed = match settings.notify_access {
            NotifyAccess::None => false,
            NotifyAccess::Main => is(&self.main),
            NotifyAccess::Exec => is(&self.main) || is(&self.control),
            NotifyAccess::All => true,
        };
        if !allowed || matches!(self.state, State::Dead | State::Failed | State::AutoRestart) {
            return;
        }
        if let Some(main) = message.main_pid.map(Pid) {
            let ours = stage.processes().contains(&main) && stage.world.probe.is_alive(main);
            if ours && main.0 > 1 && !self.state.is_stopping() {
                self.adopt_main(stage, main);
            }
        }
        if let Some(usec) = message.extend_timeout_usec {
            self.extend(stage, usec);
        }
        self.told(stage, message, settings.kind);
        if let Some(status) = &message.status {
            self.status_text = Some(status.clone()).filter(|text| !text.is_empty());
        }
        if let Some(errno) = message.errno {
            self.status_errno = errno;
        }
        if let Some(usec) = message.watchdog_usec {
            self.watchdog_override = Some(if usec == INFINITY { 0 } else { usec });
            self.feed_watchdog(stage);
        }
        if message.watchdog && self.watchdog_timer.is_some() {
            self.feed_watchdog(stage);
        }
        if message.watchdog_trigger && matches!(self.state, State::Running | State::Reload) {
            self.enter_signal(stage, State::StopWatchdog, ServiceResult::Watchdog);
        }
        self.store(stage, message);
        // whoever watches the unit sees the new text
        let (active, sub) = (stage.base.active, stage.base.sub);
        stage.enter(active, sub);
    }

    /// FDSTORE=1, FDSTOREREMOVE=1.
    fn store(&mut self, stage: &mut Stage<'_>, message: &Notify) {
        let most = settings(stage).descriptor_store_max;
        let unit = stage.name();
        let name = message.descriptor_name.clone();
        if message.store_remove {
            if let Some(name) = &name {
                self.stored.retain(|stored| stored != name);
            }
            stage.fx.actions.push(Action::DropStore { unit, name: Some(name.unwrap_or_default()) });
        } else if message.store && most > 0 {
            let kept = name.clone().unwrap_or_else(|| STORED.into());
            for _ in 0..message.descriptors {
                if self.stored.len() < most as usize {
                    self.stored.push(kept.clone());
                }
            }
            stage.fx.actions.push(Action::Store { unit, name, most });
        }
    }

    fn told(&mut self, stage: &mut Stage<'_>, message: &Notify, kind: ServiceType) {
        if message.stopping {
            self.told = Some(Told::Stopping);
            if self.state == State::Running {
                self.enter_stop_by_notify(stage);
            }
        }
        if message.ready {
            self.told = Some(Told::Ready);
            match self.state {
                State::Start if kind == ServiceType::Notify => self.enter_start_post(stage),
                State::Reload if self.reload_by_notify => self.enter_running(stage, ServiceResult::Success),
                _ => {}
            }
        }
        if message.reloading {
            self.told = Some(Told::Reloading);
            if self.state == State::Running {
                self.enter_reload_by_notify(stage);
            }
        }
    }

    /// The state lasts at least so long from now.
    fn extend(&mut self, stage: &Stage<'_>, usec: u64) {
        let at = stage.now().saturating_add(usec);
        let extends = self.state.is_starting() || self.state.is_stopping() || self.state == State::Running;
        if let Some(timer) = self.timer.filter(|_| extends) {
            self.timer = Some(timer.max(at));
        }
    }
}
