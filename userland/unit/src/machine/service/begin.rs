//! A service's way up.

use super::{PID_FILE_INTERVAL, Service, ServiceResult, State, Told, settings};
use crate::machine::process::Process;
use crate::machine::{Stage, kill::Force};
use crate::settings::{ExitType, ServiceType};
use crate::{INFINITY, Level, Pid, Role, Target};

impl Service {
    pub(super) fn enter_condition(&mut self, stage: &mut Stage<'_>) {
        self.enter_control(stage, Role::Condition, State::Condition);
    }

    pub(super) fn enter_start_pre(&mut self, stage: &mut Stage<'_>) {
        self.enter_control(stage, Role::StartPre, State::StartPre);
    }

    /// Runs a directive's lines, or goes on when there are none.
    fn enter_control(&mut self, stage: &mut Stage<'_>, role: Role, state: State) {
        let time = settings(stage).timeout_start;
        match self.run_control(stage, role, 0) {
            Ok(true) => {
                self.arm(stage, time);
                self.set_state(stage, state);
            }
            Ok(false) => match role {
                Role::Condition => self.enter_start_pre(stage),
                Role::StartPre => self.enter_start(stage),
                _ => self.enter_running(stage, ServiceResult::Success),
            },
            Err(why) => {
                stage.log(Level::Warning, why);
                self.give_up(stage, ServiceResult::Resources);
            }
        }
    }

    pub(super) fn enter_start(&mut self, stage: &mut Stage<'_>) {
        let settings = settings(stage);
        let leftover = stage.processes().len();
        if leftover > 0 {
            stage.log(
                Level::Notice,
                format!("Found {leftover} left-over processes in control group, ignoring."),
            );
        }
        let Some(line) = settings.commands(Role::Start).first().cloned() else {
            self.set_state(stage, State::Start);
            return self.enter_start_post(stage);
        };
        let process = match self.run(stage, Role::Start, 0, &line) {
            Ok(process) => process,
            Err(why) => {
                stage.log(Level::Warning, why);
                return self.give_up(stage, ServiceResult::Resources);
            }
        };
        let waits = !matches!(settings.kind, ServiceType::Simple | ServiceType::Idle);
        self.arm(stage, if waits { settings.timeout_start } else { INFINITY });
        if settings.kind == ServiceType::Forking {
            self.control = Some(process);
        } else {
            self.set_main(stage, process);
        }
        self.set_state(stage, State::Start);
    }

    fn set_main(&mut self, stage: &Stage<'_>, process: Process) {
        self.main = Some(process);
        self.main_known = true;
        self.main_start = stage.stamp();
        self.main_exit = Default::default();
        self.main_status = None;
        self.main_ended = None;
    }

    /// Takes a process that we did not start as the main one.
    pub(super) fn adopt_main(&mut self, stage: &mut Stage<'_>, pid: Pid) {
        if self.main.as_ref().is_some_and(|main| main.is(pid)) {
            return;
        }
        if let Some(old) = self.main.as_ref().and_then(|main| main.pid) {
            stage.fx.pids.remove(&old);
        }
        stage.fx.pids.insert(pid, stage.name());
        let ignore_failure =
            settings(stage).commands(Role::Start).first().is_some_and(|line| line.flags.ignore_failure);
        self.set_main(stage, Process { token: None, pid: Some(pid), line: (Role::Start, 0), ignore_failure });
    }

    /// It runs although nobody started it: PID 1 has lost its state.
    pub(crate) fn found(&mut self, stage: &mut Stage<'_>, main: Option<Pid>) {
        self.result = ServiceResult::Success;
        if let Some(main) = main {
            self.adopt_main(stage, main);
        }
        self.feed_watchdog(stage);
        self.enter_running(stage, ServiceResult::Success);
    }

    pub(super) fn enter_start_post(&mut self, stage: &mut Stage<'_>) {
        self.feed_watchdog(stage);
        self.enter_control(stage, Role::StartPost, State::StartPost);
    }

    /// A process is there, or could not be made.
    pub(super) fn begun(
        &mut self,
        stage: &mut Stage<'_>,
        token: crate::SpawnToken,
        outcome: Result<Pid, String>,
    ) {
        let of =
            |process: &Option<Process>| process.as_ref().is_some_and(|process| process.token == Some(token));
        let is_main = of(&self.main);
        if !is_main && !of(&self.control) {
            // we have forgotten it: it must not stay
            if let Ok(pid) = outcome {
                stage.signal(Target::Pid(pid), 9);
            }
            return;
        }
        let slot = if is_main { &mut self.main } else { &mut self.control };
        match outcome {
            Ok(pid) => {
                let Some(process) = slot.as_mut() else { return };
                process.pid = Some(pid);
                stage.fx.pids.insert(pid, stage.base.unit.name.clone());
                if let Some(run) = self.runs.get_mut(process.line) {
                    run.pid = Some(pid);
                }
                if self.state.is_stopping()
                    && (is_main || matches!(self.state, State::StopSigterm | State::StopSigkill))
                {
                    // the stop came between the wish for the process and the process
                    let force = if self.state == State::StopSigkill { Force::Kill } else { Force::Ask };
                    let main = self.main.clone();
                    stage.kill(force, main.as_ref(), None);
                } else if is_main
                    && self.state == State::Start
                    && matches!(settings(stage).kind, ServiceType::Simple | ServiceType::Idle)
                {
                    self.enter_start_post(stage);
                }
            }
            Err(why) => {
                *slot = None;
                stage.log(Level::Warning, format!("Failed to start a process: {why}"));
                self.process_missing(stage);
            }
        }
    }

    fn process_missing(&mut self, stage: &mut Stage<'_>) {
        let result = ServiceResult::Resources;
        match self.state {
            State::Reload => {
                self.reload_result = result;
                self.enter_running(stage, ServiceResult::Success);
            }
            State::StopPost => self.enter_signal(stage, State::FinalSigterm, result),
            state if state.is_starting() => self.give_up(stage, result),
            _ => self.enter_signal(stage, State::StopSigterm, result),
        }
    }

    pub(super) fn give_up(&mut self, stage: &mut Stage<'_>, result: ServiceResult) {
        self.enter_signal(stage, State::StopSigterm, result);
    }

    /// The program was executed.
    pub(super) fn is_executed(&mut self, stage: &mut Stage<'_>, token: crate::SpawnToken) {
        let kind = settings(stage).kind;
        let is_main = self.main.as_ref().is_some_and(|main| main.token == Some(token));
        if is_main && self.state == State::Start && kind == ServiceType::Exec {
            self.enter_start_post(stage);
        }
    }

    pub(super) fn run_next_main(&mut self, stage: &mut Stage<'_>, index: usize) {
        let settings = settings(stage);
        let Some(line) = settings.commands(Role::Start).get(index).cloned() else { return };
        match self.run(stage, Role::Start, index, &line) {
            Ok(process) => {
                self.arm(stage, settings.timeout_start);
                self.set_main(stage, process);
            }
            Err(why) => {
                stage.log(Level::Warning, why);
                self.give_up(stage, ServiceResult::Resources);
            }
        }
    }

    /// Reads PIDFile=. `false` if it does not name a process of ours (yet).
    pub(super) fn load_pid_file(&mut self, stage: &mut Stage<'_>) -> bool {
        let Some(path) = settings(stage).pid_file else { return false };
        let Some(pid) = stage.world.probe.pid_file(&path) else { return false };
        let inside = stage.processes().contains(&pid);
        if !inside || !stage.world.probe.is_alive(pid) || pid.0 <= 1 {
            return false;
        }
        self.adopt_main(stage, pid);
        true
    }

    /// A forking service without PIDFile=: the only process that is left is the main one.
    pub(super) fn guess_main(&mut self, stage: &mut Stage<'_>) {
        let settings = settings(stage);
        if self.main_known || !settings.guess_main_pid {
            return;
        }
        if let [pid] = stage.processes().as_slice() {
            self.adopt_main(stage, *pid);
        }
    }

    pub(super) fn await_pid_file(&mut self, stage: &Stage<'_>) {
        self.pid_file_poll = Some(stage.now().saturating_add(PID_FILE_INTERVAL));
    }

    /// The awaited PIDFile= may be there now.
    pub(super) fn poll_pid_file(&mut self, stage: &mut Stage<'_>) {
        self.pid_file_poll = None;
        if !self.load_pid_file(stage) {
            if stage.processes().is_empty() {
                stage.log(Level::Warning, "No process left in the control group, giving up on the PID file.");
                return self.give_up(stage, ServiceResult::Protocol);
            }
            return self.await_pid_file(stage);
        }
        match self.state {
            State::Start => self.enter_start_post(stage),
            State::StartPost => self.enter_running(stage, ServiceResult::Success),
            _ => {}
        }
    }

    /// Up; or, when nothing is left that runs, on the way down.
    pub(super) fn enter_running(&mut self, stage: &mut Stage<'_>, result: ServiceResult) {
        let settings = settings(stage);
        if result != ServiceResult::Success {
            self.result = result;
        }
        let good = match self.main_alive() {
            _ if settings.kind == ServiceType::Dbus && !self.bus_name_owned => false,
            Some(false) if settings.exit_type == ExitType::Main => false,
            Some(true) => true,
            _ => !stage.processes().is_empty(),
        };
        if good {
            match self.told {
                Some(Told::Reloading) => self.enter_reload_by_notify(stage),
                Some(Told::Stopping) => self.enter_stop_by_notify(stage),
                _ => {
                    let extra = match settings.runtime_extra {
                        0 => 0,
                        most => (stage.world.probe.random_id() % u128::from(most)) as u64,
                    };
                    self.arm(stage, settings.runtime_max.saturating_add(extra));
                    self.set_state(stage, State::Running);
                }
            }
        } else if settings.remain_after_exit && self.result == ServiceResult::Success {
            self.timer = None;
            self.set_state(stage, State::Exited);
        } else {
            self.enter_stop(stage, ServiceResult::Success);
        }
    }

    pub(super) fn enter_reload_by_notify(&mut self, stage: &mut Stage<'_>) {
        let time = settings(stage).timeout_start;
        self.arm(stage, time);
        self.reload_result = ServiceResult::Success;
        self.reload_by_notify = true;
        self.set_state(stage, State::Reload);
    }

    pub(super) fn enter_stop_by_notify(&mut self, stage: &mut Stage<'_>) {
        let time = settings(stage).timeout_stop;
        self.arm(stage, time);
        self.set_state(stage, State::StopSigterm);
    }
}
