//! A face of the manager: somebody outside who asks for work and wants to hear what came of it.
//!
//! The event loop knows a face by one descriptor (an epoll descriptor of its own when it has many connections):
//! readable means "call `ready`". After each event the loop hands over the news. A face never blocks.

use std::os::fd::BorrowedFd;

use unit::{JobId, JobResult, RequestError, RequestId, UnitName};

use crate::manager::Manager;

/// What a face is told, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum News {
    /// A request became a job.
    Queued {
        /// The job.
        job: JobId,
        /// Who asked, if anybody did: jobs pulled in by others have none.
        request: Option<RequestId>,
        /// The unit it works on.
        unit: UnitName,
    },
    /// A job ended.
    Done {
        /// The job.
        job: JobId,
        /// The requests that waited for it.
        requests: Vec<RequestId>,
        /// The unit it worked on.
        unit: UnitName,
        /// How it ended.
        result: JobResult,
    },
    /// A request was refused: no job came of it.
    Refused {
        /// The request.
        request: RequestId,
        /// Why.
        error: RequestError,
    },
    /// Something about a unit changed that a client could see.
    Changed {
        /// The unit.
        unit: UnitName,
    },
    /// A unit was brought into memory because somebody asked.
    Loaded {
        /// The unit.
        unit: UnitName,
    },
    /// The boot is over: µs until PID 1 began, and until now.
    StartupFinished {
        /// The kernel's part.
        kernel: u64,
        /// All of it.
        all: u64,
    },
    /// A unit is no longer in memory.
    Forgotten {
        /// The unit.
        unit: UnitName,
    },
    /// Unit files are being read anew, or that is over.
    Reloading(bool),
    /// Links or files in the unit directories changed.
    UnitFilesChanged,
}

/// Somebody outside.
pub trait Face {
    /// The one descriptor that is readable when there is something to do.
    fn fd(&self) -> BorrowedFd<'_>;
    /// Writes itself down for PID 1 executed anew.
    fn save(&self) -> crate::dbus::Saved;
    /// Begins to serve; `manager` may have been at work for long.
    fn begin(&mut self, manager: &mut Manager);
    /// Takes in and answers what has come, without blocking.
    fn ready(&mut self, manager: &mut Manager);
    /// Passes on what happened.
    fn tell(&mut self, manager: &mut Manager, news: &[News]);
}
