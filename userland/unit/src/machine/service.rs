//! The state machine of a service, systemd.service(5) and systemd 252's service.c by behaviour.
//!
//! condition → start-pre → start → start-post → running → stop → stop-sigterm → stop-sigkill → stop-post →
//! final-sigterm → final-sigkill → dead or failed, then perhaps auto-restart.

mod begin;
mod end;
mod happen;
mod result;

pub(crate) use result::{ServiceResult, describe};

use serde::{Deserialize, Serialize};

use super::process::{Process, Run, Runs};
use super::{Life, Stage, Step};
use crate::exec::CommandLine;
use crate::settings::{ServiceSettings, ServiceType};
use crate::{
    ActiveState, ConnectionId, Dependency, ExitStatus, INFINITY, Notify, Passed, Pid, Role, SpawnToken,
    Stamp, Unit, UnitName, UnitType, Usec,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Dead,
    Condition,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    Reload,
    Stop,
    StopWatchdog,
    StopSigterm,
    StopSigkill,
    StopPost,
    FinalWatchdog,
    FinalSigterm,
    FinalSigkill,
    Failed,
    AutoRestart,
}

impl State {
    fn sub(self) -> &'static str {
        match self {
            State::Dead => "dead",
            State::Condition => "condition",
            State::StartPre => "start-pre",
            State::Start => "start",
            State::StartPost => "start-post",
            State::Running => "running",
            State::Exited => "exited",
            State::Reload => "reload",
            State::Stop => "stop",
            State::StopWatchdog => "stop-watchdog",
            State::StopSigterm => "stop-sigterm",
            State::StopSigkill => "stop-sigkill",
            State::StopPost => "stop-post",
            State::FinalWatchdog => "final-watchdog",
            State::FinalSigterm => "final-sigterm",
            State::FinalSigkill => "final-sigkill",
            State::Failed => "failed",
            State::AutoRestart => "auto-restart",
        }
    }

    fn active(self, kind: ServiceType) -> ActiveState {
        match self {
            State::Dead => ActiveState::Inactive,
            // nobody waits for an idle service
            State::StartPre | State::Start | State::StartPost if kind == ServiceType::Idle => {
                ActiveState::Active
            }
            State::Condition | State::StartPre | State::Start | State::StartPost | State::AutoRestart => {
                ActiveState::Activating
            }
            State::Running | State::Exited => ActiveState::Active,
            State::Reload => ActiveState::Reloading,
            State::Failed => ActiveState::Failed,
            _ => ActiveState::Deactivating,
        }
    }

    fn is_stopping(self) -> bool {
        self.active(ServiceType::Simple) == ActiveState::Deactivating
    }

    fn is_starting(self) -> bool {
        matches!(self, State::Condition | State::StartPre | State::Start | State::StartPost)
    }
}

/// What the service last told of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    Ready,
    Reloading,
    Stopping,
}

/// A service's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Service::new")]
pub(crate) struct Service {
    state: State,
    pub(crate) result: ServiceResult,
    reload_result: ServiceResult,
    pub(crate) main: Option<Process>,
    /// There was a main process since the last start.
    main_known: bool,
    pub(crate) control: Option<Process>,
    pub(crate) main_start: Stamp,
    pub(crate) main_exit: Stamp,
    pub(crate) main_status: Option<ExitStatus>,
    /// The main process that has ended.
    pub(crate) main_ended: Option<Pid>,
    pub(crate) runs: Runs,
    timer: Option<Usec>,
    /// When the state's own time began, for EXTEND_TIMEOUT_USEC=.
    watchdog_timer: Option<Usec>,
    watchdog_override: Option<Usec>,
    told: Option<Told>,
    /// BusName= has an owner.
    bus_name_owned: bool,
    reload_by_notify: bool,
    pub(crate) status_text: Option<String>,
    pub(crate) status_errno: i32,
    /// PIDFile= is awaited: when to look again.
    pid_file_poll: Option<Usec>,
    forbid_restart: bool,
    pub(crate) n_restarts: u32,
    flush_n_restarts: bool,
    stopping_for_restart: bool,
    /// The names of the descriptors that it has stored by FDSTORE=1.
    pub(crate) stored: Vec<String>,
    /// The connection that it was started for, and the socket unit that accepted it.
    pub(crate) connection: Option<(UnitName, ConnectionId)>,
}

const PID_FILE_INTERVAL: Usec = 100_000;

impl Service {
    pub(crate) fn new() -> Service {
        Service {
            state: State::Dead,
            result: ServiceResult::Success,
            reload_result: ServiceResult::Success,
            main: None,
            main_known: false,
            control: None,
            main_start: Stamp::default(),
            main_exit: Stamp::default(),
            main_status: None,
            main_ended: None,
            runs: Runs::default(),
            timer: None,
            watchdog_timer: None,
            watchdog_override: None,
            told: None,
            bus_name_owned: false,
            reload_by_notify: false,
            status_text: None,
            status_errno: 0,
            pid_file_poll: None,
            forbid_restart: false,
            n_restarts: 0,
            flush_n_restarts: false,
            stopping_for_restart: false,
            stored: Vec::new(),
            connection: None,
        }
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        self.set_state_with(stage, state, false);
    }

    fn set_state_with(&mut self, stage: &mut Stage<'_>, state: State, will_restart: bool) {
        let from = self.state;
        self.state = state;
        if matches!(state, State::Dead | State::Failed | State::Exited) {
            self.timer = None;
        }
        if !matches!(state, State::Start | State::StartPost | State::Running | State::Reload) {
            self.watchdog_timer = None;
            self.pid_file_poll = None;
        }
        if matches!(state, State::Dead | State::Failed | State::AutoRestart) {
            self.forget(stage);
        }
        let reload_failed = from == State::Reload && self.reload_result != ServiceResult::Success;
        let active = state.active(settings(stage).kind);
        stage.enter_with(active, state.sub(), will_restart, reload_failed);
    }

    fn forget(&mut self, stage: &mut Stage<'_>) {
        for process in [self.main.take(), self.control.take()].into_iter().flatten() {
            if let Some(pid) = process.pid {
                stage.fx.pids.remove(&pid);
            }
        }
    }

    /// Sets the state's timer; `INFINITY`: none.
    fn arm(&mut self, stage: &Stage<'_>, time: Usec) {
        self.timer = if time == INFINITY { None } else { Some(stage.now().saturating_add(time)) };
    }

    fn main_alive(&self) -> Option<bool> {
        if self.main.is_some() { Some(true) } else { self.main_known.then_some(false) }
    }

    fn run_control(&mut self, stage: &mut Stage<'_>, role: Role, index: usize) -> Result<bool, String> {
        let Some(line) = settings(stage).commands(role).get(index).cloned() else { return Ok(false) };
        self.control = Some(self.run(stage, role, index, &line)?);
        Ok(true)
    }

    fn run(
        &mut self,
        stage: &mut Stage<'_>,
        role: Role,
        index: usize,
        line: &CommandLine,
    ) -> Result<Process, String> {
        let settings = settings(stage);
        let mut line = line.clone();
        line.flags.full_privileges |= settings.permissions_start_only && role != Role::Start;
        let line = &line;
        let mut own = Vec::new();
        if let Some(Pid(pid)) = self.main.as_ref().and_then(|main| main.pid).filter(|_| role != Role::Start) {
            own.push(("MAINPID", pid.to_string()));
        }
        if matches!(role, Role::Stop | Role::StopPost) {
            own.push(("SERVICE_RESULT", self.result.as_str().into()));
            if let Some(status) = self.main_status {
                let (code, status) = result::words(status);
                own.push(("EXIT_CODE", code.into()));
                own.push(("EXIT_STATUS", status));
            }
        }
        let watchdog = self.watchdog(&settings);
        if watchdog > 0 && role == Role::Start {
            own.push(("WATCHDOG_USEC", watchdog.to_string()));
        }
        let notify = settings.notify_access != crate::settings::NotifyAccess::None;
        let passed = if role == Role::Start { self.passed(stage) } else { Vec::new() };
        let token = stage.spawn(role, line, &own, notify, passed)?;
        let run = Run { start: stage.stamp(), ..Run::default() };
        self.runs.insert((role, index), run);
        Ok(Process {
            token: Some(token),
            pid: None,
            line: (role, index),
            ignore_failure: line.flags.ignore_failure,
        })
    }

    /// The connection that it is for; or the sockets that trigger it, and what it has stored.
    fn passed(&self, stage: &Stage<'_>) -> Vec<Passed> {
        if let Some((_, id)) = &self.connection {
            return vec![Passed::Connection(*id)];
        }
        let triggers = stage.graph.of(&stage.base.unit.name, &[Dependency::TriggeredBy]);
        let sockets = triggers.into_iter().filter(|name| name.unit_type() == UnitType::Socket);
        let store = (!self.stored.is_empty()).then(|| Passed::Store(stage.base.unit.name.clone()));
        sockets.map(Passed::Socket).chain(store).collect()
    }

    fn watchdog(&self, settings: &ServiceSettings) -> Usec {
        self.watchdog_override.unwrap_or(settings.watchdog)
    }

    fn feed_watchdog(&mut self, stage: &Stage<'_>) {
        let time = self.watchdog(&settings(stage));
        self.watchdog_timer = (time > 0).then(|| stage.now().saturating_add(time));
    }
}

impl Life for Service {
    fn hit_start_limit(&mut self, stage: &mut Stage<'_>) {
        self.enter_dead(stage, ServiceResult::StartLimitHit, false);
    }

    fn pids(&self) -> (Option<Pid>, Option<Pid>) {
        let pid = |process: &Option<Process>| process.as_ref().and_then(|process| process.pid);
        (pid(&self.main), pid(&self.control))
    }

    fn can_reload(&self, unit: &Unit) -> bool {
        unit.service().is_some_and(|settings| !settings.commands(Role::Reload).is_empty())
    }

    fn spawned(&mut self, stage: &mut Stage<'_>, token: SpawnToken, outcome: Result<Pid, String>) {
        self.begun(stage, token, outcome);
    }

    fn executed(&mut self, stage: &mut Stage<'_>, token: SpawnToken) {
        self.is_executed(stage, token);
    }

    fn exited(&mut self, stage: &mut Stage<'_>, pid: Pid, status: ExitStatus) {
        self.ended(stage, pid, status);
    }

    fn notified(&mut self, stage: &mut Stage<'_>, pid: Pid, message: &Notify) {
        self.heard(stage, pid, message);
    }

    fn cgroup_empty(&mut self, stage: &mut Stage<'_>) {
        self.ran_empty(stage);
    }

    fn elapsed(&mut self, stage: &mut Stage<'_>) {
        self.time_is_up(stage);
    }

    /// When `elapsed` must be called.
    fn deadline(&self) -> Option<Usec> {
        [self.timer, self.watchdog_timer, self.pid_file_poll].into_iter().flatten().min()
    }

    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        if self.state.is_stopping() || self.state == State::AutoRestart {
            return Step::Later;
        }
        if self.state.is_starting() {
            return Step::Begun;
        }
        self.result = ServiceResult::Success;
        self.reload_result = ServiceResult::Success;
        self.main = None;
        self.main_known = false;
        self.main_status = None;
        self.forbid_restart = false;
        self.stopping_for_restart = false;
        self.told = None;
        self.status_text = None;
        self.status_errno = 0;
        self.watchdog_override = None;
        if std::mem::take(&mut self.flush_n_restarts) {
            self.n_restarts = 0;
        }
        stage.new_invocation();
        self.enter_condition(stage);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, for_restart: bool) -> Step {
        self.forbid_restart = true;
        self.stopping_for_restart = for_restart;
        match self.state {
            State::AutoRestart => {
                // no end of its own: neither OnFailure= nor OnSuccess= hears of it
                self.set_state_with(stage, State::Dead, true);
            }
            State::Running | State::Exited => self.enter_stop(stage, ServiceResult::Success),
            state if state.is_starting() || state == State::Reload => {
                self.enter_signal(stage, State::StopSigterm, ServiceResult::Success);
            }
            _ => {}
        }
        Step::Begun
    }

    fn reload(&mut self, stage: &mut Stage<'_>) -> Step {
        if !matches!(self.state, State::Running | State::Exited) {
            return Step::Later;
        }
        self.reload_result = ServiceResult::Success;
        self.reload_by_notify = false;
        let time = settings(stage).timeout_start;
        match self.run_control(stage, Role::Reload, 0) {
            Ok(_) => {
                self.arm(stage, time);
                self.set_state(stage, State::Reload);
            }
            Err(why) => {
                stage.log(crate::Level::Warning, why);
                self.reload_result = ServiceResult::Resources;
                self.enter_running(stage, ServiceResult::Success);
            }
        }
        Step::Begun
    }

    fn reset_failed(&mut self, stage: &mut Stage<'_>) {
        if self.state == State::Failed {
            self.set_state(stage, State::Dead);
        }
        self.result = ServiceResult::Success;
        self.reload_result = ServiceResult::Success;
        self.n_restarts = 0;
        self.flush_n_restarts = false;
    }
}

/// The settings, by value: they are small, and the unit may be loaded anew at any time.
fn settings(stage: &Stage<'_>) -> ServiceSettings {
    stage.base.unit.service().cloned().unwrap_or_default()
}
