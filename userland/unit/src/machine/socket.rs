//! The state machine of a socket, systemd.socket(5) and systemd 252's socket.c by behaviour.
//!
//! start-pre → start-post → listening ⇄ running → stop-pre → stop-post → dead or failed. The shell around the engine
//! holds the descriptors: it opens them, watches them, accepts, and hands them to the services.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::control::Control;
use super::{Life, Stage, Step, Wish, Word, kill::Force};
use crate::saved::word;
use crate::settings::SocketSettings;
use crate::{
    Action, ActiveState, Connection, ConnectionId, ExitStatus, Level, LoadState, Pid, Role, SpawnToken, Usec,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Dead,
    StartPre,
    StartPost,
    Listening,
    Running,
    StopPre,
    StopPreSigterm,
    StopPreSigkill,
    StopPost,
    FinalSigterm,
    FinalSigkill,
    Failed,
}

impl State {
    fn names(self) -> (ActiveState, &'static str) {
        use ActiveState::{Activating, Active, Deactivating, Failed, Inactive};
        match self {
            State::Dead => (Inactive, "dead"),
            State::StartPre => (Activating, "start-pre"),
            State::StartPost => (Activating, "start-post"),
            State::Listening => (Active, "listening"),
            State::Running => (Active, "running"),
            State::StopPre => (Deactivating, "stop-pre"),
            State::StopPreSigterm => (Deactivating, "stop-pre-sigterm"),
            State::StopPreSigkill => (Deactivating, "stop-pre-sigkill"),
            State::StopPost => (Deactivating, "stop-post"),
            State::FinalSigterm => (Deactivating, "final-sigterm"),
            State::FinalSigkill => (Deactivating, "final-sigkill"),
            State::Failed => (Failed, "failed"),
        }
    }

    /// The descriptors are open.
    fn is_open(self) -> bool {
        use State::{Listening, Running, StartPost, StopPre, StopPreSigkill, StopPreSigterm};
        matches!(self, StartPost | Listening | Running | StopPre | StopPreSigterm | StopPreSigkill)
    }
}

/// A socket's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Socket::new")]
pub(crate) struct Socket {
    state: State,
    #[serde(deserialize_with = "word")]
    pub(crate) result: Word,
    pub(crate) control: Control,
    /// Open connections of Accept=yes, with whom they are to.
    connections: BTreeMap<ConnectionId, String>,
    pub(crate) accepted: u32,
    pub(crate) refused: u32,
    /// The trigger limit's window: when it began, and the triggers in it.
    window: (Usec, u32),
    watched: bool,
}

const SUCCESS: &str = "success";

impl Socket {
    pub(crate) fn new() -> Socket {
        Socket {
            state: State::Dead,
            result: SUCCESS,
            control: Control::default(),
            connections: BTreeMap::new(),
            accepted: 0,
            refused: 0,
            window: (0, 0),
            watched: false,
        }
    }

    pub(crate) fn connections(&self) -> u32 {
        u32::try_from(self.connections.len()).unwrap_or(u32::MAX)
    }

    /// Runs a directive's lines, or goes on when there are none.
    fn enter(&mut self, stage: &mut Stage<'_>, role: Role, state: State) {
        let settings = settings(stage);
        match self.control.run(stage, settings.commands(role), role, 0, settings.timeout) {
            Ok(true) => self.set_state(stage, state),
            Ok(false) => self.done(stage, role, SUCCESS),
            Err(why) => {
                stage.log(Level::Warning, why);
                self.done(stage, role, "resources");
            }
        }
    }

    /// The lines of a directive are through, well or not.
    fn done(&mut self, stage: &mut Stage<'_>, role: Role, result: &'static str) {
        let good = result == SUCCESS;
        match role {
            Role::StartPre if good => {
                self.control.timer = None;
                let unit = stage.base.unit.clone();
                stage.fx.actions.push(Action::OpenSockets { unit });
                self.set_state(stage, State::StartPre);
            }
            Role::StartPre => self.enter_signal(stage, State::FinalSigterm, result),
            Role::StartPost if good => self.enter_listening(stage),
            Role::StartPost => self.enter_stop_pre(stage, result),
            Role::StopPre => self.enter_signal(stage, State::StopPreSigterm, result),
            _ => self.enter_signal(stage, State::FinalSigterm, result),
        }
    }

    /// The shell has opened the descriptors, or could not.
    pub(crate) fn opened(&mut self, stage: &mut Stage<'_>, outcome: Result<(), String>) {
        if self.state != State::StartPre || self.control.process.is_some() {
            // a stop came in between
            return self.close(stage);
        }
        match outcome {
            Ok(()) => {
                self.set_state(stage, State::StartPost);
                self.enter(stage, Role::StartPost, State::StartPost);
            }
            Err(why) => {
                let message = format!("{}: Failed to create listening socket: {why}", stage.name());
                stage.log(Level::Warning, message);
                self.enter_signal(stage, State::FinalSigterm, "resources");
            }
        }
    }

    fn enter_listening(&mut self, stage: &mut Stage<'_>) {
        self.control.timer = None;
        let settings = settings(stage);
        if !settings.accept && settings.flush_pending {
            let unit = stage.name();
            stage.fx.actions.push(Action::FlushSockets { unit });
        }
        self.set_state(stage, State::Listening);
        self.watch(stage, true);
    }

    fn watch(&mut self, stage: &mut Stage<'_>, on: bool) {
        if self.watched != on {
            self.watched = on;
            let unit = stage.name();
            stage.fx.actions.push(Action::WatchSockets { unit, on });
        }
    }

    fn close(&mut self, stage: &mut Stage<'_>) {
        self.watched = false;
        let unit = stage.base.unit.clone();
        stage.fx.actions.push(Action::CloseSockets { unit });
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        let was_open = self.state.is_open();
        self.state = state;
        if state != State::Listening && state.is_open() {
            self.watch(stage, false);
        }
        if was_open && !state.is_open() {
            self.close(stage);
        }
        if matches!(state, State::Dead | State::Failed | State::Listening | State::Running) {
            self.control.timer = None;
        }
        let (active, sub) = state.names();
        stage.enter(active, sub);
    }

    fn fail(&mut self, result: &'static str) {
        if self.result == SUCCESS {
            self.result = result;
        }
    }

    fn enter_stop_pre(&mut self, stage: &mut Stage<'_>, result: &'static str) {
        self.fail(result);
        self.enter(stage, Role::StopPre, State::StopPre);
    }

    /// Signals what is left and waits; goes on at once when there is nothing.
    fn enter_signal(&mut self, stage: &mut Stage<'_>, state: State, result: &'static str) {
        self.fail(result);
        let force = match state {
            State::StopPreSigterm | State::FinalSigterm => Force::Ask,
            _ => Force::Kill,
        };
        let process = self.control.process.clone();
        if stage.kill(force, None, process.as_ref()) {
            let timeout = settings(stage).timeout;
            self.control.arm(stage.now(), timeout);
            return self.set_state(stage, state);
        }
        match state {
            State::StopPreSigterm | State::StopPreSigkill => {
                self.set_state(stage, State::StopPost);
                self.enter(stage, Role::StopPost, State::StopPost);
            }
            _ => self.enter_dead(stage),
        }
    }

    fn enter_dead(&mut self, stage: &mut Stage<'_>) {
        self.control.forget(stage);
        let name = stage.name();
        let state = if self.result == SUCCESS { State::Dead } else { State::Failed };
        let (level, message) = match state {
            State::Dead => (Level::Info, format!("{name}: Deactivated successfully.")),
            _ => (Level::Warning, format!("{name}: Failed with result '{}'.", self.result)),
        };
        stage.log(level, message);
        stage.remove_cgroup();
        self.set_state(stage, state);
    }

    /// Something waits at a descriptor of Accept=no.
    pub(crate) fn ready(&mut self, stage: &mut Stage<'_>) {
        if self.state != State::Listening {
            return;
        }
        if stage.stop_pending {
            let unit = stage.name();
            return stage.fx.actions.push(Action::FlushSockets { unit });
        }
        if !self.is_below_limit(stage) {
            return;
        }
        let pending = stage.peer.as_ref().is_some_and(|peer| peer.has_start_job || !peer.active.is_down());
        if let (Some(peer), false) = (stage.peer.as_ref(), pending) {
            let wish = Wish { by: stage.name(), unit: peer.name.clone(), connection: None };
            stage.fx.wishes.push_back(wish);
        }
        self.set_state(stage, State::Running);
    }

    fn is_below_limit(&mut self, stage: &mut Stage<'_>) -> bool {
        let settings = settings(stage);
        let (interval, burst) = (settings.trigger_interval, settings.trigger_burst);
        if interval == 0 || burst == 0 || super::is_below(&mut self.window, interval, burst, stage.now()) {
            return true;
        }
        stage.log(Level::Warning, "Trigger limit hit, refusing further activation.");
        self.enter_stop_pre(stage, "trigger-limit-hit");
        false
    }

    /// Somebody has connected to a socket of Accept=yes.
    pub(crate) fn connected(&mut self, stage: &mut Stage<'_>, connection: &Connection) {
        let settings = settings(stage);
        let same = self.connections.values().filter(|source| **source == connection.source).count();
        let most = settings.max_connections_per_source as usize;
        let refusal = if self.state != State::Listening || stage.stop_pending {
            Some("Not listening, dropping connection.".to_string())
        } else if self.connections() >= settings.max_connections {
            Some(format!("Too many incoming connections ({}), dropping connection.", self.connections()))
        } else if most > 0 && same >= most {
            Some(format!(
                "Too many incoming connections ({same}) from source {}, dropping connection.",
                connection.source
            ))
        } else {
            None
        };
        if let Some(why) = refusal {
            stage.log(Level::Warning, why);
            return self.refuse(stage, connection.id);
        }
        if !self.is_below_limit(stage) {
            return self.refuse(stage, connection.id);
        }
        let instance = format!("{}-{}", self.accepted, connection.instance);
        let template = crate::UnitName::parse(&format!("{}@.service", stage.base.unit.name.prefix()));
        let Ok(unit) = template.and_then(|template| template.with_instance(&instance)) else {
            return self.refuse(stage, connection.id);
        };
        self.accepted = self.accepted.saturating_add(1);
        self.connections.insert(connection.id, connection.source.clone());
        let wish = Wish { by: stage.name(), unit, connection: Some(connection.id) };
        stage.fx.wishes.push_back(wish);
        // whoever watches the unit sees the count
        self.set_state(stage, self.state);
    }

    fn refuse(&mut self, stage: &mut Stage<'_>, id: ConnectionId) {
        self.refused = self.refused.saturating_add(1);
        stage.fx.actions.push(Action::CloseConnection { id });
    }

    /// The service of a connection is gone, and the connection with it.
    pub(crate) fn disconnected(&mut self, stage: &mut Stage<'_>, id: ConnectionId) {
        if self.connections.remove(&id).is_some() {
            let (active, sub) = self.state.names();
            stage.enter(active, sub);
        }
    }
}

impl Life for Socket {
    fn deadline(&self) -> Option<Usec> {
        self.control.timer
    }

    fn pids(&self) -> (Option<Pid>, Option<Pid>) {
        (None, self.control.pid())
    }

    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        match self.state {
            State::StartPre | State::StartPost | State::Listening | State::Running => return Step::Begun,
            State::Dead | State::Failed => {}
            _ => return Step::Later,
        }
        if let Some(peer) = &stage.peer {
            if peer.load != LoadState::Loaded {
                let message = format!("Socket service {} not loaded, refusing.", peer.name);
                stage.log(Level::Error, message);
                return Step::Failed;
            }
            if !matches!(peer.sub, "dead" | "failed" | "auto-restart") {
                let message = format!("Socket service {} already active, refusing.", peer.name);
                stage.log(Level::Error, message);
                return Step::Failed;
            }
        }
        self.result = SUCCESS;
        self.window = (0, 0);
        stage.new_invocation();
        self.enter(stage, Role::StartPre, State::StartPre);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        match self.state {
            State::Listening | State::Running => self.enter_stop_pre(stage, SUCCESS),
            State::StartPre => self.enter_signal(stage, State::FinalSigterm, SUCCESS),
            State::StartPost => self.enter_signal(stage, State::StopPreSigterm, SUCCESS),
            _ => {}
        }
        Step::Begun
    }

    /// The service has changed, or its job is over.
    fn peer_changed(&mut self, stage: &mut Stage<'_>) {
        if !matches!(self.state, State::Listening | State::Running) || settings(stage).accept {
            return;
        }
        let Some(peer) = stage.peer.clone() else { return };
        if peer.start_limit_hit {
            return self.enter_stop_pre(stage, "service-start-limit-hit");
        }
        if peer.has_job {
            return;
        }
        match peer.sub {
            "dead" | "failed" | "final-sigterm" | "final-sigkill" | "auto-restart"
                if self.state == State::Running =>
            {
                self.enter_listening(stage);
            }
            "running" if self.state == State::Listening => self.set_state(stage, State::Running),
            _ => {}
        }
    }

    /// The service could not be started.
    fn wish_refused(&mut self, stage: &mut Stage<'_>, connection: Option<ConnectionId>) {
        match connection {
            Some(id) => {
                self.connections.remove(&id);
                stage.fx.actions.push(Action::CloseConnection { id });
            }
            None => self.enter_stop_pre(stage, "resources"),
        }
    }

    fn spawned(&mut self, stage: &mut Stage<'_>, token: SpawnToken, outcome: Result<Pid, String>) {
        let role = self.control.process.as_ref().map(|process| process.line.0);
        if let (Err(why), Some(role)) = (self.control.spawned(stage, token, outcome), role) {
            stage.log(Level::Warning, format!("Failed to start a process: {why}"));
            self.done(stage, role, "resources");
        }
    }

    fn exited(&mut self, stage: &mut Stage<'_>, pid: Pid, status: ExitStatus) {
        let Some(ended) = self.control.exited(stage.stamp(), pid, status) else { return };
        let (role, index) = ended.line;
        let settings = settings(stage);
        if ended.result != SUCCESS {
            let message =
                format!("{}: Control process exited, {}", stage.name(), super::service::describe(status));
            stage.log(Level::Notice, message);
            self.fail(ended.result);
        }
        match self.state {
            State::StopPreSigterm | State::StopPreSigkill | State::FinalSigterm | State::FinalSigkill => {
                self.enter_signal(stage, self.state, SUCCESS);
            }
            _ if ended.result != SUCCESS => self.done(stage, role, ended.result),
            _ => match self.control.run(stage, settings.commands(role), role, index + 1, settings.timeout) {
                Ok(true) => {}
                Ok(false) => self.done(stage, role, SUCCESS),
                Err(why) => {
                    stage.log(Level::Warning, why);
                    self.done(stage, role, "resources");
                }
            },
        }
    }

    fn elapsed(&mut self, stage: &mut Stage<'_>) {
        if !self.control.is_due(stage.now()) {
            return;
        }
        let message = format!("{}: State '{}' timed out.", stage.name(), self.state.names().1);
        stage.log(Level::Warning, message);
        let kills = stage.base.unit.kill.send_sigkill;
        match self.state {
            State::StartPre | State::StopPost => self.enter_signal(stage, State::FinalSigterm, "timeout"),
            State::StartPost | State::StopPre => self.enter_signal(stage, State::StopPreSigterm, "timeout"),
            State::StopPreSigterm if kills => self.enter_signal(stage, State::StopPreSigkill, "timeout"),
            State::FinalSigterm if kills => self.enter_signal(stage, State::FinalSigkill, "timeout"),
            State::StopPreSigterm | State::StopPreSigkill => {
                self.fail("timeout");
                self.control.forget(stage);
                self.set_state(stage, State::StopPost);
                self.enter(stage, Role::StopPost, State::StopPost);
            }
            State::FinalSigterm | State::FinalSigkill => {
                self.fail("timeout");
                self.enter_dead(stage);
            }
            _ => {}
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

fn settings(stage: &Stage<'_>) -> SocketSettings {
    stage.base.unit.socket().cloned().unwrap_or_default()
}
