//! Running a container as our child, from its birth to its exit status.
//!
//! The parent ([`start`], [`Running::wait`]) stays in the foreground: it passes signals on, copies the
//! terminal, keeps the state, and ends with the container's exit status. If it dies, the kernel kills the
//! container's first process, and with it all others of its pid namespace. The child's side is [`inside`].

pub mod cgroup;
pub mod channel;
pub mod devices;
pub mod exec;
pub mod guard;
pub mod inside;
pub mod mounts;
pub mod process;
mod reaper;
pub mod relay;
pub mod seccomp;
pub mod terminal;

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use linux::namespace::{Namespaces, fork_into};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::rootfs::Rootfs;
use crate::state::{Containers, Record, State, StateError, now, start_of};
use cgroup::{Cgroup, Placement};
use channel::Message;
use inside::Inside;
use process::Program;
use relay::{Output, Relay};

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

/// Where a container's standard streams lead.
#[derive(Clone, Copy, Debug, Default)]
pub struct Streams {
    /// Whether it gets our standard input, or nothing.
    pub stdin: bool,
}

/// A container that runs as our child.
#[derive(Debug)]
pub struct Running {
    pid: u32,
    pidfd: OwnedFd,
    relay: Relay,
    state: State,
    id: String,
    _cgroup: Option<Cgroup>,
}

/// Starts a container that the caller owns, and returns when its program runs.
///
/// The caller must be protected ([`guard::protect_own_program`]) and have one thread.
///
/// # Errors
/// When it cannot be built or its program not be executed. Nothing is left running then.
pub fn start(
    containers: &Containers,
    record: &Record,
    spec: &Spec,
    streams: Streams,
) -> Result<Running, RunError> {
    let process = spec.process().as_ref().ok_or(RunError::NoProcess)?;
    let privileged = is_privileged(spec);
    let dir = containers.dir(&record.id);
    let rootfs = Rootfs {
        layers: record.layers.clone(),
        upper: dir.join("upper"),
        work: dir.join("work"),
        target: dir.join("rootfs"),
        devices: privileged,
    };
    let program = step("seccomp", Program::prepare(process, privileged))?;
    let inside = Inside { spec, rootfs: &rootfs, program: &program, init: record.init };
    let cgroup = place(record, spec)?;
    let cgroup_dir = step("cgroup", cgroup.as_ref().map(Cgroup::open).transpose())?;
    let terminal = process.terminal() == Some(true);
    let output = if terminal { Output::default() } else { step("output", Output::for_sockets())? };
    // Before the child is born: a signal that comes now is for it.
    let mut relay = step("signals", Relay::new())?;
    let (parent, child) = step("channel", channel::pair())?;
    // In a cell, so that the child can let go of its copy of our end.
    let parent = Cell::new(Some(parent));
    let stdin = streams.stdin || terminal;
    let born = fork_into(namespaces(spec), cgroup_dir.as_ref().map(AsFd::as_fd), || {
        drop(parent.take());
        match output.connect(stdin) {
            Ok(()) => inside.enter(child),
            Err(error) => {
                child.send_failure(125, &format!("standard streams: {error}"));
                125
            }
        }
    });
    let born = step("create the container's namespaces", born)?;
    relay.copy_output(output);
    let state = State {
        pid: Some(born.pid),
        pid_start: start_of(born.pid).unwrap_or(0),
        started: Some(now()),
        unit: cgroup::own_unit(),
        ..State::default()
    };
    let mut running =
        Running { pid: born.pid, pidfd: born.pidfd, relay, state, id: record.id.clone(), _cgroup: cgroup };
    let Some(parent) = parent.take() else { return Err(RunError::NoProcess) };
    loop {
        match step("channel", parent.receive())? {
            Message::Terminal(master) => {
                step("terminal", running.relay.copy_terminal(master, streams.stdin))?
            }
            Message::Started => break,
            Message::Failed(status, text) => {
                let _ = running.exit_status();
                return Err(RunError::Start { status, text });
            }
        }
    }
    containers.set_state(&record.id, &running.state)?;
    Ok(running)
}

impl Running {
    /// The container's first process, as we see its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Passes signals and output on until the container ends; returns its exit status.
    ///
    /// # Errors
    /// When the kernel does not let us wait or the state cannot be written.
    pub fn wait(mut self, containers: &Containers) -> Result<i32, RunError> {
        step("wait", self.relay.until_end(self.pidfd.as_fd()))?;
        let status = self.exit_status()?;
        self.relay.drain();
        self.state.finished = Some(now());
        self.state.exit_code = Some(status);
        containers.set_state(&self.id, &self.state)?;
        Ok(status)
    }

    fn exit_status(&self) -> Result<i32, RunError> {
        exit_status(&self.pidfd)
    }
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

pub(crate) fn is_privileged(spec: &Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations.and_then(|all| all.get("corten.privileged")).is_some_and(|value| value == "true")
}

fn namespaces(spec: &Spec) -> Namespaces {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone()).unwrap_or_default();
    // The cgroup namespace is made by the child, when it is in its cgroup.
    listed.iter().fold(Namespaces::MOUNT, |all, one| match one.typ() {
        LinuxNamespaceType::Pid => all.with(Namespaces::PID),
        LinuxNamespaceType::Network => all.with(Namespaces::NETWORK),
        LinuxNamespaceType::Uts => all.with(Namespaces::UTS),
        LinuxNamespaceType::Ipc => all.with(Namespaces::IPC),
        _ => all,
    })
}

fn place(record: &Record, spec: &Spec) -> Result<Option<Cgroup>, RunError> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let limited = resources.as_ref().is_some_and(cgroup::wants_limits);
    match step("cgroup", cgroup::place(&record.id))? {
        Placement::Own(own) => {
            if let Some(resources) = &resources {
                step("limits", own.limit(resources))?;
            }
            Ok(Some(own))
        }
        Placement::Shared(why) => {
            if limited {
                eprintln!("WARNING: --memory, --cpus and --pids-limit have no effect: {why}");
            }
            Ok(None)
        }
    }
}

/// The configuration kept for a container.
///
/// # Errors
/// When it is missing or damaged.
pub fn configuration(containers: &Containers, id: &str) -> Result<Spec, RunError> {
    let path: PathBuf = containers.dir(id).join("config.json");
    step("config.json", Spec::load(path).map_err(io::Error::other))
}
