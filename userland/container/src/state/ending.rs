//! Ending a container from outside, for good.
//!
//! A container may be between two lives: its program has ended and its parent is about to start it again. So
//! whoever ends one first says that it is not to be started again, then ends the life that it is in, and goes on
//! until nobody looks after it.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Signal, pidfd_send_signal};

use super::{Container, Containers, StateError, Status, io_error};

/// How long a container that is killed may take to go, and its parent to write down that it did. The kernel needs
/// no longer unless a disk hangs; the parent reads what is left of the output.
const LAST_STEPS: Duration = Duration::from_secs(20);

impl Containers {
    /// Its being there means: whoever manages the container has ended it, and does not want it started again.
    #[must_use]
    pub fn end_wanted(&self, id: &str) -> PathBuf {
        self.dir(id).join("stopped")
    }

    /// Asks a container to end with this signal, kills it when the time is over, and returns when nobody looks
    /// after it any more. One that has ended already is left alone.
    ///
    /// # Errors
    /// When it does not go, or cannot be reached.
    pub fn end(&self, container: &Container, asked: Signal, time: Duration) -> Result<(), StateError> {
        let id = &container.record.id;
        if !self.is_looked_after(id) {
            return Ok(());
        }
        let path = self.end_wanted(id);
        fs::write(&path, b"").map_err(|error| io_error(&path, error))?;
        let mut asks = [(asked, time), (Signal::KILL, LAST_STEPS)].into_iter();
        let begin = Instant::now();
        while self.is_looked_after(id) {
            match self.find(id) {
                Ok(running) if running.status == Status::Running => {
                    let (signal, limit) = asks.next().ok_or_else(|| StateError::Stays(id.clone()))?;
                    running.send(signal)?;
                    self.wait_for_end(id, limit)?;
                }
                // It was to be removed at its end.
                Err(StateError::Missing(_)) => return Ok(()),
                _ if begin.elapsed() > time.saturating_add(LAST_STEPS) => {
                    return Err(StateError::Stays(id.clone()));
                }
                // It starts, or its parent writes down how it ended.
                _ => {
                    self.wait_for_end(id, Duration::from_millis(20))?;
                }
            }
        }
        Ok(())
    }
}

impl Container {
    /// Sends a signal to its first process; one that is gone needs none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn send(&self, signal: Signal) -> Result<(), StateError> {
        let Some(process) = self.state.process() else { return Ok(()) };
        match pidfd_send_signal(process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => {
                Err(io_error(&PathBuf::from(format!("signal to {}", self.record.id)), error.into()))
            }
        }
    }
}
