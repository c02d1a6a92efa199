//! The state machine of an automount, systemd.automount(5): whoever enters its folder waits until the mount is there.
//!
//! waiting → running (the mount is wanted, or there) → waiting … The shell holds the kernel's autofs.

use serde::{Deserialize, Serialize};

use super::{Life, Stage, Step, Wish, Word};
use crate::saved::word;
use crate::{Action, ActiveState, Level, LoadState, Pid};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Dead,
    /// The shell is at work.
    Placing,
    Waiting,
    Running,
    Failed,
}

/// An automount's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Automount::new")]
pub(crate) struct Automount {
    state: State,
    /// How many times the shell has been asked for the autofs and has not answered: the last answer counts.
    placing: u32,
    #[serde(deserialize_with = "word")]
    pub(crate) result: Word,
    /// Somebody waits for an answer.
    asked: bool,
    /// The kernel counts the idle time of the mount.
    expiring: bool,
}

const SUCCESS: &str = "success";

impl Automount {
    pub(crate) fn new() -> Automount {
        Automount { state: State::Dead, placing: 0, result: SUCCESS, asked: false, expiring: false }
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        let was_placed = matches!(self.state, State::Placing | State::Waiting | State::Running);
        self.state = state;
        if was_placed && matches!(state, State::Dead | State::Failed) {
            let unit = stage.name();
            stage.fx.actions.push(Action::RemoveAutomount { unit });
        }
        let (active, sub) = match state {
            State::Dead => (ActiveState::Inactive, "dead"),
            State::Placing => (ActiveState::Activating, "waiting"),
            State::Waiting => (ActiveState::Active, "waiting"),
            State::Running => (ActiveState::Active, "running"),
            State::Failed => (ActiveState::Failed, "failed"),
        };
        stage.enter(active, sub);
    }

    fn enter_dead(&mut self, stage: &mut Stage<'_>, result: &'static str) {
        if self.result == SUCCESS {
            self.result = result;
        }
        let state = if self.result == SUCCESS { State::Dead } else { State::Failed };
        if state == State::Failed {
            let message = format!("{}: Failed with result '{}'.", stage.name(), self.result);
            stage.log(Level::Warning, message);
        }
        self.set_state(stage, state);
    }

    /// The autofs is in place, or cannot be.
    pub(crate) fn placed(&mut self, stage: &mut Stage<'_>, outcome: Result<(), String>) {
        self.placing = self.placing.saturating_sub(1);
        // stopped meanwhile, and perhaps started again: that autofs was taken away when it was stopped
        if self.state != State::Placing || self.placing > 0 {
            return;
        }
        match outcome {
            Ok(()) => self.set_state(stage, State::Waiting),
            Err(why) => {
                let message = format!("{}: Failed to initialize automounter: {why}", stage.name());
                stage.log(Level::Error, message);
                self.enter_dead(stage, "resources");
            }
        }
    }

    /// Somebody waits at the folder.
    pub(crate) fn wanted(&mut self, stage: &mut Stage<'_>, pid: Pid) {
        let message = format!("Got automount request for {}, triggered by {}.", stage.name(), pid.0);
        stage.log(Level::Info, message);
        self.asked = true;
        let peer = stage.peer.clone();
        match peer {
            _ if stage.stop_pending || !matches!(self.state, State::Waiting | State::Running) => {
                self.answer(stage, false);
            }
            Some(peer) if peer.active.is_up() => {
                self.answer(stage, true);
                self.set_state(stage, State::Running);
            }
            Some(peer) => {
                let wish = Wish { by: stage.name(), unit: peer.name, connection: None };
                stage.fx.wishes.push_back(wish);
                self.set_state(stage, State::Running);
            }
            None => self.answer(stage, false),
        }
    }

    /// The mount has not been used for long.
    pub(crate) fn expired(&mut self, stage: &mut Stage<'_>) {
        let name = stage.peer.as_ref().filter(|peer| peer.active.is_up()).map(|peer| peer.name.clone());
        if let Some(name) = name {
            stage.fx.stops.push_back(name);
        }
    }

    fn answer(&mut self, stage: &mut Stage<'_>, mounted: bool) {
        if std::mem::take(&mut self.asked) {
            let unit = stage.name();
            stage.fx.actions.push(Action::AnswerAutomount { unit, mounted });
        }
    }
}

impl Life for Automount {
    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        match self.state {
            State::Dead | State::Failed => {}
            _ => return Step::Begun,
        }
        if stage.peer.as_ref().is_some_and(|peer| peer.active.is_up()) {
            let message = format!("{}: Path is already a mount point, refusing start.", stage.name());
            stage.log(Level::Error, message);
            return Step::Failed;
        }
        if stage.peer.as_ref().is_none_or(|peer| peer.load != LoadState::Loaded) {
            stage.log(Level::Error, "The mount unit to trigger is not loaded.");
            return Step::Failed;
        }
        self.result = SUCCESS;
        stage.new_invocation();
        let unit = stage.base.unit.clone();
        stage.fx.actions.push(Action::PlaceAutomount { unit });
        self.placing += 1;
        self.set_state(stage, State::Placing);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        if !matches!(self.state, State::Dead | State::Failed) {
            self.enter_dead(stage, SUCCESS);
        }
        Step::Begun
    }

    fn peer_changed(&mut self, stage: &mut Stage<'_>) {
        let Some(peer) = stage.peer.clone() else { return };
        if !matches!(self.state, State::Waiting | State::Running) {
            return;
        }
        if peer.start_limit_hit {
            self.answer(stage, false);
            return self.enter_dead(stage, "mount-start-limit-hit");
        }
        if peer.active.is_up() && peer.sub == "mounted" {
            self.answer(stage, true);
            let idle = stage.base.unit.automount().is_some_and(|settings| settings.idle > 0);
            if idle && !std::mem::replace(&mut self.expiring, true) {
                let unit = stage.name();
                stage.fx.actions.push(Action::ExpireAutomount { unit });
            }
            if self.state == State::Waiting {
                self.set_state(stage, State::Running);
            }
        } else if peer.active.is_down() && !peer.has_job {
            self.answer(stage, false);
            self.expiring = false;
            if self.state == State::Running {
                self.set_state(stage, State::Waiting);
            }
        }
    }

    fn wish_refused(&mut self, stage: &mut Stage<'_>, _: Option<crate::ConnectionId>) {
        self.answer(stage, false);
        self.enter_dead(stage, "resources");
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
