//! The typed settings of a unit, section by section, with systemd's defaults.

mod cgroup;
mod exec;
mod install;
mod kill;
mod mount;
mod service;

pub use cgroup::{
    Accounting, AddressPrefix, Amount, CgroupSettings, Device, DevicePolicy, IoLimit, IoSettings, ManagedOom,
    SocketBind,
};
pub use exec::{
    ALL_CAPABILITIES, Bind, Credentials, Directories, DirectoryKind, ExecSettings, Input, KeyringMode,
    LoadedCredential, Logging, NAMESPACES, NameList, Output, PathRule, Preserve, ProcSubset, ProtectHome,
    ProtectProc, ProtectSystem, Refusal, ResourceLimit, Sandbox, Scheduling, SetCredential, SystemCalls,
    Terminal, Told, WorkingDirectory, syscalls,
};
pub use install::Install;
pub use kill::{KillMode, KillSettings};
pub use mount::MountSettings;
pub use service::{
    ExitSet, ExitType, NotifyAccess, OomPolicy, Restart, ServiceSettings, ServiceType, TimeoutMode,
};
