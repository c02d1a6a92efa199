//! Another process in a running container.
//!
//! A go-between enters the container by the descriptor of its first process, all namespaces at once; the new process
//! is then born inside and gets an identity, capabilities and a filter as the container's own. Before that, it
//! holds no descriptor of ours that could lead out. Source: setns(2).

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Mode, OFlags};

use super::birth::Surroundings;
use super::cgroup::Cgroup;
use super::channel::{self, Channel, Message};
use super::process::{Program, StartError, limit};
use super::relay::{Output, Relay};
use super::{Born, RunError, exit_status, inside, scheduling, set_oom_score, step, terminal};

/// Where a process is to join, and how.
pub struct Joining<'a> {
    /// The container's first process, and its number.
    pub target: (OwnedFd, u32),
    /// Its program.
    pub program: &'a Program<'a>,
    /// The container's configuration.
    pub spec: &'a Spec,
    /// The cgroup to be in.
    pub cgroup: Option<&'a Cgroup>,
    /// Whether it dies with the runtime.
    pub tied: bool,
}

/// Gives birth to it; `connect` makes its standard streams what they are to be.
///
/// # Errors
/// When the container cannot be entered.
pub fn join(joining: Joining<'_>, connect: impl FnOnce() -> io::Result<()>) -> Result<Born, RunError> {
    let (pidfd, number) = joining.target;
    let user_of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user"));
    let other_users =
        step("user namespace", user_of(&number.to_string()))? != step("user namespace", user_of("self"))?;
    let birthplace = step("cgroup", joining.cgroup.map_or(Ok(None), Cgroup::birthplace))?;
    let (parent, child) = step("channel", channel::pair())?;
    // In a cell, so that the child can let go of its copy of our end.
    let parent = Cell::new(Some(parent));
    let terminal = joining.program.process().terminal() == Some(true);
    // Until it has become the program, nobody in the container may look into it.
    step(
        "dumpable",
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(io::Error::from),
    )?;
    let born = Surroundings::beside(pidfd, other_users).bear(birthplace.as_ref(), || {
        drop(parent.take());
        // Moved in here, so that our process keeps no copy of the child's end.
        let child = child;
        let settled = set_up(&child, other_users, terminal, connect)
            .and_then(|()| scheduling::set_surroundings(joining.spec))
            .and_then(|()| scheduling::set_final_affinity(joining.program.process()))
            .map_err(|error| StartError::Setup("exec".to_owned(), error))
            .and_then(|()| joining.program.settle(joining.tied.then_some(&child)));
        let error = match settled {
            Ok(settled) => joining.program.become_it(&settled, &child),
            Err(error) => error,
        };
        child.send_failure(error.status(), &error.to_string());
        i32::from(error.status())
    });
    let born = step("enter the container", born)?;
    let Some(channel) = parent.take() else { return Err(RunError::NoProcess) };
    let attended = (|| {
        if let Some(cgroup) = joining.cgroup.filter(|cgroup| !cgroup.is_v2()) {
            step("cgroup", cgroup.add(born.pid))?;
        }
        if other_users {
            step("rlimits", limit(Some(born.pid), joining.program.process()))?;
        }
        step("oomScoreAdj", set_oom_score(born.pid, joining.program.process().oom_score_adj()))?;
        step("channel", channel.send_go())
    })();
    match attended {
        Ok(()) => Ok(Born { child: born, channel }),
        Err(error) => {
            super::kill(&born.pidfd);
            Err(error)
        }
    }
}

fn set_up(
    channel: &Channel,
    other_users: bool,
    with_terminal: bool,
    connect: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    channel.wait_for_go()?;
    linux::clean_exec::default_signals()?;
    rustix::process::setsid()?;
    if other_users {
        super::process::become_root()?;
    }
    if with_terminal {
        return terminal::join(inside::machine("/")?.as_fd(), channel);
    }
    connect()
}

/// Runs `process` beside the first process of a supervised container, and returns its exit status.
///
/// # Errors
/// When the container cannot be entered or the program not be executed.
pub fn run(target: (OwnedFd, u32), spec: &Spec, process: &Process, stdin: bool) -> Result<i32, RunError> {
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let program = step("seccomp", Program::prepare(process, seccomp))?;
    let with_terminal = process.terminal() == Some(true);
    let output = if with_terminal { Output::default() } else { step("output", Output::for_sockets())? };
    let mut relay = step("signals", Relay::new())?;
    let null = step(
        "open /dev/null",
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from),
    )?;
    let joining = Joining { target, program: &program, spec, cgroup: None, tied: true };
    let born = join(joining, || {
        if !stdin {
            rustix::stdio::dup2_stdin(&null)?;
        }
        output.connect(true)
    })?;
    relay.copy_output(output);
    loop {
        match step("channel", born.channel.receive())? {
            Message::Terminal(master) => step("terminal", relay.copy_terminal(master, stdin))?,
            Message::Started => break,
            Message::Failed(status, text) => {
                let _ = exit_status(&born.child.pidfd);
                return Err(RunError::Start { status, text });
            }
            other => return step("channel", Err(io::Error::other(format!("{other:?} is not for us")))),
        }
    }
    step("wait", relay.until_end(born.child.pidfd.as_fd()))?;
    let status = exit_status(&born.child.pidfd)?;
    relay.drain();
    Ok(status)
}
