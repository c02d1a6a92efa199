//! Running a container: the one core beneath all faces.
//!
//! [`bear`] makes the first process, in the configuration's namespaces and its cgroup; [`inside`] is that
//! process's own side, up to the program. What happens then depends on whose the container is. A supervised one
//! ([`supervisor`], the faces `docker` and `rkt`) starts at once and dies with its parent. A free one (the face
//! `runc`) waits at its [`gate`] for somebody to start it, and belongs to nobody. [`exec`] adds processes to either.

pub mod birth;
pub mod cgroup;
pub mod channel;
mod copy_up;
pub mod devices;
pub mod exec;
pub mod gate;
pub mod guard;
pub mod hooks;
pub mod inside;
pub mod kernel_files;
pub mod mount_options;
pub mod mounts;
pub mod neighbour;
pub mod process;
mod protect;
pub mod ranges;
mod reaper;
pub mod relay;
pub mod root;
pub mod scheduling;
pub mod seccomp;
pub mod supervisor;
pub mod terminal;
pub mod users;

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linux::namespace::Child;
use oci_spec::runtime::Hooks;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::state::StateError;
use birth::Surroundings;
use cgroup::Cgroup;
use channel::Channel;
use inside::Inside;

/// Why a container did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The child says what failed, and which exit status tells of it.
    #[error("{text}")]
    Start {
        /// 125 for the runtime, 126 for a program that cannot be executed, 127 for one that is missing.
        status: u8,
        /// What failed.
        text: String,
    },
    /// A step of the parent.
    #[error("{what}: {source}")]
    Step {
        /// Which.
        what: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The configuration has no program.
    #[error("the configuration names no process")]
    NoProcess,
}

impl RunError {
    /// The exit status that tells of it, as Docker has it.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Start { status, .. } => *status,
            _ => 125,
        }
    }
}

pub(crate) fn step<T>(what: &'static str, result: io::Result<T>) -> Result<T, RunError> {
    result.map_err(|source| RunError::Step { what, source })
}

/// A first process that is on its way to its program.
#[derive(Debug)]
pub struct Born {
    /// The process.
    pub child: Child,
    /// To it.
    pub channel: Channel,
}

/// Gives birth to a container's first process, and does what only its parent can: the maps of its user
/// namespace, its place in v1 cgroups, limits that may have to be raised.
///
/// `connect` makes the standard streams what they are to be, in the child. The caller must be protected
/// ([`guard::protect_own_program`]) and have one thread.
///
/// # Errors
/// When a namespace cannot be made or joined. Nothing is left running then.
pub fn bear(
    inside: &Inside<'_>,
    surroundings: &Surroundings,
    connect: impl FnOnce() -> io::Result<()>,
) -> Result<Born, RunError> {
    let birthplace = step("cgroup", inside.cgroup.map_or(Ok(None), Cgroup::birthplace))?;
    let (parent, child) = step("channel", channel::pair())?;
    // In a cell, so that the child can let go of its copy of our end.
    let parent = Cell::new(Some(parent));
    let born = surroundings.bear(birthplace.as_ref(), || {
        drop(parent.take());
        match connect() {
            Ok(()) => inside.enter(child),
            Err(error) => {
                child.send_failure(125, &format!("standard streams: {error}"));
                125
            }
        }
    });
    let child = step("create the container's namespaces", born)?;
    let Some(channel) = parent.take() else { return Err(RunError::NoProcess) };
    if inside.waits_for_parent
        && let Err(error) =
            attend(inside, surroundings, child.pid).and_then(|()| step("channel", channel.send_go()))
    {
        kill(&child.pidfd);
        return Err(error);
    }
    Ok(Born { child, channel })
}

/// Whether [`bear`] has something to do for the child before it goes on.
#[must_use]
pub fn needs_parent(surroundings: &Surroundings, cgroup: Option<&Cgroup>, oom_score: Option<i32>) -> bool {
    surroundings.has_new_users() || cgroup.is_some_and(|cgroup| !cgroup.is_v2()) || oom_score.is_some()
}

fn attend(inside: &Inside<'_>, surroundings: &Surroundings, pid: u32) -> Result<(), RunError> {
    if let Some(cgroup) = inside.cgroup.filter(|cgroup| !cgroup.is_v2()) {
        step("cgroup", cgroup.add(pid))?;
    }
    if surroundings.has_new_users() {
        step("user namespace", users::map(pid, inside.spec))?;
        step("rlimits", process::limit(Some(pid), inside.program.process()))?;
    }
    step("oomScoreAdj", set_oom_score(pid, inside.program.process().oom_score_adj()))
}

/// Says how gladly the kernel ends a process when memory runs out.
pub(crate) fn set_oom_score(pid: u32, score: Option<i32>) -> io::Result<()> {
    let Some(score) = score else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    let now = std::fs::read_to_string(&path)?;
    if now.trim() == score.to_string() { Ok(()) } else { std::fs::write(path, score.to_string()) }
}

/// Ends a process for good and collects it.
pub(crate) fn kill(pidfd: &OwnedFd) {
    let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
    let _ = exit_status(pidfd);
}

/// Whether there are hooks that run beside the runtime while the container is being made.
#[must_use]
pub fn has_parents_hooks(hooks: &Hooks) -> bool {
    let prestart = hooks.prestart();
    [prestart, hooks.create_runtime()].into_iter().flatten().any(|list| !list.is_empty())
}

/// Collects a child that ended: its exit status, or 128 and the signal that ended it.
pub(crate) fn exit_status(pidfd: &OwnedFd) -> Result<i32, RunError> {
    let ended = loop {
        match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            other => break step("wait", other.map_err(io::Error::from))?,
        }
    };
    let Some(ended) = ended else { return Ok(255) };
    Ok(ended.exit_status().or(ended.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255))
}
