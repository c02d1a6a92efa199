//! Another process in a running container.
//!
//! The container is entered by the descriptor of its first process, all namespaces at once; the new process
//! is then born inside and gets the same identity, capabilities and filter as the container's own. Before
//! that, it holds no descriptor of ours that could lead out. Source: setns(2).

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use linux::namespace::{Namespaces, fork_into};
use oci_spec::runtime::{Process, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::channel::{self, Channel, Message};
use super::process::{Program, StartError};
use super::relay::{Output, Relay};
use super::{RunError, exit_status, is_privileged, step, terminal};

/// Runs `process` in the container whose first process is `target`, and returns its exit status.
///
/// Afterwards the caller itself is inside the container's namespaces and should do nothing but end.
///
/// # Errors
/// When the container cannot be entered or the program not be executed.
pub fn run(target: &OwnedFd, spec: &Spec, process: &Process, stdin: bool) -> Result<i32, RunError> {
    let privileged = is_privileged(spec);
    let program = step("seccomp", Program::prepare(process, privileged))?;
    let with_terminal = process.terminal() == Some(true);
    let output = if with_terminal { Output::default() } else { step("output", Output::for_sockets())? };
    let mut relay = step("signals", Relay::new())?;
    let (parent, child) = step("channel", channel::pair())?;
    // In a cell, so that the child can let go of its copy of our end.
    let parent = Cell::new(Some(parent));
    let null = step(
        "open /dev/null",
        rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from),
    )?;
    let kinds = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::CONTROL_GROUP;
    // Until it has become the program, nobody in the container may look into it.
    step(
        "dumpable",
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
            .map_err(io::Error::from),
    )?;
    let born = {
        step(
            "enter the container",
            move_into_thread_name_spaces(target.as_fd(), kinds).map_err(io::Error::from),
        )?;
        fork_into(Namespaces::NONE, None, || {
            drop(parent.take());
            // Moved in here, so that our process keeps no copy of the child's end.
            let child = child;
            let error = match set_up(&child, &output, &null, stdin, with_terminal) {
                Ok(()) => program.become_it(&child),
                Err(error) => StartError::Setup("exec".to_owned(), error),
            };
            child.send_failure(error.status(), &error.to_string());
            i32::from(error.status())
        })
    };
    let born = step("create a process", born)?;
    relay.copy_output(output);
    let Some(parent) = parent.take() else { return Err(RunError::NoProcess) };
    loop {
        match step("channel", parent.receive())? {
            Message::Terminal(master) => step("terminal", relay.copy_terminal(master, stdin))?,
            Message::Started => break,
            Message::Failed(status, text) => {
                let _ = exit_status(&born.pidfd);
                return Err(RunError::Start { status, text });
            }
        }
    }
    step("wait", relay.until_end(born.pidfd.as_fd()))?;
    let status = exit_status(&born.pidfd)?;
    relay.drain();
    Ok(status)
}

fn set_up(
    channel: &Channel,
    output: &Output,
    null: &OwnedFd,
    stdin: bool,
    with_terminal: bool,
) -> io::Result<()> {
    linux::clean_exec::default_signals()?;
    rustix::process::setsid()?;
    if with_terminal {
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        return terminal::join(root.as_fd(), channel);
    }
    if !stdin {
        rustix::stdio::dup2_stdin(null)?;
    }
    output.connect(true)
}
