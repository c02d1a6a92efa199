//! What the engine wants done: the closed set of actions, and what they carry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::settings::{CgroupSettings, ExecSettings};
use crate::{ConnectionId, JobId, Pid, RequestId, SpawnToken, Unit, UnitName, Usec};

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// ExecCondition=
    Condition,
    /// ExecStartPre=
    StartPre,
    /// ExecStart= (the main process, or the control process of a forking service)
    Start,
    /// ExecStartPost=
    StartPost,
    /// ExecReload=
    Reload,
    /// ExecStop=
    Stop,
    /// ExecStopPre= of a socket
    StopPre,
    /// ExecStopPost=
    StopPost,
    /// mount
    Mount,
    /// mount -o remount
    Remount,
    /// umount
    Unmount,
    /// swapon
    Activate,
    /// swapoff
    Deactivate,
}

/// A command's prefixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommandFlags {
    /// `-`: failure counts as success (the engine sees to it).
    pub ignore_failure: bool,
    /// `+`: full privileges: no User=, Group=, capability or sandbox settings.
    pub full_privileges: bool,
    /// `!`: User=, Group= are left to the program.
    pub no_setuid: bool,
    /// `!!`: like `!` but only where ambient capabilities are missing.
    pub ambient: bool,
    /// `:`: no environment substitution (the engine sees to it).
    pub no_substitution: bool,
}

/// A process to start. Everything is resolved: specifiers, environment files, variables.
#[derive(Debug, Clone)]
pub struct Spawn {
    /// The unit.
    pub unit: UnitName,
    /// To be named in `Spawned`, `Executed`, `ExecFailed`.
    pub token: SpawnToken,
    /// What for.
    pub role: Role,
    /// The program: absolute, or a name to look up in `PATH`.
    pub path: String,
    /// Its arguments, the zeroth included.
    pub argv: Vec<String>,
    /// The prefixes of its line.
    pub flags: CommandFlags,
    /// The whole environment, but for what only the child knows: `JOURNAL_STREAM`, and `HOME`, `USER`,
    /// `LOGNAME`, `SHELL` come from `Probe::user`.
    pub environment: Vec<(String, String)>,
    /// How the process is set up.
    pub exec: Arc<ExecSettings>,
    /// Its cgroup from the root: `/system.slice/x.service`.
    pub cgroup: String,
    /// That cgroup's settings.
    pub resources: Arc<CgroupSettings>,
    /// With a subcgroup `.control` when the unit is delegated and this is a control process.
    pub control_cgroup: bool,
    /// The descriptors to pass, in this order, from 3 on (sd_listen_fds(3)).
    pub passed: Vec<Passed>,
    /// JoinsNamespaceOf=, from either side: the units whose private namespaces and files are this one's too.
    pub joins: Vec<UnitName>,
    /// A folder to make first, and its mode: where mount(8) is to mount.
    pub mount_point: Option<(String, u32)>,
}

/// Descriptors that the shell holds and a process is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// Those of a socket unit.
    Socket(UnitName),
    /// The connection that the service was started for.
    Connection(ConnectionId),
    /// Those that the unit has stored (FDSTORE=1).
    Store(UnitName),
}

/// Whom a signal is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One process.
    Pid(Pid),
    /// Every process below a cgroup (`/system.slice/x.service`).
    Cgroup(String),
}

/// How a job ended; `JobRemoved`'s result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobResult {
    /// As asked.
    Done,
    /// Canceled by another job or by hand.
    Canceled,
    /// It took longer than the job's time.
    Timeout,
    /// The unit failed.
    Failed,
    /// A unit that it needs failed.
    Dependency,
    /// Nothing to do: a condition did not hold, or it was not active.
    Skipped,
    /// Its unit cannot do that.
    Invalid,
    /// An assertion did not hold.
    Assert,
    /// The unit cannot run on this system.
    Unsupported,
}

impl JobResult {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobResult::Done => "done",
            JobResult::Canceled => "canceled",
            JobResult::Timeout => "timeout",
            JobResult::Failed => "failed",
            JobResult::Dependency => "dependency",
            JobResult::Skipped => "skipped",
            JobResult::Invalid => "invalid",
            JobResult::Assert => "assert",
            JobResult::Unsupported => "unsupported",
        }
    }
}

/// Why a request did not become a job. The text is systemd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such unit file.
    #[error("Unit {0} not found.")]
    NotFound(UnitName),
    /// It is masked.
    #[error("Unit {0} is masked.")]
    Masked(UnitName),
    /// Its file cannot be read or lacks what it needs.
    #[error("Unit {unit} has a bad unit file setting: {why}")]
    BadSetting {
        /// The unit.
        unit: UnitName,
        /// What is wrong.
        why: String,
    },
    /// A template without an instance.
    #[error("Unit name {0} is missing the instance name.")]
    Template(UnitName),
    /// RefuseManualStart=, RefuseManualStop=, or a kind that users may not operate.
    #[error(
        "Operation refused, unit {0} may be requested by dependency only (it is configured to refuse manual start/stop)."
    )]
    OnlyByDependency(UnitName),
    /// AllowIsolate= is off.
    #[error("Operation refused, unit {0} may not be isolated.")]
    NoIsolate(UnitName),
    /// This kind of unit cannot do this.
    #[error("Job type {verb} is not applicable for unit {unit}.")]
    NotApplicable {
        /// The unit.
        unit: UnitName,
        /// What was asked.
        verb: &'static str,
    },
    /// Conflicts with a job that may not be replaced.
    #[error("Transaction for {unit}/{verb} is destructive ({other} has a job queued).")]
    Destructive {
        /// The unit.
        unit: UnitName,
        /// What was asked.
        verb: &'static str,
        /// Whose job is in the way.
        other: UnitName,
    },
    /// The request contradicts itself.
    #[error(
        "Transaction contains conflicting jobs for {0}. Probably contradicting requirement dependencies configured."
    )]
    Contradiction(UnitName),
    /// An ordering cycle without a job that could be dropped.
    #[error("Transaction order is cyclic. See system logs for details.")]
    Cycle,
}

impl RequestError {
    /// The D-Bus error name that systemctl knows.
    pub fn dbus_name(&self) -> &'static str {
        match self {
            RequestError::NotFound(_) => "org.freedesktop.systemd1.NoSuchUnit",
            RequestError::Masked(_) => "org.freedesktop.systemd1.UnitMasked",
            RequestError::BadSetting { .. } => "org.freedesktop.systemd1.BadUnitSetting",
            RequestError::Template(_) => "org.freedesktop.DBus.Error.InvalidArgs",
            RequestError::OnlyByDependency(_) => "org.freedesktop.systemd1.OnlyByDependency",
            RequestError::NoIsolate(_) => "org.freedesktop.systemd1.NoIsolation",
            RequestError::NotApplicable { .. } => "org.freedesktop.systemd1.JobTypeNotApplicable",
            RequestError::Destructive { .. } => "org.freedesktop.systemd1.TransactionIsDestructive",
            RequestError::Contradiction(_) => "org.freedesktop.systemd1.TransactionJobsConflicting",
            RequestError::Cycle => "org.freedesktop.systemd1.TransactionOrderIsCyclic",
        }
    }
}

/// syslog's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// 0
    Emergency,
    /// 1
    Alert,
    /// 2
    Critical,
    /// 3
    Error,
    /// 4
    Warning,
    /// 5
    Notice,
    /// 6
    Info,
    /// 7
    Debug,
}

/// The column in front of a console line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// `         Starting X...`
    Begins,
    /// `[  OK  ] Started X.`
    Ok,
    /// `[FAILED] Failed to start X.`
    Failed,
    /// `[DEPEND] Dependency failed for X.`
    Depend,
    /// `[ TIME ] Timed out starting X.`
    Time,
    /// `[ SKIP ] …`
    Skip,
}

/// The ways in which a system goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Power off.
    PowerOff,
    /// Reboot.
    Reboot,
    /// Stop the processor.
    Halt,
    /// Into the loaded kernel.
    Kexec,
    /// PID 1 exits (containers), with a status.
    Exit(i32),
}

/// Everything the engine can want. Carry them out in order.
#[derive(Debug, Clone)]
pub enum Action {
    /// Start a process; answer with `Spawned`.
    Spawn(Box<Spawn>),
    /// Send a signal.
    Signal {
        /// For which unit.
        unit: UnitName,
        /// To whom.
        target: Target,
        /// The signal's number.
        signal: i32,
    },
    /// Make a cgroup with its settings (a slice starts, or settings changed).
    ConfigureCgroup {
        /// The unit.
        unit: UnitName,
        /// From the root: `/system.slice`.
        cgroup: String,
        /// The settings.
        resources: Arc<CgroupSettings>,
    },
    /// Remove a unit's cgroup with all below it; it should be empty.
    RemoveCgroup {
        /// The unit.
        unit: UnitName,
        /// From the root.
        cgroup: String,
    },
    /// Remove a stopped unit's RuntimeDirectory= trees (absolute paths).
    RemoveDirectories {
        /// The unit.
        unit: UnitName,
        /// Absolute.
        paths: Vec<String>,
    },
    /// Open a socket unit's descriptors; answer with `SocketsOpened`, before anything else.
    OpenSockets {
        /// The unit with its settings.
        unit: Arc<Unit>,
    },
    /// Tell by `SocketReady`, or `Connected` with Accept=yes, when something comes; or no longer.
    WatchSockets {
        /// The unit.
        unit: UnitName,
        /// Whether to.
        on: bool,
    },
    /// Take in and throw away what waits at a socket unit's descriptors.
    FlushSockets {
        /// The unit.
        unit: UnitName,
    },
    /// Close a socket unit's descriptors; with RemoveOnStop= remove the nodes too.
    CloseSockets {
        /// The unit with its settings.
        unit: Arc<Unit>,
    },
    /// Close an accepted connection.
    CloseConnection {
        /// From `Connected`.
        id: ConnectionId,
    },
    /// Keep the descriptors that came with the notification at hand, as many as there may be in all.
    Store {
        /// The unit.
        unit: UnitName,
        /// FDNAME=
        name: Option<String>,
        /// FileDescriptorStoreMax=
        most: u32,
    },
    /// Close the descriptors that a service has stored: all, or those of a name.
    DropStore {
        /// The unit.
        unit: UnitName,
        /// FDNAME=
        name: Option<String>,
    },
    /// Make a file, if it is not there, and set its time of modification: µs since 1970, or now.
    Touch {
        /// The unit.
        unit: UnitName,
        /// Absolute.
        path: String,
        /// The time.
        at: Option<Usec>,
    },
    /// Make the folders of a path unit (MakeDirectory=).
    MakePaths {
        /// The unit with its settings.
        unit: Arc<Unit>,
    },
    /// Tell by `PathTouched` when something happens to the paths of a path unit; begin with one such event.
    WatchPaths {
        /// The unit with its settings.
        unit: Arc<Unit>,
    },
    /// No longer watch them.
    UnwatchPaths {
        /// The unit.
        unit: UnitName,
    },
    /// Put an autofs in place; answer with `AutomountPlaced`, before anything else.
    PlaceAutomount {
        /// The unit with its settings.
        unit: Arc<Unit>,
    },
    /// Let those go on, or fail, who wait at an autofs.
    AnswerAutomount {
        /// The unit.
        unit: UnitName,
        /// Whether the mount is there.
        mounted: bool,
    },
    /// Take the autofs away.
    RemoveAutomount {
        /// The unit.
        unit: UnitName,
    },
    /// Let the kernel say when the mount on an autofs has not been used for so long (TimeoutIdleSec=).
    ExpireAutomount {
        /// The unit.
        unit: UnitName,
    },
    /// Move processes into a scope's cgroup.
    Adopt {
        /// The unit.
        unit: UnitName,
        /// The processes.
        pids: Vec<Pid>,
        /// The cgroup, from the root.
        cgroup: String,
        /// Its settings.
        resources: Arc<CgroupSettings>,
    },
    /// A job was queued; `request` when somebody asked for just this one.
    JobQueued {
        /// The job.
        job: JobId,
        /// The request that it answers, if any.
        request: Option<RequestId>,
        /// Its unit.
        unit: UnitName,
    },
    /// A job is over.
    JobDone {
        /// The job.
        job: JobId,
        /// The requests that waited for it.
        requests: Vec<RequestId>,
        /// Its unit.
        unit: UnitName,
        /// How.
        result: JobResult,
    },
    /// No job came of a request.
    Refused {
        /// The request.
        id: RequestId,
        /// Why.
        error: RequestError,
    },
    /// A unit is in memory that was not.
    Loaded {
        /// The unit.
        unit: UnitName,
    },
    /// Something that systemctl can see changed.
    Changed {
        /// The unit.
        unit: UnitName,
    },
    /// A line for the journal.
    Log {
        /// About whom.
        unit: Option<UnitName>,
        /// How bad.
        level: Level,
        /// The line.
        message: String,
    },
    /// A line for the console, and for the journal.
    Announce {
        /// About whom.
        unit: UnitName,
        /// The column in front.
        kind: Announcement,
        /// The line.
        message: String,
    },
    /// Everything is stopped: go down.
    Shutdown(Shutdown),
    /// The next reboot gives the firmware this argument.
    RebootArgument(String),
}
