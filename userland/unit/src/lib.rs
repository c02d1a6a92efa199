//! The systemd-compatible engine behind PID 1: unit text in, work to do out. Pure: opens no file, reads no clock.
//!
//! The story: [`text`] reads unit files; [`load`] makes a typed [`Unit`] of a fragment, its drop-ins and the
//! defaults; [`graph`] ties units together; a request becomes a [`transaction`] of [`job`]s; the [`Engine`] runs
//! the jobs that nothing holds back, each unit by its state machine in [`machine`], and answers every [`Event`]
//! with a list of [`Action`]s that the shell around it carries out.
//!
//! Invariants: a unit has at most one job; a request ends in exactly one `JobDone` or `Refused`; no input,
//! however odd, makes the engine panic. Sources: systemd.unit(5) and its family, and systemd 252's behaviour.

mod action;
pub mod c_escape;
pub mod calendar;
mod catalog;
pub mod condition;
pub mod edges;
mod engine;
pub mod environment;
pub mod errno;
mod event;
pub mod exec;
pub mod graph;
mod in_memory;
pub mod job;
pub mod load;
mod machine;
pub mod name;
pub mod notify;
mod saved;
pub mod settings;
pub mod specifier;
mod status;
pub mod text;
pub mod timespan;
mod transaction;
pub mod unenforced;
mod unit;

pub use action::{
    Action, Announcement, CommandFlags, JobResult, Level, Passed, RequestError, Role, Shutdown, Spawn, Target,
};
pub use catalog::{Catalog, Host, Probe, Sources, Text, UnitFileState, User, World};
pub use edges::Edges;
pub use engine::{Engine, Saved};
pub use event::{
    Connection, ConnectionId, Device, Event, ExitStatus, JobId, JobMode, KillWhom, MountEntry, Pid,
    RequestId, SpawnToken, SwapEntry, Verb,
};
pub use graph::Dependency;
pub use in_memory::{InMemory, Nowhere};
pub use job::{JobKind, JobState};
pub use load::{CAPABILITIES, signal_name};
pub use name::{NameError, UnitName, UnitType};
pub use notify::Notify;
pub use status::{ActiveState, CommandStatus, Details, JobStatus, LoadState, Stamp, UnitStatus};
pub use unit::{EmergencyAction, Kind, Unit};

/// Microseconds: monotonic or since 1970, as the field says.
pub type Usec = u64;
/// The time that never comes.
pub const INFINITY: Usec = u64::MAX;
