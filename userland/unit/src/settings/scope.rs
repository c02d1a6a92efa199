//! The [Scope] section, systemd.scope(5): processes that somebody else has started.

use crate::{INFINITY, Pid, Usec};

/// A scope's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeSettings {
    /// PIDs=: the processes that it begins with. Only a unit made at run time has them.
    pub pids: Vec<Pid>,
    /// TimeoutStopSec=; `INFINITY`: none
    pub timeout_stop: Usec,
    /// RuntimeMaxSec=; `INFINITY`: none
    pub runtime_max: Usec,
    /// RuntimeRandomizedExtraSec=
    pub runtime_randomized_extra: Usec,
    /// OOMPolicy=: told, and `kill` sets memory.oom.group
    pub oom_policy: String,
}

impl Default for ScopeSettings {
    fn default() -> Self {
        ScopeSettings {
            pids: Vec::new(),
            timeout_stop: 90_000_000,
            runtime_max: INFINITY,
            runtime_randomized_extra: 0,
            oom_policy: "continue".into(),
        }
    }
}
