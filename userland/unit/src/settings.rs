//! The typed settings of a unit, section by section, with systemd's defaults.

mod address;
mod automount;
mod cgroup;
mod commands;
mod defaults;
mod exec;
mod kill;
mod mount;
mod path;
mod scope;
mod service;
mod socket;
mod swap;
mod timer;

pub use address::Address;
pub use automount::AutomountSettings;
pub use cgroup::{
    Accounting, AddressPrefix, Amount, CgroupSettings, Device, DevicePolicy, IoLimit, IoSettings, ManagedOom,
    Phase, SocketBind,
};
pub use commands::Commands;
pub use defaults::Defaults;
pub use exec::{
    ALL_CAPABILITIES, Bind, Credentials, Directories, DirectoryKind, ExecSettings, Input, KeyringMode,
    LoadedCredential, Logging, NAMESPACES, NameList, Output, PathRule, Preserve, ProcSubset, ProtectHome,
    ProtectProc, ProtectSystem, Refusal, ResourceLimit, Sandbox, Scheduling, SetCredential, SystemCalls,
    Terminal, Told, WorkingDirectory, syscalls,
};
pub use kill::{KillMode, KillSettings};
pub use mount::MountSettings;
pub use path::{PathKind, PathSettings};
pub use scope::ScopeSettings;
pub use service::{
    ExitSet, ExitType, NotifyAccess, OomPolicy, Restart, ServiceSettings, ServiceType, TimeoutMode,
};
pub use socket::{BindIpv6Only, Listen, SocketSettings, Timestamping};
pub use swap::SwapSettings;
pub use timer::{TimerBase, TimerSettings, TimerValue};

/// An absolute path without what says nothing: double slashes, `.`, a slash at the end.
pub(crate) fn normal_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}
