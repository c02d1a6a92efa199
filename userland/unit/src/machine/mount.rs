//! The state machine of a mount: its work is done by the mount and umount programs, and the mount table tells.

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::{Life, Stage, Step, Word, kill::Force};
use crate::exec::CommandLine;
use crate::saved::word;
use crate::settings::MountSettings;
use crate::{
    ActiveState, CommandFlags, ExitStatus, INFINITY, Level, MountEntry, Pid, Role, SpawnToken, Usec,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Dead,
    Mounting,
    Mounted,
    Remounting,
    Unmounting,
    MountingSigterm,
    MountingSigkill,
    UnmountingSigterm,
    UnmountingSigkill,
    Failed,
}

impl State {
    fn names(self) -> (ActiveState, &'static str) {
        match self {
            State::Dead => (ActiveState::Inactive, "dead"),
            State::Mounting => (ActiveState::Activating, "mounting"),
            State::Mounted => (ActiveState::Active, "mounted"),
            State::Remounting => (ActiveState::Reloading, "remounting"),
            State::Unmounting => (ActiveState::Deactivating, "unmounting"),
            State::MountingSigterm => (ActiveState::Deactivating, "mounting-sigterm"),
            State::MountingSigkill => (ActiveState::Deactivating, "mounting-sigkill"),
            State::UnmountingSigterm => (ActiveState::Deactivating, "unmounting-sigterm"),
            State::UnmountingSigkill => (ActiveState::Deactivating, "unmounting-sigkill"),
            State::Failed => (ActiveState::Failed, "failed"),
        }
    }
}

/// A mount's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Mount::new")]
pub(crate) struct Mount {
    state: State,
    #[serde(deserialize_with = "word")]
    pub(crate) result: Word,
    pub(crate) control: Option<Process>,
    /// The mount table's line.
    pub(crate) entry: Option<MountEntry>,
    timer: Option<Usec>,
    attempts: u32,
}

const SUCCESS: &str = "success";
/// Something is often mounted more than once at a place.
const MOST_UNMOUNTS: u32 = 32;

impl Mount {
    pub(crate) fn new() -> Mount {
        Mount { state: State::Dead, result: SUCCESS, control: None, entry: None, timer: None, attempts: 0 }
    }

    pub(crate) fn sub(&self) -> &'static str {
        self.state.names().1
    }

    fn unmount(&mut self, stage: &mut Stage<'_>) {
        self.attempts += 1;
        let settings = settings(stage);
        let mut arguments = vec![settings.place.clone()];
        if settings.lazy_unmount {
            arguments.push("-l".into());
        }
        if settings.force_unmount {
            arguments.push("-f".into());
        }
        self.run(stage, Role::Unmount, "/usr/bin/umount", arguments, State::Unmounting);
    }

    fn run(&mut self, stage: &mut Stage<'_>, role: Role, path: &str, arguments: Vec<String>, state: State) {
        let argv = std::iter::once(path.to_string()).chain(arguments).collect();
        let flags = CommandFlags { no_substitution: true, ..CommandFlags::default() };
        let line = CommandLine { path: path.into(), argv, flags };
        match stage.spawn(role, &line, &[], false, Vec::new()) {
            Ok(token) => {
                self.control =
                    Some(Process { token: Some(token), pid: None, line: (role, 0), ignore_failure: false });
                let time = settings(stage).timeout;
                self.timer = if time == INFINITY { None } else { Some(stage.now().saturating_add(time)) };
                self.set_state(stage, state);
            }
            Err(why) => {
                stage.log(Level::Warning, why);
                self.settle(stage, "resources");
            }
        }
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        self.state = state;
        if matches!(state, State::Dead | State::Mounted | State::Failed) {
            self.timer = None;
        }
        let (active, sub) = state.names();
        let reload_failed = self.result != SUCCESS && state == State::Mounted;
        stage.enter_with(active, sub, false, reload_failed);
    }

    /// No program runs: the mount table decides.
    fn settle(&mut self, stage: &mut Stage<'_>, result: &'static str) {
        if result != SUCCESS {
            self.result = result;
        }
        stage.remove_cgroup();
        let mounted = self.entry.is_some();
        let state = match (mounted, self.result) {
            (true, _) => State::Mounted,
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
        let force = match state {
            State::MountingSigkill | State::UnmountingSigkill => Force::Kill,
            _ => Force::Ask,
        };
        let control = self.control.clone();
        if stage.kill(force, None, control.as_ref()) {
            self.timer = Some(stage.now().saturating_add(settings(stage).timeout));
            self.set_state(stage, state);
        } else {
            self.settle(stage, "timeout");
        }
    }

    /// The mount table's line for this place is now so.
    pub(crate) fn table(&mut self, stage: &mut Stage<'_>, entry: Option<MountEntry>) {
        if self.entry == entry {
            return;
        }
        self.entry = entry;
        match (self.state, self.entry.is_some()) {
            (State::Dead | State::Failed, true) => {
                self.result = SUCCESS;
                self.set_state(stage, State::Mounted);
            }
            (State::Mounted, false) => self.set_state(stage, State::Dead),
            _ => {}
        }
    }
}

impl Life for Mount {
    fn pids(&self) -> (Option<Pid>, Option<Pid>) {
        (None, self.control.as_ref().and_then(|process| process.pid))
    }

    fn deadline(&self) -> Option<Usec> {
        self.timer
    }

    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        match self.state {
            State::Mounting | State::Mounted | State::Remounting => return Step::Begun,
            State::Dead | State::Failed => {}
            _ => return Step::Later,
        }
        self.result = SUCCESS;
        stage.new_invocation();
        let settings = settings(stage);
        let mut arguments = vec![settings.what.clone(), settings.place.clone()];
        if !settings.fs_type.is_empty() && settings.fs_type != "auto" {
            arguments.extend(["-t".to_string(), settings.fs_type.clone()]);
        }
        let options: Vec<&str> = settings
            .options
            .split(',')
            .filter(|option| !option.is_empty() && *option != "nofail" && !option.starts_with("x-"))
            .collect();
        if !options.is_empty() {
            arguments.extend(["-o".to_string(), options.join(",")]);
        }
        if settings.read_write_only {
            arguments.push("-w".into());
        }
        self.run(stage, Role::Mount, "/usr/bin/mount", arguments, State::Mounting);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        match self.state {
            State::Mounted | State::Remounting => {
                self.attempts = 0;
                self.unmount(stage);
            }
            State::Mounting => self.signal(stage, State::MountingSigterm),
            _ => {}
        }
        Step::Begun
    }

    fn reload(&mut self, stage: &mut Stage<'_>) -> Step {
        if self.state != State::Mounted {
            return Step::Later;
        }
        let settings = settings(stage);
        let options = if settings.options.is_empty() {
            "remount".into()
        } else {
            format!("remount,{}", settings.options)
        };
        let arguments = vec![settings.what, settings.place, "-o".into(), options];
        self.run(stage, Role::Remount, "/usr/bin/mount", arguments, State::Remounting);
        Step::Begun
    }

    fn spawned(&mut self, stage: &mut Stage<'_>, token: SpawnToken, outcome: Result<Pid, String>) {
        let Some(control) = self.control.as_mut().filter(|control| control.token == Some(token)) else {
            return;
        };
        match outcome {
            Ok(pid) => {
                control.pid = Some(pid);
                stage.fx.pids.insert(pid, stage.base.unit.name.clone());
            }
            Err(why) => {
                self.control = None;
                stage.log(Level::Warning, format!("Failed to start a process: {why}"));
                self.settle(stage, "resources");
            }
        }
    }

    fn exited(&mut self, stage: &mut Stage<'_>, pid: Pid, status: ExitStatus) {
        if !self.control.as_ref().is_some_and(|control| control.is(pid)) {
            return;
        }
        self.control = None;
        let good = status == ExitStatus::Code(0);
        let result = match status {
            _ if good => SUCCESS,
            ExitStatus::Code(_) => "exit-code",
            ExitStatus::Signal { core: true, .. } => "core-dump",
            ExitStatus::Signal { .. } => "signal",
        };
        match self.state {
            // the table is read again before the exit is told: see `mounts_changed`
            State::Mounting if good && self.entry.is_none() => self.settle(stage, "protocol"),
            State::Unmounting if good && self.entry.is_some() && self.attempts < MOST_UNMOUNTS => {
                self.unmount(stage)
            }
            _ => self.settle(stage, result),
        }
    }

    fn elapsed(&mut self, stage: &mut Stage<'_>) {
        if self.timer.is_none_or(|at| at > stage.now()) {
            return;
        }
        self.timer = None;
        let message = format!("{}: State '{}' timed out.", stage.name(), self.sub());
        stage.log(Level::Warning, message);
        let kills = stage.base.unit.kill.send_sigkill;
        self.result = "timeout";
        match self.state {
            State::Mounting | State::Remounting => self.signal(stage, State::MountingSigterm),
            State::Unmounting => self.signal(stage, State::UnmountingSigterm),
            State::MountingSigterm if kills => self.signal(stage, State::MountingSigkill),
            State::UnmountingSigterm if kills => self.signal(stage, State::UnmountingSigkill),
            _ => {
                self.control = None;
                self.settle(stage, "timeout");
            }
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

fn settings(stage: &Stage<'_>) -> MountSettings {
    stage.base.unit.mount().cloned().unwrap_or_default()
}
