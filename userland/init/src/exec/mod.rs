//! From a `Spawn` to a running program: fork into the unit's cgroup, set the child up, execute.
//!
//! The child reports through a close-on-exec pipe: closed without a word is success; otherwise it holds systemd's exit
//! status (systemd.exec(5), "Process Exit Codes") and the reason, and the child exits with that status.

mod child;
mod credentials;
mod delegation;
mod directories;
pub mod dynamic_user;
mod environment;
mod filter;
mod identity;
mod ipc;
mod keyring;
mod namespace;
mod passed;
mod runtime;
mod scheduling;
mod status;
mod stdio;
pub mod streams;
mod terminal;
mod user_namespace;

pub use passed::Handed;
pub use runtime::forget;

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linux::namespace::{Namespaces, fork_into};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use unit::Spawn;

/// The longest reason that is read, in bytes; a pipe takes it in one piece.
const LONGEST: u64 = 2048;

/// Why the program could not be executed: an exit status of systemd's, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// The exit status, 200 to 245.
    pub code: u8,
    /// What was tried and what the kernel said.
    pub why: String,
}

impl Failure {
    /// A step that failed.
    fn new(code: u8, what: impl std::fmt::Display, error: impl Into<io::Error>) -> Failure {
        Failure { code, why: format!("{what}: {}", error.into()) }
    }
}

/// A child on its way to its program.
#[derive(Debug)]
pub struct Started {
    /// The child.
    pub pid: u32,
    /// Where it says how that went.
    pub report: Report,
}

/// The reading end of a child's pipe.
#[derive(Debug)]
pub struct Report(OwnedFd);

impl Report {
    /// What the child said: `None` while it has said nothing, then `Ok` (executed) or the failure.
    #[must_use]
    pub fn take(&self) -> Option<Result<(), Failure>> {
        let mut text = Vec::new();
        let Ok(copy) = self.0.try_clone() else { return Some(Ok(())) };
        match std::fs::File::from(copy).take(LONGEST).read_to_end(&mut text) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && text.is_empty() => return None,
            _ => {}
        }
        let Some((code, why)) = text.split_first() else { return Some(Ok(())) };
        Some(Err(Failure { code: *code, why: String::from_utf8_lossy(why).into_owned() }))
    }
}

impl From<OwnedFd> for Report {
    /// One that was opened before PID 1 executed itself anew.
    fn from(fd: OwnedFd) -> Report {
        Report(fd)
    }
}

impl AsFd for Report {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Starts a process in this cgroup.
///
/// # Errors
/// No process or descriptor is left, or the cgroup is gone.
pub fn start(spawn: &Spawn, cgroup: Option<BorrowedFd<'_>>, handed: &Handed) -> io::Result<Started> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Above the numbers that the program's own descriptors get.
    let writer = fcntl_dupfd_cloexec(&writer, handed.end())?;
    let child = fork_into(Namespaces::NONE, cgroup, || {
        let failure = child::run(spawn, handed);
        let mut report = vec![failure.code];
        report.extend(failure.why.bytes().take(LONGEST as usize - 1));
        let _ = rustix::io::write(&writer, &report);
        i32::from(failure.code)
    })?;
    Ok(Started { pid: child.pid, report: Report(reader) })
}
