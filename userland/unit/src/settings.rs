//! The typed settings of a unit, section by section, with systemd's defaults.

mod cgroup;
mod exec;
mod install;
mod kill;
mod mount;
mod service;

pub use cgroup::{Amount, CgroupSettings};
pub use exec::{
    Directories, DirectoryKind, ExecSettings, Input, Output, Preserve, ResourceLimit, WorkingDirectory,
};
pub use install::Install;
pub use kill::{KillMode, KillSettings};
pub use mount::MountSettings;
pub use service::{
    ExitSet, ExitType, NotifyAccess, OomPolicy, Restart, ServiceSettings, ServiceType, TimeoutMode,
};
