//! The [Service] section, systemd.service(5).

use std::collections::BTreeSet;

use super::Commands;
use crate::exec::CommandLine;
use crate::{ExitStatus, INFINITY, Role, Usec};

/// Type=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceType {
    /// Up as soon as it is forked.
    #[default]
    Simple,
    /// Up as soon as the program is executed.
    Exec,
    /// Up when the process that was started has ended and left a daemon.
    Forking,
    /// Up when it has run.
    Oneshot,
    /// Up when its bus name is taken (for now: as exec).
    Dbus,
    /// Up when it says READY=1.
    Notify,
    /// Like simple, but run when all else is done.
    Idle,
}

impl ServiceType {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceType::Simple => "simple",
            ServiceType::Exec => "exec",
            ServiceType::Forking => "forking",
            ServiceType::Oneshot => "oneshot",
            ServiceType::Dbus => "dbus",
            ServiceType::Notify => "notify",
            ServiceType::Idle => "idle",
        }
    }
}

/// Restart=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// After a clean exit.
    OnSuccess,
    /// After anything unclean.
    OnFailure,
    /// After anything unclean but an exit code.
    OnAbnormal,
    /// After a missed watchdog.
    OnWatchdog,
    /// After an unclean signal.
    OnAbort,
    /// Always.
    Always,
}

impl Restart {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Restart::No => "no",
            Restart::OnSuccess => "on-success",
            Restart::OnFailure => "on-failure",
            Restart::OnAbnormal => "on-abnormal",
            Restart::OnWatchdog => "on-watchdog",
            Restart::OnAbort => "on-abort",
            Restart::Always => "always",
        }
    }
}

/// NotifyAccess=
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum NotifyAccess {
    /// Nobody.
    #[default]
    None,
    /// The main process.
    Main,
    /// The main and control processes.
    Exec,
    /// Every process of the unit.
    All,
}

impl NotifyAccess {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            NotifyAccess::None => "none",
            NotifyAccess::Main => "main",
            NotifyAccess::Exec => "exec",
            NotifyAccess::All => "all",
        }
    }
}

/// ExitType=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExitType {
    /// It ends with its main process.
    #[default]
    Main,
    /// It ends with the last process of its cgroup.
    Cgroup,
}

impl ExitType {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            ExitType::Main => "main",
            ExitType::Cgroup => "cgroup",
        }
    }
}

/// TimeoutStartFailureMode=, TimeoutStopFailureMode=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeoutMode {
    /// SIGTERM, and the rest of stopping.
    #[default]
    Terminate,
    /// WatchdogSignal=
    Abort,
    /// FinalKillSignal= at once.
    Kill,
}

impl TimeoutMode {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeoutMode::Terminate => "terminate",
            TimeoutMode::Abort => "abort",
            TimeoutMode::Kill => "kill",
        }
    }
}

/// OOMPolicy=
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OomPolicy {
    /// Log it.
    Continue,
    /// Stop the unit.
    Stop,
    /// Have the kernel kill the rest of it.
    Kill,
}

impl OomPolicy {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            OomPolicy::Continue => "continue",
            OomPolicy::Stop => "stop",
            OomPolicy::Kill => "kill",
        }
    }
}

/// A set of exit codes and signals: SuccessExitStatus= and its kin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExitSet {
    /// Exit codes.
    pub codes: BTreeSet<i32>,
    /// Signals.
    pub signals: BTreeSet<i32>,
}

impl ExitSet {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty() && self.signals.is_empty()
    }

    /// Whether the status is in the set.
    pub fn contains(&self, status: ExitStatus) -> bool {
        match status {
            ExitStatus::Code(code) => self.codes.contains(&code),
            ExitStatus::Signal { signal, .. } => self.signals.contains(&signal),
        }
    }
}

/// A service's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Type=
    pub kind: ServiceType,
    /// Type= was given, or the rest of a file that can be used tells it.
    pub kind_known: bool,
    /// The command lines of each Exec*= directive.
    pub commands: Commands,
    /// RemainAfterExit=
    pub remain_after_exit: bool,
    /// GuessMainPID=
    pub guess_main_pid: bool,
    /// PIDFile=, absolute
    pub pid_file: Option<String>,
    /// BusName=
    pub bus_name: Option<String>,
    /// NotifyAccess=
    pub notify_access: NotifyAccess,
    /// Restart=
    pub restart: Restart,
    /// RestartSec=, µs
    pub restart_usec: Usec,
    /// TimeoutStartSec=, µs; `INFINITY`: none
    pub timeout_start: Usec,
    /// TimeoutStopSec=
    pub timeout_stop: Usec,
    /// TimeoutAbortSec=
    pub timeout_abort: Option<Usec>,
    /// RuntimeMaxSec=
    pub runtime_max: Usec,
    /// RuntimeRandomizedExtraSec=
    pub runtime_extra: Usec,
    /// WatchdogSec=; zero: off
    pub watchdog: Usec,
    /// ExitType=
    pub exit_type: ExitType,
    /// TimeoutStartFailureMode=
    pub timeout_start_mode: TimeoutMode,
    /// TimeoutStopFailureMode=
    pub timeout_stop_mode: TimeoutMode,
    /// OOMPolicy=; `None` only while loading
    pub oom_policy: Option<OomPolicy>,
    /// PermissionsStartOnly=: of old, as if `+` were before every command line but ExecStart='s
    pub permissions_start_only: bool,
    /// FileDescriptorStoreMax=
    pub descriptor_store_max: u32,
    /// USBFunctionDescriptors=
    pub usb_descriptors: Option<String>,
    /// USBFunctionStrings=
    pub usb_strings: Option<String>,
    /// SuccessExitStatus=
    pub success: ExitSet,
    /// RestartPreventExitStatus=
    pub restart_prevent: ExitSet,
    /// RestartForceExitStatus=
    pub restart_force: ExitSet,
    /// RootDirectoryStartOnly=
    pub root_directory_start_only: bool,
}

impl Default for ServiceSettings {
    fn default() -> Self {
        ServiceSettings {
            kind: ServiceType::Simple,
            kind_known: false,
            commands: Commands::default(),
            remain_after_exit: false,
            guess_main_pid: true,
            pid_file: None,
            bus_name: None,
            notify_access: NotifyAccess::None,
            restart: Restart::No,
            restart_usec: 100_000,
            timeout_start: 90_000_000,
            timeout_stop: 90_000_000,
            timeout_abort: None,
            runtime_max: INFINITY,
            runtime_extra: 0,
            watchdog: 0,
            exit_type: ExitType::Main,
            timeout_start_mode: TimeoutMode::Terminate,
            timeout_stop_mode: TimeoutMode::Terminate,
            oom_policy: None,
            permissions_start_only: false,
            descriptor_store_max: 0,
            usb_descriptors: None,
            usb_strings: None,
            success: ExitSet::default(),
            restart_prevent: ExitSet::default(),
            restart_force: ExitSet::default(),
            root_directory_start_only: false,
        }
    }
}

impl ServiceSettings {
    /// The command lines of a directive.
    pub fn commands(&self, role: Role) -> &[CommandLine] {
        self.commands.of(role)
    }
}
