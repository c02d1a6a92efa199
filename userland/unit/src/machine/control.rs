//! The control processes of sockets and swaps: one line after the other, then a signal for what does not end.

use serde::{Deserialize, Serialize};

use super::Stage;
use super::process::{Process, Run, Runs};
use crate::exec::CommandLine;
use crate::{ExitStatus, INFINITY, Pid, Role, SpawnToken, Stamp, Usec};

/// The one control process, its timer, and how each line's last run went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Control {
    pub(crate) process: Option<Process>,
    pub(crate) timer: Option<Usec>,
    pub(crate) runs: Runs,
}

/// How a control process came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) line: (Role, usize),
    /// systemd's word for the outcome: `success`, `exit-code`, …
    pub(crate) result: &'static str,
}

impl Control {
    /// Runs a line of a directive. `false`: there is no such line.
    pub(crate) fn run(
        &mut self,
        stage: &mut Stage<'_>,
        lines: &[CommandLine],
        role: Role,
        index: usize,
        timeout: Usec,
    ) -> Result<bool, String> {
        let Some(line) = lines.get(index) else { return Ok(false) };
        let token = stage.spawn(role, line, &[], false, Vec::new())?;
        self.runs.insert((role, index), Run { start: stage.stamp(), ..Run::default() });
        let ignore_failure = line.flags.ignore_failure;
        self.process = Some(Process { token: Some(token), pid: None, line: (role, index), ignore_failure });
        self.arm(stage.now(), timeout);
        Ok(true)
    }

    /// Sets the timer; `INFINITY`: none.
    pub(crate) fn arm(&mut self, now: Usec, timeout: Usec) {
        self.timer = (timeout != INFINITY).then(|| now.saturating_add(timeout));
    }

    /// Whether the time is over; only once.
    pub(crate) fn is_due(&mut self, now: Usec) -> bool {
        self.timer.is_some_and(|at| at <= now) && self.timer.take().is_some()
    }

    /// The process is there (`Ok(true)`), is not ours (`Ok(false)`), or could not be made.
    pub(crate) fn spawned(
        &mut self,
        stage: &mut Stage<'_>,
        token: SpawnToken,
        outcome: Result<Pid, String>,
    ) -> Result<bool, String> {
        let Some(process) = self.process.as_mut().filter(|process| process.token == Some(token)) else {
            if let Ok(pid) = outcome {
                stage.signal(crate::Target::Pid(pid), 9);
            }
            return Ok(false);
        };
        match outcome {
            Ok(pid) => {
                process.pid = Some(pid);
                stage.fx.pids.insert(pid, stage.base.unit.name.clone());
                if let Some(run) = self.runs.get_mut(process.line) {
                    run.pid = Some(pid);
                }
                Ok(true)
            }
            Err(why) => {
                self.process = None;
                Err(why)
            }
        }
    }

    /// The process ended; `None`: it was another one.
    pub(crate) fn exited(&mut self, stamp: Stamp, pid: Pid, status: ExitStatus) -> Option<Ended> {
        let process = self.process.take_if(|process| process.is(pid))?;
        if let Some(run) = self.runs.get_mut(process.line) {
            run.exit = stamp;
            run.status = Some(status);
        }
        let result = match status {
            ExitStatus::Code(0) => "success",
            _ if process.ignore_failure => "success",
            ExitStatus::Code(_) => "exit-code",
            ExitStatus::Signal { core: true, .. } => "core-dump",
            ExitStatus::Signal { .. } => "signal",
        };
        Some(Ended { line: process.line, result })
    }

    /// Nobody waits for the process any more.
    pub(crate) fn forget(&mut self, stage: &mut Stage<'_>) {
        self.timer = None;
        if let Some(pid) = self.process.take().and_then(|process| process.pid) {
            stage.fx.pids.remove(&pid);
        }
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().and_then(|process| process.pid)
    }
}
