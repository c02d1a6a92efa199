//! What can be asked of the engine: the read side for systemctl.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    CommandFlags, Dependency, ExitStatus, JobId, JobKind, JobState, Pid, Role, Unit, UnitName, Usec,
};

/// Whether a unit's file was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadState {
    /// Read.
    Loaded,
    /// There is none.
    NotFound,
    /// It cannot be used.
    BadSetting,
    /// It cannot be read.
    Error,
    /// It is masked.
    Masked,
}

impl LoadState {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            LoadState::Loaded => "loaded",
            LoadState::NotFound => "not-found",
            LoadState::BadSetting => "bad-setting",
            LoadState::Error => "error",
            LoadState::Masked => "masked",
        }
    }
}

/// The state that all kinds of units have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ActiveState {
    /// Not running.
    #[default]
    Inactive,
    /// Starting.
    Activating,
    /// Up.
    Active,
    /// Up, and reading its configuration.
    Reloading,
    /// Stopping.
    Deactivating,
    /// Not running, and that is not as it should be.
    Failed,
}

impl ActiveState {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            ActiveState::Inactive => "inactive",
            ActiveState::Activating => "activating",
            ActiveState::Active => "active",
            ActiveState::Reloading => "reloading",
            ActiveState::Deactivating => "deactivating",
            ActiveState::Failed => "failed",
        }
    }

    /// Active or reloading.
    pub fn is_up(self) -> bool {
        matches!(self, ActiveState::Active | ActiveState::Reloading)
    }

    /// Inactive or failed.
    pub fn is_down(self) -> bool {
        matches!(self, ActiveState::Inactive | ActiveState::Failed)
    }
}

/// A moment on both clocks; zero: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// CLOCK_REALTIME, µs.
    pub realtime: Usec,
    /// CLOCK_MONOTONIC, µs.
    pub monotonic: Usec,
}

/// A command line of a unit, and how its last run went.
#[derive(Debug, Clone)]
pub struct CommandStatus {
    /// Of which directive.
    pub role: Role,
    /// The program.
    pub path: String,
    /// Its arguments, specifiers resolved, variables not.
    pub argv: Vec<String>,
    /// What was in front.
    pub flags: CommandFlags,
    /// When it was started.
    pub start: Stamp,
    /// When it ended.
    pub exit: Stamp,
    /// Its process.
    pub pid: Option<Pid>,
    /// How it ended.
    pub status: Option<ExitStatus>,
}

/// A job.
#[derive(Debug, Clone)]
pub struct JobStatus {
    /// Its number.
    pub id: JobId,
    /// Its unit.
    pub unit: UnitName,
    /// What it does.
    pub kind: JobKind,
    /// Whether it runs.
    pub state: JobState,
}

/// What only some kinds of units have to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Details {
    /// Nothing more.
    None,
    /// Of a service.
    Service {
        /// Descriptors that it has stored.
        stored: u32,
    },
    /// Of a socket.
    Socket {
        /// Open connections of Accept=yes.
        connections: u32,
        /// All that were accepted.
        accepted: u32,
        /// All that were refused by a limit.
        refused: u32,
    },
    /// Of a timer.
    Timer {
        /// When it last elapsed.
        last_trigger: Stamp,
        /// The next time of its calendar values: µs since 1970.
        next_realtime: Option<Usec>,
        /// The next time of its other values: monotonic.
        next_monotonic: Option<Usec>,
        /// What each value comes to by its own clock, in the order of the settings.
        next_of: Vec<Option<Usec>>,
    },
    /// Of a swap.
    Swap {
        /// The kernel's priority while it is active.
        priority: Option<i32>,
    },
    /// Of a device.
    Device {
        /// Its folder in /sys; empty while it is not there.
        sysfs: String,
        /// What it is.
        description: String,
    },
}

/// All that is known of a unit.
#[derive(Debug, Clone)]
pub struct UnitStatus {
    /// The loaded definition: description, documentation, fragment and drop-in paths, typed settings.
    pub definition: Arc<Unit>,
    /// Whether it was read.
    pub load: LoadState,
    /// Why not.
    pub load_error: Option<String>,
    /// The state.
    pub active: ActiveState,
    /// The state in the words of its kind: `running`, `exited`, `mounted`, …
    pub sub: &'static str,
    /// The last change of any kind.
    pub state_change: Stamp,
    /// Left inactive.
    pub inactive_exit: Stamp,
    /// Became active.
    pub active_enter: Stamp,
    /// Left active.
    pub active_exit: Stamp,
    /// Became inactive.
    pub inactive_enter: Stamp,
    /// The conditions were last checked.
    pub condition_stamp: Stamp,
    /// They held.
    pub condition_result: bool,
    /// The assertions were last checked.
    pub assert_stamp: Stamp,
    /// They held.
    pub assert_result: bool,
    /// The job queued for it.
    pub job: Option<JobStatus>,
    /// The main process.
    pub main_pid: Option<Pid>,
    /// The control process.
    pub control_pid: Option<Pid>,
    /// STATUS= of the service.
    pub status_text: Option<String>,
    /// ERRNO= of the service.
    pub status_errno: i32,
    /// `success`, `exit-code`, `signal`, `timeout`, …
    pub result: &'static str,
    /// How often Restart= restarted it.
    pub n_restarts: u32,
    /// The main process's start.
    pub main_start: Stamp,
    /// Its end.
    pub main_exit: Stamp,
    /// How it ended.
    pub main_status: Option<ExitStatus>,
    /// Which one it was, when it has ended.
    pub main_ended: Option<Pid>,
    /// Its command lines.
    pub commands: Vec<CommandStatus>,
    /// Its cgroup, if it had one since its last start: `/system.slice/x.service`.
    pub cgroup: Option<String>,
    /// 32 hex digits; empty before the first start.
    pub invocation_id: String,
    /// Both directions, implicit ones too.
    pub dependencies: BTreeMap<Dependency, Vec<UnitName>>,
    /// Every name, its own first.
    pub names: Vec<UnitName>,
    /// What is mounted, of an active mount unit: what, type, options.
    pub mounted: Option<(String, String, String)>,
    /// What only its kind has to tell.
    pub details: Details,
}
