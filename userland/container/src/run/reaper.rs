//! A small PID 1 for containers whose program is none (`--init`).
//!
//! It starts the program, passes on the signals that it gets, and collects every orphan that falls to
//! it. Its exit status is the program's. Source: pid_namespaces(7).

use std::io;

use linux::namespace::{Namespaces, fork_into};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::channel::Channel;
use super::process::StartError;

/// Starts the program with `become_it` in a child, and returns its exit status when it has ended.
pub(super) fn start_and_reap(
    channel: Channel,
    become_it: impl FnOnce(&Channel) -> StartError,
) -> io::Result<i32> {
    let all = SigSet::all();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), None)?;
    let child = fork_into(Namespaces::NONE, None, || {
        let _ = linux::clean_exec::default_signals();
        // The program gets a group of its own in front of the terminal, if there is one.
        let error = become_it(&channel);
        channel.send_failure(error.status(), &error.to_string());
        i32::from(error.status())
    })?;
    // From here on only the program holds the channel: its silence is the program's start.
    drop(channel);
    linux::clean_exec::close_on_exec_from(3)?;
    let program = Pid::from_raw(i32::try_from(child.pid).unwrap_or(i32::MAX));
    loop {
        let signal = all.wait()?;
        if signal != Signal::SIGCHLD {
            let _ = kill(program, signal);
            continue;
        }
        loop {
            match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == program => return Ok(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == program => return Ok(128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }
}
