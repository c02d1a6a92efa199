//! One stage of the preparation in a child, watched by the clock.
//!
//! What the stage does stays (mounts, files, host name), for the child shares the namespaces of PID 1. It tells why it
//! failed through a pipe, so that the message reaches the log of PID 1.

use std::io::{Read, Write};
use std::time::Instant;

use linux::namespace::{Namespaces, fork_into};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

/// The longest message that a stage may leave, in bytes; a pipe holds it whole.
const LONGEST: u64 = 4096;

/// Why a stage did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The child could not be started.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
    /// The stage said so.
    #[error("{0}")]
    Failed(String),
    /// It did not end in time and was killed.
    #[error("killed after {0} seconds")]
    TimedOut(i64),
    /// It ended without a word.
    #[error("the stage ended abnormally")]
    Died,
}

/// Runs a stage in a child and waits for it, at most for `limit`.
///
/// # Errors
/// As [`StageError`] says; a child that hangs in the kernel is left to itself.
pub fn run(name: &str, limit: Timespec, work: impl FnOnce() -> Result<(), String>) -> Result<(), StageError> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| StageError::Start(error.into()))?;
    let child = fork_into(Namespaces::NONE, None, || {
        let _ =
            rustix::thread::set_name(&std::ffi::CString::new(format!("(init:{name})")).unwrap_or_default());
        match work() {
            Ok(()) => 0,
            Err(text) => {
                let text: Vec<u8> = text.bytes().take(LONGEST as usize).collect();
                let _ = std::fs::File::from(writer).write_all(&text);
                1
            }
        }
    })
    .map_err(StageError::Start)?;
    let started = Instant::now();
    let timed_out = loop {
        let left = limit.tv_sec - i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX);
        if left <= 0 {
            break true;
        }
        let timeout = Timespec { tv_sec: left, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(&timeout));
        if matches!(ready, Ok(1)) {
            break false;
        }
    };
    let pid = i32::try_from(child.pid).ok().and_then(Pid::from_raw);
    if timed_out {
        let _ = linux::signal::kill(child.pid, libc_sigkill());
        let _ = waitpid(pid, WaitOptions::NOHANG);
        return Err(StageError::TimedOut(limit.tv_sec));
    }
    let status =
        waitpid(pid, WaitOptions::empty()).ok().flatten().and_then(|(_, status)| status.exit_status());
    match status {
        Some(0) => Ok(()),
        Some(1) => {
            let mut text = Vec::new();
            let _ = std::fs::File::from(reader).take(LONGEST).read_to_end(&mut text);
            Err(StageError::Failed(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Err(StageError::Died),
    }
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}
