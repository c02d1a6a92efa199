//! Jobs: what is queued for a unit, and how two jobs for one unit get along.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ActiveState, JobId, RequestId, UnitName, Usec};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobKind {
    /// Start.
    Start,
    /// Fail unless active.
    VerifyActive,
    /// Stop.
    Stop,
    /// Reload.
    Reload,
    /// Stop, then start.
    Restart,
    /// Do nothing, successfully.
    Nop,
}

impl JobKind {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Start => "start",
            JobKind::VerifyActive => "verify-active",
            JobKind::Stop => "stop",
            JobKind::Reload => "reload",
            JobKind::Restart => "restart",
            JobKind::Nop => "nop",
        }
    }

    /// The one job that does what both do for a unit in this state; `None` if there is none.
    pub fn merge(self, other: JobKind, state: ActiveState) -> Option<JobKind> {
        use JobKind::*;
        if self == other {
            return Some(self);
        }
        match (self.min(other), self.max(other)) {
            (Nop, _) | (_, Nop) => None,
            (Start, VerifyActive) => Some(Start),
            (Start | VerifyActive | Reload, Restart) => Some(Restart),
            (VerifyActive, Reload) => Some(Reload),
            // "reload or start", collapsed
            (Start, Reload) => Some(if state.is_down() { Start } else { Reload }),
            _ => None,
        }
    }

    /// Whether a unit in this state already is what the job wants.
    pub fn is_redundant(self, state: ActiveState) -> bool {
        match self {
            JobKind::Start | JobKind::VerifyActive => state.is_up(),
            JobKind::Stop => state.is_down(),
            JobKind::Reload => state == ActiveState::Reloading,
            JobKind::Restart => state == ActiveState::Activating,
            JobKind::Nop => true,
        }
    }

    /// Whether it takes the unit down first.
    pub fn stops(self) -> bool {
        matches!(self, JobKind::Stop | JobKind::Restart)
    }
}

/// Whether a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Held back by ordering.
    Waiting,
    /// At work.
    Running,
}

impl JobState {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            JobState::Waiting => "waiting",
            JobState::Running => "running",
        }
    }
}

/// A queued job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) unit: UnitName,
    pub(crate) kind: JobKind,
    pub(crate) state: JobState,
    pub(crate) requests: BTreeSet<RequestId>,
    pub(crate) irreversible: bool,
    pub(crate) ignore_order: bool,
    /// When it was queued, for JobTimeoutSec=.
    pub(crate) queued: Usec,
    /// When it began to run, for JobRunningTimeoutSec=.
    pub(crate) started: Option<Usec>,
}
