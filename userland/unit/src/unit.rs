//! A loaded unit: what its files, and the defaults, say it is.

use std::collections::BTreeSet;

use crate::condition::Check;
use crate::settings::{
    AutomountSettings, CgroupSettings, ExecSettings, KillSettings, MountSettings, PathSettings,
    ScopeSettings, ServiceSettings, SocketSettings, SwapSettings, TimerSettings,
};
use crate::{Dependency, Edges, LoadState, Shutdown, UnitName, UnitType, Usec};
use std::sync::Arc;

/// What is particular to a kind of unit.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A service.
    Service(Box<ServiceSettings>),
    /// A mount.
    Mount(Box<MountSettings>),
    /// A target.
    Target,
    /// A slice.
    Slice,
    /// A device.
    Device,
    /// A socket.
    Socket(Box<SocketSettings>),
    /// A timer.
    Timer(Box<TimerSettings>),
    /// A path.
    Path(Box<PathSettings>),
    /// An automount.
    Automount(Box<AutomountSettings>),
    /// A swap.
    Swap(Box<SwapSettings>),
    /// A scope.
    Scope(Box<ScopeSettings>),
}

/// What a start limit, a job timeout or a failure leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EmergencyAction {
    /// Nothing.
    #[default]
    None,
    /// Start the target of that shutdown.
    Orderly(Shutdown),
    /// Without stopping units, but with file systems unmounted.
    Force(Shutdown),
    /// At once.
    Immediate(Shutdown),
}

impl EmergencyAction {
    /// Every action, with systemd's word for it.
    pub const ALL: &'static [(&'static str, EmergencyAction)] = &[
        ("none", EmergencyAction::None),
        ("reboot", EmergencyAction::Orderly(Shutdown::Reboot)),
        ("reboot-force", EmergencyAction::Force(Shutdown::Reboot)),
        ("reboot-immediate", EmergencyAction::Immediate(Shutdown::Reboot)),
        ("poweroff", EmergencyAction::Orderly(Shutdown::PowerOff)),
        ("poweroff-force", EmergencyAction::Force(Shutdown::PowerOff)),
        ("poweroff-immediate", EmergencyAction::Immediate(Shutdown::PowerOff)),
        ("exit", EmergencyAction::Orderly(Shutdown::Exit(0))),
        ("exit-force", EmergencyAction::Force(Shutdown::Exit(0))),
        // these came after 252
        ("halt", EmergencyAction::Orderly(Shutdown::Halt)),
        ("halt-force", EmergencyAction::Force(Shutdown::Halt)),
        ("halt-immediate", EmergencyAction::Immediate(Shutdown::Halt)),
        ("kexec", EmergencyAction::Orderly(Shutdown::Kexec)),
        ("kexec-force", EmergencyAction::Force(Shutdown::Kexec)),
    ];

    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        let plain = self.exiting_with(Some(0));
        EmergencyAction::ALL.iter().find(|(_, action)| *action == plain).map_or("none", |(name, _)| name)
    }

    /// An exit with this status; any other action, or none, stays as it is.
    #[must_use]
    pub fn exiting_with(self, status: Option<u8>) -> EmergencyAction {
        let exit = |old| Shutdown::Exit(status.map_or(old, i32::from));
        match self {
            EmergencyAction::Orderly(Shutdown::Exit(old)) => EmergencyAction::Orderly(exit(old)),
            EmergencyAction::Force(Shutdown::Exit(old)) => EmergencyAction::Force(exit(old)),
            other => other,
        }
    }

    /// The action of this name.
    pub fn parse(text: &str) -> Option<EmergencyAction> {
        EmergencyAction::ALL.iter().find(|(name, _)| *name == text).map(|(_, action)| *action)
    }
}

/// A unit as loaded. Shared and unchanged until the next reload.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name, never an alias.
    pub name: UnitName,
    /// Other names.
    pub aliases: Vec<UnitName>,
    /// Whether it was read.
    pub load: LoadState,
    /// Why not.
    pub load_error: Option<String>,
    /// Description=, or the name.
    pub description: String,
    /// Documentation=
    pub documentation: Vec<String>,
    /// The unit file's path.
    pub fragment: Option<String>,
    /// The drop-ins' paths.
    pub drop_ins: Vec<String>,
    /// SourcePath=
    pub source_path: Option<String>,
    /// What it says of others, defaults included; the other direction is in the engine's graph.
    pub dependencies: Edges,
    /// RequiresMountsFor=, explicit and implicit: absolute paths
    pub mounts_for: BTreeSet<String>,
    /// DefaultDependencies=
    pub default_dependencies: bool,
    /// Condition*=
    pub conditions: Vec<Check>,
    /// Assert*=
    pub asserts: Vec<Check>,
    /// StopWhenUnneeded=
    pub stop_when_unneeded: bool,
    /// RefuseManualStart=
    pub refuse_manual_start: bool,
    /// RefuseManualStop=
    pub refuse_manual_stop: bool,
    /// AllowIsolate=
    pub allow_isolate: bool,
    /// IgnoreOnIsolate=
    pub ignore_on_isolate: bool,
    /// OnFailureJobMode=
    pub on_failure_mode: crate::JobMode,
    /// OnSuccessJobMode=
    pub on_success_mode: crate::JobMode,
    /// JobTimeoutSec=
    pub job_timeout: Usec,
    /// JobRunningTimeoutSec=
    pub job_running_timeout: Usec,
    /// JobTimeoutAction=
    pub job_timeout_action: EmergencyAction,
    /// StartLimitIntervalSec=; zero: no limit
    pub start_limit_interval: Usec,
    /// StartLimitBurst=
    pub start_limit_burst: u32,
    /// StartLimitAction=
    pub start_limit_action: EmergencyAction,
    /// FailureAction=
    pub failure_action: EmergencyAction,
    /// SuccessAction=
    pub success_action: EmergencyAction,
    /// FailureActionExitStatus=: what an exit by FailureAction= exits with
    pub failure_exit_status: Option<u8>,
    /// SuccessActionExitStatus=
    pub success_exit_status: Option<u8>,
    /// RebootArgument=
    pub reboot_argument: Option<String>,
    /// JobTimeoutRebootArgument=
    pub job_timeout_reboot_argument: Option<String>,
    /// CollectMode=inactive-or-failed: forget the unit even when it failed
    pub collect_failed: bool,
    /// How its processes are set up.
    pub exec: Arc<ExecSettings>,
    /// Its cgroup's settings.
    pub cgroup: Arc<CgroupSettings>,
    /// How its processes are ended.
    pub kill: KillSettings,
    /// What is particular to its kind.
    pub kind: Kind,
    /// What the files have that we do not take: a line each, with path and line number.
    pub warnings: Vec<String>,
}

impl Unit {
    /// The kind that the name says.
    pub fn unit_type(&self) -> UnitType {
        self.name.unit_type()
    }

    /// The units that this one names under a kind of dependency.
    pub fn names(&self, dependency: Dependency) -> impl Iterator<Item = &UnitName> {
        self.dependencies.each(dependency)
    }

    /// The service settings, if it is one.
    pub fn service(&self) -> Option<&ServiceSettings> {
        match &self.kind {
            Kind::Service(settings) => Some(settings),
            _ => None,
        }
    }

    /// The socket settings, if it is one.
    pub fn socket(&self) -> Option<&SocketSettings> {
        match &self.kind {
            Kind::Socket(settings) => Some(settings),
            _ => None,
        }
    }

    /// The timer settings, if it is one.
    pub fn timer(&self) -> Option<&TimerSettings> {
        match &self.kind {
            Kind::Timer(settings) => Some(settings),
            _ => None,
        }
    }

    /// The path settings, if it is one.
    pub fn path(&self) -> Option<&PathSettings> {
        match &self.kind {
            Kind::Path(settings) => Some(settings),
            _ => None,
        }
    }

    /// The automount settings, if it is one.
    pub fn automount(&self) -> Option<&AutomountSettings> {
        match &self.kind {
            Kind::Automount(settings) => Some(settings),
            _ => None,
        }
    }

    /// The swap settings, if it is one.
    pub fn swap(&self) -> Option<&SwapSettings> {
        match &self.kind {
            Kind::Swap(settings) => Some(settings),
            _ => None,
        }
    }

    /// The scope settings, if it is one.
    pub fn scope(&self) -> Option<&ScopeSettings> {
        match &self.kind {
            Kind::Scope(settings) => Some(settings),
            _ => None,
        }
    }

    /// The mount settings, if it is one.
    pub fn mount(&self) -> Option<&MountSettings> {
        match &self.kind {
            Kind::Mount(settings) => Some(settings),
            _ => None,
        }
    }
}
