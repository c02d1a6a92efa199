//! A service's way down, and back up by Restart=.

use super::{Service, ServiceResult, State, result, settings};
use crate::machine::{Stage, kill::Force};
use crate::settings::{DirectoryKind, Preserve};
use crate::{Action, INFINITY, Level, Role};

impl Service {
    pub(super) fn fail(&mut self, result: ServiceResult) {
        if self.result == ServiceResult::Success {
            self.result = result;
        }
    }

    pub(super) fn enter_stop(&mut self, stage: &mut Stage<'_>, result: ServiceResult) {
        self.fail(result);
        let time = settings(stage).timeout_stop;
        match self.run_control(stage, Role::Stop, 0) {
            Ok(true) => {
                self.arm(stage, time);
                self.set_state(stage, State::Stop);
            }
            Ok(false) => self.enter_signal(stage, State::StopSigterm, ServiceResult::Success),
            Err(why) => {
                stage.log(Level::Warning, why);
                self.enter_signal(stage, State::StopSigterm, ServiceResult::Resources);
            }
        }
    }

    pub(super) fn enter_stop_post(&mut self, stage: &mut Stage<'_>, result: ServiceResult) {
        self.fail(result);
        let time = settings(stage).timeout_stop;
        match self.run_control(stage, Role::StopPost, 0) {
            Ok(true) => {
                self.arm(stage, time);
                self.set_state(stage, State::StopPost);
            }
            Ok(false) => self.enter_signal(stage, State::FinalSigterm, ServiceResult::Success),
            Err(why) => {
                stage.log(Level::Warning, why);
                self.enter_signal(stage, State::FinalSigterm, ServiceResult::Resources);
            }
        }
    }

    /// Signals what is left and waits; goes on at once when there is nothing.
    pub(super) fn enter_signal(&mut self, stage: &mut Stage<'_>, state: State, result: ServiceResult) {
        self.fail(result);
        let mut state = state;
        loop {
            let force = match state {
                State::StopWatchdog | State::FinalWatchdog => Force::Watchdog,
                State::StopSigterm if self.stopping_for_restart => Force::AskForRestart,
                State::StopSigterm | State::FinalSigterm => Force::Ask,
                _ => Force::Kill,
            };
            let (main, control) = (self.main.clone(), self.control.clone());
            if stage.kill(force, main.as_ref(), control.as_ref()) {
                let settings = settings(stage);
                let time = match force {
                    Force::Watchdog => settings.timeout_abort.unwrap_or(settings.timeout_stop),
                    _ => settings.timeout_stop,
                };
                self.arm(stage, time);
                return self.set_state(stage, state);
            }
            let send_sigkill = stage.base.unit.kill.send_sigkill;
            state = match state {
                State::StopWatchdog | State::StopSigterm if send_sigkill => State::StopSigkill,
                State::StopWatchdog | State::StopSigterm | State::StopSigkill => {
                    return self.enter_stop_post(stage, ServiceResult::Success);
                }
                State::FinalWatchdog | State::FinalSigterm if send_sigkill => State::FinalSigkill,
                _ => return self.enter_dead(stage, ServiceResult::Success, true),
            };
        }
    }

    pub(super) fn end_state(&self) -> State {
        match self.result {
            ServiceResult::Success | ServiceResult::SkipCondition => State::Dead,
            _ => State::Failed,
        }
    }

    pub(super) fn enter_dead(&mut self, stage: &mut Stage<'_>, result: ServiceResult, may_restart: bool) {
        self.fail(result);
        let settings = settings(stage);
        let end = self.end_state();
        match (end, self.result) {
            (State::Dead, ServiceResult::SkipCondition) => {
                stage.log(Level::Info, format!("{}: Skipped due to 'exec-condition'.", stage.name()));
            }
            (State::Dead, _) => {
                stage.log(Level::Info, format!("{}: Deactivated successfully.", stage.name()))
            }
            _ => {
                let message = format!("{}: Failed with result '{}'.", stage.name(), self.result.as_str());
                stage.log(Level::Warning, message);
            }
        }
        let restart =
            may_restart && !self.forbid_restart && result::restarts(&settings, self.result, self.main_status);
        self.forget(stage);
        self.timer = None;
        if stage.processes().is_empty() {
            stage.remove_cgroup();
        }
        self.remove_directories(stage, restart);
        self.flush_n_restarts = !restart;
        self.set_state_with(stage, end, restart);
        if restart {
            self.arm(stage, settings.restart_usec);
            if settings.restart_usec == INFINITY {
                return;
            }
            self.set_state(stage, State::AutoRestart);
        }
    }

    fn remove_directories(&self, stage: &mut Stage<'_>, restart: bool) {
        let exec = &stage.base.unit.exec;
        let keep = match exec.runtime_preserve {
            Preserve::Yes => true,
            Preserve::Restart => restart,
            Preserve::No => false,
        };
        let runtime = exec.directories.iter().filter(|set| set.kind == DirectoryKind::Runtime);
        // A dynamic user's may lie in a folder that only root enters, with a link from here.
        let parents = if exec.dynamic_user { &["/run", "/run/private"][..] } else { &["/run"] };
        let paths: Vec<String> = runtime
            .flat_map(|set| &set.names)
            .flat_map(|name| parents.iter().map(move |parent| format!("{parent}/{name}")))
            .collect();
        if !keep && !paths.is_empty() {
            let unit = stage.name();
            stage.fx.actions.push(Action::RemoveDirectories { unit, paths });
        }
    }

    /// RestartSec= is over: ask the engine for a restart job.
    pub(super) fn enter_restart(&mut self, stage: &mut Stage<'_>) {
        self.timer = None;
        let name = stage.name();
        stage.fx.restarts.push_back(name);
    }

    /// The engine has queued the restart job.
    pub(crate) fn restart_queued(&mut self, stage: &mut Stage<'_>) {
        self.n_restarts = self.n_restarts.saturating_add(1);
        self.flush_n_restarts = false;
        let message =
            format!("{}: Scheduled restart job, restart counter is at {}.", stage.name(), self.n_restarts);
        stage.log(Level::Info, message);
    }

    /// A stop is queued: look again later.
    pub(crate) fn restart_postponed(&mut self, stage: &mut Stage<'_>) {
        if self.state == State::AutoRestart {
            let time = settings(stage).restart_usec.max(100_000);
            self.arm(stage, time);
        }
    }

    /// The unit's job is over, perhaps without what it was for: a restart that is still due needs its time again.
    pub(crate) fn job_is_over(&mut self, stage: &mut Stage<'_>) {
        if self.timer.is_none() && settings(stage).restart_usec != INFINITY {
            self.restart_postponed(stage);
        }
    }

    /// The engine could not queue it: that was the last try.
    pub(crate) fn restart_refused(&mut self, stage: &mut Stage<'_>) {
        if self.state == State::AutoRestart {
            self.enter_dead(stage, ServiceResult::Resources, false);
        }
    }
}
