//! What happens to the engine: the closed set of events, and the small types they carry.

use serde::{Deserialize, Serialize};

use crate::{UnitName, notify::Notify};

/// A process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pid(pub u32);

/// The number that the shell gives to somebody's request; it comes back in `JobQueued`, `JobDone`, `Refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// A job's number: never used twice, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobId(pub u32);

/// Ties a `Spawn` to the events that answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpawnToken(pub u64);

/// The shell's number for a connection that it has accepted; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

/// A connection that was accepted for a socket unit with Accept=yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// Its number.
    pub id: ConnectionId,
    /// Who is at the other end, for MaxConnectionsPerSource=: an address, or a user's number.
    pub source: String,
    /// How the instance is called behind its number: `127.0.0.1:22-127.0.0.1:49152`, or `1234-0` (pid, uid).
    pub instance: String,
}

/// A line of /proc/swaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapEntry {
    /// The device or file.
    pub what: String,
    /// Its priority.
    pub priority: i32,
}

/// A device that the kernel has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its folder: `/sys/devices/…`.
    pub sysfs: String,
    /// The paths that units may name it by: `/sys/…`, `/dev/vda`, `/dev/disk/by-label/STATE`.
    pub paths: Vec<String>,
    /// What it is, for its description.
    pub description: String,
}

/// What somebody wants of a unit. Isolating is `Start` with `JobMode::Isolate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start it, with all that it needs.
    Start,
    /// Stop it, with all that needs it.
    Stop,
    /// Have it read its configuration again; refused where it has no way to.
    Reload,
    /// Stop it if it runs, then start it.
    Restart,
    /// Restart it if it runs.
    TryRestart,
    /// Reload if it can, else restart.
    ReloadOrRestart,
    /// Reload if it can, else restart, but only if it runs.
    ReloadOrTryRestart,
    /// Fail unless it is active.
    VerifyActive,
}

/// How a request gets along with jobs that are queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JobMode {
    /// Refuse when it conflicts with a queued job.
    Fail,
    /// Replace what conflicts.
    #[default]
    Replace,
    /// Replace what conflicts, and let nothing replace the new jobs.
    ReplaceIrreversibly,
    /// Stop every other unit.
    Isolate,
    /// Cancel all queued jobs first.
    Flush,
    /// Pull in nothing and wait for nothing.
    IgnoreDependencies,
    /// Wait as always but pull in nothing.
    IgnoreRequirements,
}

/// Which processes of a unit a `Kill` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillWhom {
    /// All in its cgroup.
    All,
    /// The main process.
    Main,
    /// The control process.
    Control,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It called exit.
    Code(i32),
    /// A signal killed it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core.
        core: bool,
    },
}

/// A line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountEntry {
    /// What is mounted.
    pub what: String,
    /// The mount point, unescaped and absolute.
    pub place: String,
    /// The file system's type.
    pub fs_type: String,
    /// Its options, comma separated.
    pub options: String,
}

/// Everything that can happen.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody wants something. Answered by `JobQueued` and later `JobDone`, or by `Refused`.
    Request {
        /// The asker's number for it.
        id: RequestId,
        /// What.
        verb: Verb,
        /// Of which unit; aliases are followed.
        unit: UnitName,
        /// Against what else is queued.
        mode: JobMode,
    },
    /// Cancel a queued job.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// Load a unit, so that `status` can tell of it (of a missing one too).
    Load {
        /// The unit.
        unit: UnitName,
    },
    /// Forget that a unit failed, and its start limit counter; `None`: of all units.
    ResetFailed {
        /// The unit.
        unit: Option<UnitName>,
    },
    /// Send a signal to a unit's processes (systemctl kill).
    Kill {
        /// The unit.
        unit: UnitName,
        /// Which of its processes.
        whom: KillWhom,
        /// The signal's number.
        signal: i32,
    },
    /// The answer to `Action::Spawn`: the fork worked, or why not. Hand it in before anything that comes later.
    Spawned {
        /// The unit.
        unit: UnitName,
        /// From the action.
        token: SpawnToken,
        /// The child, or why there is none.
        outcome: Result<Pid, String>,
    },
    /// The child executed the program: its close-on-exec pipe closed without a word.
    Executed {
        /// The unit.
        unit: UnitName,
        /// From the action.
        token: SpawnToken,
    },
    /// The child could not execute the program and will exit with this status (203 exec, 217 user, …).
    ExecFailed {
        /// The unit.
        unit: UnitName,
        /// From the action.
        token: SpawnToken,
        /// The exit status that will follow by `Exited`.
        code: i32,
        /// Why, for the log.
        why: String,
    },
    /// A child was reaped. Of any pid: the engine knows which are its own. Read the mount table first, and hand in
    /// `MountsChanged` when it changed: a mount unit looks there for what its program did.
    Exited {
        /// The process.
        pid: Pid,
        /// How.
        status: ExitStatus,
    },
    /// A datagram came on the notify socket.
    Notified {
        /// The sender, by credentials.
        pid: Pid,
        /// The sender's unit, by cgroup.
        unit: Option<UnitName>,
        /// The message, parsed by [`Notify::parse`].
        message: Notify,
    },
    /// A unit's cgroup lost its last process.
    CgroupEmpty {
        /// The unit.
        unit: UnitName,
    },
    /// The kernel has killed a process of a unit, for want of memory. Hand it in before the end of that process.
    OomKilled {
        /// The unit.
        unit: UnitName,
    },
    /// A name on the system bus has an owner now, or none any more.
    BusName {
        /// The name.
        name: String,
        /// Somebody owns it.
        owned: bool,
    },
    /// The mount table as it is now.
    MountsChanged {
        /// All of it.
        mounted: Vec<MountEntry>,
    },
    /// The answer to `Action::OpenSockets`. Hand it in before anything that comes later.
    SocketsOpened {
        /// The unit.
        unit: UnitName,
        /// Whether all are open, or why not.
        outcome: Result<(), String>,
    },
    /// Something waits at a watched socket of Accept=no.
    SocketReady {
        /// The unit.
        unit: UnitName,
    },
    /// Somebody has connected to a watched socket of Accept=yes.
    Connected {
        /// The unit.
        unit: UnitName,
        /// The connection.
        connection: Connection,
    },
    /// Something happened to a watched path.
    PathTouched {
        /// The unit.
        unit: UnitName,
        /// It happened to the path of a PathChanged= or PathModified= itself.
        changed: bool,
    },
    /// The answer to `Action::PlaceAutomount`. Hand it in before anything that comes later.
    AutomountPlaced {
        /// The unit.
        unit: UnitName,
        /// Whether it is in place, or why not.
        outcome: Result<(), String>,
    },
    /// Somebody waits at an autofs.
    AutomountWanted {
        /// The unit.
        unit: UnitName,
        /// Who, for the log.
        pid: Pid,
    },
    /// The mount on an autofs has not been used for TimeoutIdleSec=.
    AutomountExpired {
        /// The unit.
        unit: UnitName,
    },
    /// The swaps in use, all of them.
    SwapsChanged {
        /// The lines of /proc/swaps.
        active: Vec<SwapEntry>,
    },
    /// Devices are there, or have changed.
    DevicesPlugged(Vec<Device>),
    /// Processes of a unit run, and PID 1 does not know of it: it has lost its state.
    Found {
        /// The unit.
        unit: UnitName,
        /// The main process, where there is one.
        main: Option<Pid>,
        /// The run that they belong to; empty: not known.
        invocation: String,
    },
    /// A device is gone.
    DeviceGone {
        /// Its folder.
        sysfs: String,
    },
    /// CLOCK_REALTIME was set.
    ClockChanged,
    /// /etc/localtime is another.
    TimezoneChanged,
    /// A scope's creator lets go of it: it is stopped only when asked to.
    Abandon {
        /// The scope.
        unit: UnitName,
    },
    /// The time of [`Engine::deadline`](crate::Engine::deadline) has come.
    Elapsed,
    /// Let go of a unit that is down and has no job. It comes back when somebody names it.
    Forget {
        /// The unit.
        unit: UnitName,
    },
    /// daemon-reload: read all unit files again, keep all state.
    Reload,
}
