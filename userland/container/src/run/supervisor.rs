//! A container that is the child of who started it, from its birth to its exit status.
//!
//! The parent ([`start`], [`Running::wait`]) stays in the foreground: it passes signals on, copies the
//! terminal, keeps the state, and ends with the container's exit status. If it dies, the kernel kills the
//! container's first process, and with it all others of its pid namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::birth::{Surroundings, has};
use super::cgroup::{Cgroup, unit, v2};
use super::channel::Message;
use super::inside::{Inside, Life};
use super::neighbour::Neighbours;
use super::process::Program;
use super::relay::{Output, Relay};
use super::root::Root;
use super::{RunError, bear, devices, exit_status, needs_parent, step};
use crate::state::{Containers, Record, State, now, start_of};
use unit::Placement;

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
    cgroup: Option<Cgroup>,
    shares_processes: bool,
}

/// Starts a container that the caller owns, and returns when its program runs.
///
/// The caller must be protected ([`super::guard::protect_own_program`]) and have one thread.
///
/// # Errors
/// When it cannot be built or its program not be executed. Nothing is left running then.
pub fn start(
    containers: &Containers,
    record: &Record,
    spec: &Spec,
    (streams, neighbours): (Streams, &Neighbours),
) -> Result<Running, RunError> {
    let process = spec.process().as_ref().ok_or(RunError::NoProcess)?;
    let dir = containers.dir(&record.id);
    let rootfs = containers.rootfs(record, !devices::are_closed(spec));
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let program = step("seccomp", Program::prepare(process, seccomp))?;
    let cgroup = place(record, spec)?;
    let surroundings = step("namespaces", Surroundings::of(spec))?;
    let inside = Inside {
        id: &record.id,
        bundle: &dir,
        spec,
        root: Root::Layers(&rootfs),
        program: &program,
        init: record.init,
        cgroup: cgroup.as_ref(),
        prepared: neighbours.mounts(),
        waits_for_parent: needs_parent(&surroundings, cgroup.as_ref(), process.oom_score_adj()),
        keyring: true,
        life: Life::Tied,
    };
    let terminal = process.terminal() == Some(true);
    let output = if terminal { Output::default() } else { step("output", Output::for_sockets())? };
    // Before the child is born: a signal that comes now is for it.
    let mut relay = step("signals", Relay::new())?;
    let stdin = streams.stdin || terminal;
    let born = bear(&inside, &surroundings, || output.connect(stdin))?;
    relay.copy_output(output);
    // Known before the program can run, and running only when it does: whoever kills us, the state is true.
    let state = State {
        pid: Some(born.child.pid),
        pid_start: start_of(born.child.pid).unwrap_or(0),
        unit: unit::own_unit(),
        ..State::default()
    };
    let mut running = Running {
        pid: born.child.pid,
        pidfd: born.child.pidfd,
        relay,
        state,
        id: record.id.clone(),
        cgroup: cgroup.clone(),
        shares_processes: !has(spec, LinuxNamespaceType::Pid, false),
    };
    containers.set_state(&record.id, &running.state)?;
    loop {
        match step("channel", born.channel.receive())? {
            Message::Terminal(master) => {
                step("terminal", running.relay.copy_terminal(master, streams.stdin))?
            }
            Message::Waits => {
                running.state.started = Some(now());
                containers.set_state(&record.id, &running.state)?;
                step("channel", born.channel.send_go())?;
            }
            Message::Started => break,
            Message::Failed(status, text) => {
                let _ = exit_status(&running.pidfd);
                running.clear();
                return Err(RunError::Start { status, text });
            }
            other => return step("channel", Err(io::Error::other(format!("{other:?} is not for us")))),
        }
    }
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
        let status = exit_status(&self.pidfd)?;
        self.relay.drain();
        self.clear();
        self.state.finished = Some(now());
        self.state.exit_code = Some(status);
        containers.set_state(&self.id, &self.state)?;
        Ok(status)
    }

    fn clear(&self) {
        // Its processes died with the pid namespace, if that was its own; what cannot be removed goes with the unit.
        if let Some(cgroup) = &self.cgroup {
            if self.shares_processes {
                cgroup.kill();
            }
            let _ = cgroup.remove();
        }
    }
}

fn place(record: &Record, spec: &Spec) -> Result<Option<Cgroup>, RunError> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let limited = resources.as_ref().is_some_and(v2::wants_limits);
    match step("cgroup", unit::place(&record.id))? {
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
