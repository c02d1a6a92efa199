//! The state machine of a swap, systemd.swap(5): its work is done by swapon and swapoff, and /proc/swaps tells.

use serde::{Deserialize, Serialize};

use super::control::Control;
use super::{Life, Stage, Step, Word, kill::Force};
use crate::exec::CommandLine;
use crate::saved::word;
use crate::settings::SwapSettings;
use crate::{ActiveState, CommandFlags, ExitStatus, Level, Pid, Role, SpawnToken, SwapEntry, Usec};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Dead,
    Activating,
    Active,
    Deactivating,
    DeactivatingSigterm,
    DeactivatingSigkill,
    Failed,
}

/// A swap's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Swap::new")]
pub(crate) struct Swap {
    state: State,
    #[serde(deserialize_with = "word")]
    pub(crate) result: Word,
    pub(crate) control: Control,
    /// The line of /proc/swaps.
    pub(crate) entry: Option<SwapEntry>,
}

const SUCCESS: &str = "success";

impl Swap {
    pub(crate) fn new() -> Swap {
        Swap { state: State::Dead, result: SUCCESS, control: Control::default(), entry: None }
    }

    fn names(&self) -> (ActiveState, &'static str) {
        match self.state {
            State::Dead => (ActiveState::Inactive, "dead"),
            State::Activating => (ActiveState::Activating, "activating"),
            State::Active => (ActiveState::Active, "active"),
            State::Deactivating => (ActiveState::Deactivating, "deactivating"),
            State::DeactivatingSigterm => (ActiveState::Deactivating, "deactivating-sigterm"),
            State::DeactivatingSigkill => (ActiveState::Deactivating, "deactivating-sigkill"),
            State::Failed => (ActiveState::Failed, "failed"),
        }
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        self.state = state;
        if matches!(state, State::Dead | State::Active | State::Failed) {
            self.control.timer = None;
        }
        let (active, sub) = self.names();
        stage.enter(active, sub);
    }

    fn run(&mut self, stage: &mut Stage<'_>, role: Role, arguments: Vec<String>, state: State) {
        let path = if role == Role::Activate { "/usr/sbin/swapon" } else { "/usr/sbin/swapoff" };
        let argv = std::iter::once(path.to_string()).chain(arguments).collect();
        let flags = CommandFlags { no_substitution: true, ..CommandFlags::default() };
        let line = CommandLine { path: path.into(), argv, flags };
        let timeout = settings(stage).timeout;
        match self.control.run(stage, &[line], role, 0, timeout) {
            Ok(_) => self.set_state(stage, state),
            Err(why) => {
                stage.log(Level::Warning, why);
                self.settle(stage, "resources");
            }
        }
    }

    /// No program runs: /proc/swaps decides.
    fn settle(&mut self, stage: &mut Stage<'_>, result: &'static str) {
        if self.result == SUCCESS {
            self.result = result;
        }
        self.control.forget(stage);
        stage.remove_cgroup();
        let state = match (self.entry.is_some(), self.result) {
            (true, _) => State::Active,
            (false, SUCCESS) => State::Dead,
            (false, _) => State::Failed,
        };
        if state == State::Failed {
            let message = format!("{}: Failed with result '{}'.", stage.name(), self.result);
            stage.log(Level::Warning, message);
        }
        self.set_state(stage, state);
    }

    fn signal(&mut self, stage: &mut Stage<'_>, state: State) {
        let force = if state == State::DeactivatingSigkill { Force::Kill } else { Force::Ask };
        let process = self.control.process.clone();
        if stage.kill(force, None, process.as_ref()) {
            let timeout = settings(stage).timeout;
            self.control.arm(stage.now(), timeout);
            self.set_state(stage, state);
        } else {
            self.settle(stage, SUCCESS);
        }
    }

    /// The line of /proc/swaps for this swap is now so.
    pub(crate) fn table(&mut self, stage: &mut Stage<'_>, entry: Option<SwapEntry>) {
        if self.entry == entry {
            return;
        }
        self.entry = entry;
        match (self.state, self.entry.is_some()) {
            (State::Dead | State::Failed, true) => {
                self.result = SUCCESS;
                self.set_state(stage, State::Active);
            }
            (State::Active, false) => self.set_state(stage, State::Dead),
            _ => {}
        }
    }
}

impl Life for Swap {
    fn deadline(&self) -> Option<Usec> {
        self.control.timer
    }

    fn pids(&self) -> (Option<Pid>, Option<Pid>) {
        (None, self.control.pid())
    }

    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        match self.state {
            State::Activating | State::Active => return Step::Begun,
            State::Dead | State::Failed => {}
            _ => return Step::Later,
        }
        self.result = SUCCESS;
        stage.new_invocation();
        let settings = settings(stage);
        let mut arguments = Vec::new();
        let options: Vec<&str> = settings
            .options
            .split(',')
            .filter(|option| !option.is_empty() && *option != "nofail" && !option.starts_with("x-"))
            .collect();
        if settings.priority >= 0 {
            arguments.extend(["-p".into(), settings.priority.to_string()]);
        }
        if !options.is_empty() {
            arguments.extend(["-o".into(), options.join(",")]);
        }
        arguments.push(settings.what);
        self.run(stage, Role::Activate, arguments, State::Activating);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        match self.state {
            State::Active => {
                self.result = SUCCESS;
                let what = settings(stage).what;
                self.run(stage, Role::Deactivate, vec![what], State::Deactivating);
            }
            State::Activating => self.signal(stage, State::DeactivatingSigterm),
            _ => {}
        }
        Step::Begun
    }

    fn spawned(&mut self, stage: &mut Stage<'_>, token: SpawnToken, outcome: Result<Pid, String>) {
        if let Err(why) = self.control.spawned(stage, token, outcome) {
            stage.log(Level::Warning, format!("Failed to start a process: {why}"));
            self.settle(stage, "resources");
        }
    }

    fn exited(&mut self, stage: &mut Stage<'_>, pid: Pid, status: ExitStatus) {
        let Some(ended) = self.control.exited(stage.stamp(), pid, status) else { return };
        match self.state {
            State::Activating if ended.result == SUCCESS && self.entry.is_none() => {
                self.settle(stage, "protocol")
            }
            _ => self.settle(stage, ended.result),
        }
    }

    fn elapsed(&mut self, stage: &mut Stage<'_>) {
        if !self.control.is_due(stage.now()) {
            return;
        }
        let message = format!("{}: State '{}' timed out.", stage.name(), self.names().1);
        stage.log(Level::Warning, message);
        self.result = "timeout";
        match self.state {
            State::DeactivatingSigterm if stage.base.unit.kill.send_sigkill => {
                self.signal(stage, State::DeactivatingSigkill);
            }
            State::Activating | State::Deactivating => self.signal(stage, State::DeactivatingSigterm),
            _ => self.settle(stage, "timeout"),
        }
    }

    fn hit_start_limit(&mut self, stage: &mut Stage<'_>) {
        if matches!(self.state, State::Dead | State::Failed) {
            self.result = "start-limit-hit";
            self.set_state(stage, State::Failed);
        }
    }

    fn reset_failed(&mut self, stage: &mut Stage<'_>) {
        if self.state == State::Failed {
            self.set_state(stage, State::Dead);
        }
        self.result = SUCCESS;
    }
}

fn settings(stage: &Stage<'_>) -> SwapSettings {
    stage.base.unit.swap().cloned().unwrap_or_default()
}
