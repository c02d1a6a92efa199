//! One process of a unit, from the wish to have it to its end.

use serde::{Deserialize, Serialize};

use crate::{Pid, Role, SpawnToken};

/// A process that was asked for; the pid comes with `Spawned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// `None`: a process that the unit made itself (MAINPID=, PIDFile=).
    pub(crate) token: Option<SpawnToken>,
    pub(crate) pid: Option<Pid>,
    /// Of which directive, and which of its lines.
    pub(crate) line: (Role, usize),
    pub(crate) ignore_failure: bool,
}

impl Process {
    pub(crate) fn is(&self, pid: Pid) -> bool {
        self.pid == Some(pid)
    }
}

/// How the last run of a command line went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Run {
    pub(crate) start: crate::Stamp,
    pub(crate) exit: crate::Stamp,
    pub(crate) pid: Option<Pid>,
    pub(crate) status: Option<crate::ExitStatus>,
}
