//! The state machine of a scope, systemd.scope(5): processes that somebody else has started, watched over and stopped
//! together. It lives as long as its cgroup has a process.

use serde::{Deserialize, Serialize};

use super::{Life, Stage, Step, Word, kill::Force};
use crate::saved::word;
use crate::settings::ScopeSettings;
use crate::{Action, ActiveState, INFINITY, Level, Usec};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Dead,
    Running,
    /// Its creator is gone or has let go of it.
    Abandoned,
    StopSigterm,
    StopSigkill,
    Failed,
}

/// A scope's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Scope::new")]
pub(crate) struct Scope {
    state: State,
    #[serde(deserialize_with = "word")]
    pub(crate) result: Word,
    timer: Option<Usec>,
}

const SUCCESS: &str = "success";

impl Scope {
    pub(crate) fn new() -> Scope {
        Scope { state: State::Dead, result: SUCCESS, timer: None }
    }

    /// PID 1's own.
    pub(crate) fn running() -> Scope {
        Scope { state: State::Running, ..Scope::new() }
    }

    /// It runs although nobody started it: PID 1 has lost its state.
    pub(crate) fn found(&mut self, stage: &mut Stage<'_>) {
        self.result = SUCCESS;
        self.set_state(stage, State::Running);
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        self.state = state;
        if matches!(state, State::Dead | State::Failed) {
            self.timer = None;
        }
        let (active, sub) = match state {
            State::Dead => (ActiveState::Inactive, "dead"),
            State::Running => (ActiveState::Active, "running"),
            State::Abandoned => (ActiveState::Active, "abandoned"),
            State::StopSigterm => (ActiveState::Deactivating, "stop-sigterm"),
            State::StopSigkill => (ActiveState::Deactivating, "stop-sigkill"),
            State::Failed => (ActiveState::Failed, "failed"),
        };
        stage.enter(active, sub);
    }

    fn arm(&mut self, stage: &Stage<'_>, time: Usec) {
        self.timer = (time != INFINITY).then(|| stage.now().saturating_add(time));
    }

    fn enter_signal(&mut self, stage: &mut Stage<'_>, state: State, result: &'static str) {
        if self.result == SUCCESS {
            self.result = result;
        }
        let force = if state == State::StopSigkill { Force::Kill } else { Force::Ask };
        if stage.kill(force, None, None) {
            let time = settings(stage).timeout_stop;
            self.arm(stage, time);
            self.set_state(stage, state);
        } else if state == State::StopSigterm && stage.base.unit.kill.send_sigkill {
            self.enter_signal(stage, State::StopSigkill, SUCCESS);
        } else {
            self.enter_dead(stage);
        }
    }

    fn enter_dead(&mut self, stage: &mut Stage<'_>) {
        let name = stage.name();
        stage.remove_cgroup();
        if self.result == SUCCESS {
            stage.log(Level::Info, format!("{name}: Deactivated successfully."));
            self.set_state(stage, State::Dead);
        } else {
            stage.log(Level::Warning, format!("{name}: Failed with result '{}'.", self.result));
            self.set_state(stage, State::Failed);
        }
    }

    pub(crate) fn abandon(&mut self, stage: &mut Stage<'_>) {
        if self.state == State::Running {
            self.set_state(stage, State::Abandoned);
        }
    }
}

impl Life for Scope {
    fn deadline(&self) -> Option<Usec> {
        self.timer
    }

    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        match self.state {
            State::Dead => {}
            // its processes are gone: it cannot begin again
            State::Failed => return Step::Failed,
            State::Running | State::Abandoned => return Step::Begun,
            State::StopSigterm | State::StopSigkill => return Step::Later,
        }
        let settings = settings(stage);
        if settings.pids.is_empty() {
            stage.log(Level::Error, "A scope needs processes to begin with.");
            return Step::Failed;
        }
        self.result = SUCCESS;
        stage.new_invocation();
        stage.base.has_cgroup = true;
        let (unit, cgroup) = (stage.name(), stage.cgroup());
        let resources = stage.base.unit.cgroup.clone();
        stage.fx.actions.push(Action::Adopt { unit, pids: settings.pids.clone(), cgroup, resources });
        let extra = match settings.runtime_randomized_extra {
            0 => 0,
            most => stage.world.probe.random_id() as u64 % most,
        };
        self.arm(stage, settings.runtime_max.saturating_add(extra));
        self.set_state(stage, State::Running);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        if matches!(self.state, State::Running | State::Abandoned) {
            self.enter_signal(stage, State::StopSigterm, SUCCESS);
        }
        Step::Begun
    }

    fn cgroup_empty(&mut self, stage: &mut Stage<'_>) {
        if !matches!(self.state, State::Dead | State::Failed) {
            self.enter_dead(stage);
        }
    }

    fn elapsed(&mut self, stage: &mut Stage<'_>) {
        if self.timer.is_none_or(|at| at > stage.now()) {
            return;
        }
        self.timer = None;
        let name = stage.name();
        match self.state {
            State::Running | State::Abandoned => {
                stage.log(Level::Warning, format!("{name}: Scope reached runtime time limit. Stopping."));
                self.enter_signal(stage, State::StopSigterm, "timeout");
            }
            State::StopSigterm if stage.base.unit.kill.send_sigkill => {
                stage.log(Level::Warning, format!("{name}: Stopping timed out. Killing."));
                self.enter_signal(stage, State::StopSigkill, "timeout");
            }
            State::StopSigterm | State::StopSigkill => {
                stage.log(Level::Warning, format!("{name}: Stopping timed out. Ignoring."));
                self.result = "timeout";
                self.enter_dead(stage);
            }
            State::Dead | State::Failed => {}
        }
    }

    fn reset_failed(&mut self, stage: &mut Stage<'_>) {
        if self.state == State::Failed {
            self.set_state(stage, State::Dead);
        }
        self.result = SUCCESS;
    }
}

fn settings(stage: &Stage<'_>) -> ScopeSettings {
    stage.base.unit.scope().cloned().unwrap_or_default()
}
