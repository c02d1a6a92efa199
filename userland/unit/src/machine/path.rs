//! The state machine of a path unit, systemd.path(5) and systemd 252's path.c by behaviour.
//!
//! waiting ⇄ running. The shell around the engine watches and says that something happened; whether that is what the
//! unit waits for is looked up here.

use serde::{Deserialize, Serialize};

use super::{Life, Stage, Step, Wish, Word};
use crate::saved::word;
use crate::settings::{PathKind, PathSettings};
use crate::{Action, ActiveState, Level, LoadState, Usec};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Dead,
    Waiting,
    Running,
    Failed,
}

/// A path unit's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Path::new")]
pub(crate) struct Path {
    state: State,
    #[serde(deserialize_with = "word")]
    pub(crate) result: Word,
    /// Whether each path was there when we last looked.
    there: Vec<bool>,
    window: (Usec, u32),
    watched: bool,
    /// Something changed while the unit ran.
    missed: bool,
}

const SUCCESS: &str = "success";

/// Why the paths are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The unit starts.
    First,
    /// Something happened to them.
    Again,
    /// What was triggered has ended.
    AfterRun,
}

impl Path {
    pub(crate) fn new() -> Path {
        Path {
            state: State::Dead,
            result: SUCCESS,
            there: Vec::new(),
            window: (0, 0),
            watched: false,
            missed: false,
        }
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        self.state = state;
        if matches!(state, State::Dead | State::Failed) && std::mem::take(&mut self.watched) {
            let unit = stage.name();
            stage.fx.actions.push(Action::UnwatchPaths { unit });
        }
        let (active, sub) = match state {
            State::Dead => (ActiveState::Inactive, "dead"),
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
        let name = stage.name();
        if self.result == SUCCESS {
            stage.log(Level::Info, format!("{name}: Deactivated successfully."));
            self.set_state(stage, State::Dead);
        } else {
            stage.log(Level::Warning, format!("{name}: Failed with result '{}'.", self.result));
            self.set_state(stage, State::Failed);
        }
    }

    /// Waits, unless what is waited for is there already. The shell watches first and then reports once by itself, so
    /// that nothing is missed in between.
    fn enter_waiting(&mut self, stage: &mut Stage<'_>, look: Look) {
        if stage.peer.as_ref().is_some_and(|peer| !peer.active.is_down()) {
            self.look(stage, Look::First);
            self.watch(stage);
            return self.set_state(stage, State::Running);
        }
        if self.look(stage, look) {
            return self.enter_running(stage);
        }
        self.watch(stage);
        if self.state != State::Waiting {
            self.set_state(stage, State::Waiting);
        }
    }

    fn watch(&mut self, stage: &mut Stage<'_>) {
        if !std::mem::replace(&mut self.watched, true) {
            let unit = stage.base.unit.clone();
            stage.fx.actions.push(Action::WatchPaths { unit });
        }
    }

    fn look(&mut self, stage: &Stage<'_>, look: Look) -> bool {
        let settings = settings(stage);
        let probe = stage.world.probe;
        self.there.resize(settings.paths.len(), false);
        let mut good = false;
        for ((kind, path), there) in settings.paths.iter().zip(&mut self.there) {
            good |= match kind {
                PathKind::Exists | PathKind::ExistsGlob => probe.path_exists(path),
                PathKind::DirectoryNotEmpty => probe.is_directory_not_empty(path),
                PathKind::Changed | PathKind::Modified => {
                    let now = probe.path_exists(path);
                    std::mem::replace(there, now) != now && look == Look::Again
                }
            };
        }
        good
    }

    fn enter_running(&mut self, stage: &mut Stage<'_>) {
        if stage.stop_pending {
            return;
        }
        let settings = settings(stage);
        let (interval, burst) = (settings.trigger_interval, settings.trigger_burst);
        let limited = interval > 0 && burst > 0;
        if limited && !super::is_below(&mut self.window, interval, burst, stage.now()) {
            stage.log(Level::Warning, "Trigger limit hit, refusing further activation.");
            return self.enter_dead(stage, "trigger-limit-hit");
        }
        let Some(peer) = &stage.peer else { return self.enter_dead(stage, "resources") };
        let wish = Wish { by: stage.base.unit.name.clone(), unit: peer.name.clone(), connection: None };
        self.missed = false;
        self.watch(stage);
        self.set_state(stage, State::Running);
        stage.fx.wishes.push_back(wish);
    }

    /// Something happened to a path. `changed`: to the path itself of a PathChanged= or PathModified=.
    pub(crate) fn touched(&mut self, stage: &mut Stage<'_>, changed: bool) {
        if self.state == State::Running {
            self.missed |= changed;
        }
        if self.state != State::Waiting {
            return;
        }
        if changed {
            self.look(stage, Look::First);
            self.enter_running(stage);
        } else {
            self.enter_waiting(stage, Look::Again);
        }
    }
}

impl Life for Path {
    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        if !matches!(self.state, State::Dead | State::Failed) {
            return Step::Begun;
        }
        match stage.peer.clone() {
            Some(peer) if peer.load == LoadState::Loaded => {}
            peer => {
                let name = peer.map_or_else(String::new, |peer| peer.name.to_string());
                let message = format!("{}: Unit to trigger not loaded: {name}", stage.name());
                stage.log(Level::Error, message);
                return Step::Failed;
            }
        }
        stage.new_invocation();
        self.result = SUCCESS;
        self.window = (0, 0);
        self.missed = false;
        if settings(stage).make_directory {
            let unit = stage.base.unit.clone();
            stage.fx.actions.push(Action::MakePaths { unit });
        }
        self.enter_waiting(stage, Look::First);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        if !matches!(self.state, State::Dead | State::Failed) {
            self.enter_dead(stage, SUCCESS);
        }
        Step::Begun
    }

    /// The unit has changed, or its job is over.
    fn peer_changed(&mut self, stage: &mut Stage<'_>) {
        let Some(peer) = stage.peer.clone() else { return };
        if !matches!(self.state, State::Waiting | State::Running) {
            return;
        }
        if peer.start_limit_hit {
            return self.enter_dead(stage, "unit-start-limit-hit");
        }
        if peer.has_job {
            return;
        }
        match (self.state, peer.active.is_down()) {
            (State::Running, true) if self.missed => self.enter_running(stage),
            (State::Running, true) => self.enter_waiting(stage, Look::AfterRun),
            (State::Waiting, false) => self.set_state(stage, State::Running),
            _ => {}
        }
    }

    /// The unit could not be started.
    fn wish_refused(&mut self, stage: &mut Stage<'_>, _: Option<crate::ConnectionId>) {
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

fn settings(stage: &Stage<'_>) -> PathSettings {
    stage.base.unit.path().cloned().unwrap_or_default()
}
