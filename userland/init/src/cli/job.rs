//! `start`, `stop` and their kin: ask for jobs, wait for their end, say what went wrong.

use std::collections::HashMap;

use zvariant::OwnedObjectPath;

use super::names::mangle;
use super::properties::Properties;
use super::{Outcome, Session, Trouble};

/// LSB: the feature is not implemented.
const NOT_IMPLEMENTED: u8 = 3;
/// LSB: the privilege is not there.
const NO_PERMISSION: u8 = 4;
/// LSB: the program is not installed.
const NOT_INSTALLED: u8 = 5;
/// LSB: the program is not configured.
const NOT_CONFIGURED: u8 = 6;

pub(super) fn start(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("StartUnit", "start", units, "replace")
}

pub(super) fn stop(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("StopUnit", "stop", units, "replace")
}

pub(super) fn restart(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("RestartUnit", "restart", units, "replace")
}

pub(super) fn try_restart(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("TryRestartUnit", "restart", units, "replace")
}

pub(super) fn reload(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("ReloadUnit", "reload", units, "replace")
}

pub(super) fn reload_or_restart(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("ReloadOrRestartUnit", "reload or restart", units, "replace")
}

pub(super) fn reload_or_try_restart(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("ReloadOrTryRestartUnit", "reload or restart", units, "replace")
}

pub(super) fn isolate(session: &mut Session<'_>, units: &[String]) -> Outcome {
    session.jobs("StartUnit", "start", units, "isolate")
}

pub(super) fn default(session: &mut Session<'_>, _: &[String]) -> Outcome {
    isolate(session, &["default.target".into()])
}

pub(super) fn rescue(session: &mut Session<'_>, _: &[String]) -> Outcome {
    isolate(session, &["rescue.target".into()])
}

pub(super) fn emergency(session: &mut Session<'_>, _: &[String]) -> Outcome {
    isolate(session, &["emergency.target".into()])
}

pub(super) fn kill(session: &mut Session<'_>, units: &[String]) -> Outcome {
    let Some(signal) = signal_number(&session.options.signal) else {
        session.complain(&format!("Failed to parse signal string \"{}\".", session.options.signal));
        return Ok(1);
    };
    let whom = session.options.kill_whom.clone();
    session.each(units, "kill", |session, name| {
        session.client.manager("KillUnit", &(name, whom.as_str(), signal))
    })
}

pub(super) fn reset_failed(session: &mut Session<'_>, units: &[String]) -> Outcome {
    if units.is_empty() {
        session.client.manager::<_, ()>("ResetFailed", &())?;
        return Ok(0);
    }
    session.each(units, "reset failed state of", |session, name| {
        session.client.manager("ResetFailedUnit", &name)
    })
}

pub(super) fn cancel(session: &mut Session<'_>, jobs: &[String]) -> Outcome {
    if jobs.is_empty() {
        session.client.manager::<_, ()>("ClearJobs", &())?;
    }
    for job in jobs {
        let Ok(id) = job.parse::<u32>() else {
            session.complain(&format!("Failed to parse job id \"{job}\"."));
            return Ok(1);
        };
        match session.client.manager::<_, ()>("CancelJob", &id) {
            Err(trouble @ Trouble::Refused { .. }) if !is_denied(&trouble) => {
                session.complain(&format!("Failed to cancel job {id}: {trouble}"));
                return Ok(1);
            }
            done => done?,
        }
    }
    Ok(0)
}

impl Session<'_> {
    /// Does something with each unit, goes on after a failure, and tells it.
    pub(super) fn each(
        &mut self,
        units: &[String],
        what: &str,
        mut act: impl FnMut(&mut Self, &str) -> Result<(), Trouble>,
    ) -> Outcome {
        let mut code = 0;
        for name in self.expand(units)? {
            match act(self, &name) {
                Ok(()) => {}
                Err(trouble @ Trouble::Refused { .. }) if !is_denied(&trouble) => {
                    let _ = writeln!(self.err, "Failed to {what} unit {name}: {trouble}");
                    code = 1;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(code)
    }

    /// Asks for a job for each unit and waits for all of them.
    pub(super) fn jobs(&mut self, method: &str, what: &str, units: &[String], mode: &str) -> Outcome {
        let mode = self.options.job_mode.clone().unwrap_or_else(|| mode.to_owned());
        // Starting reaches units that are not in memory, so only patterns look there.
        let names = self.expand(units)?;
        let mut code = 0;
        let mut waiting = HashMap::new();
        for name in names {
            match self.client.manager::<_, OwnedObjectPath>(method, &(name.as_str(), mode.as_str())) {
                Ok(path) => {
                    self.warn_if_stale(&name)?;
                    waiting.insert(path, name);
                }
                Err(trouble @ Trouble::Refused { .. }) if !is_denied(&trouble) => {
                    let _ = writeln!(self.err, "Failed to {what} {name}: {trouble}");
                    if !["NoSuchUnit", "UnitMasked", "JobTypeNotApplicable"]
                        .contains(&last_part(trouble.name()))
                    {
                        self.complain(&format!("See system logs and 'systemctl status {name}' for details."));
                    }
                    code = exit_code(trouble.name());
                }
                Err(trouble) => return Err(trouble),
            }
        }
        while !waiting.is_empty() && !self.options.no_block {
            let signal = self.client.signal()?;
            if signal.member != "JobRemoved" {
                continue;
            }
            let (_, path, unit, result): (u32, OwnedObjectPath, String, String) = signal.body()?;
            if waiting.remove(&path).is_some() && !matches!(result.as_str(), "done" | "skipped") {
                self.explain(&unit, &result)?;
                code = 1;
            }
        }
        Ok(code)
    }

    /// Says so if a unit's files are others than the manager has read.
    pub(super) fn warn_if_stale(&mut self, name: &str) -> Result<(), Trouble> {
        let properties = Properties::of_unit(&mut self.client, name)?;
        if matches!(properties.get("NeedDaemonReload"), Some(zvariant::Value::Bool(true))) {
            let name = properties.text("Id");
            self.complain(&format!(
                "Warning: The unit file, source configuration file or drop-ins of {name} changed on disk. \
                 Run 'systemctl daemon-reload' to reload units."
            ));
        }
        Ok(())
    }

    /// Why a job failed, as systemctl says it.
    fn explain(&mut self, unit: &str, result: &str) -> Result<(), Trouble> {
        let text = match result {
            "canceled" => format!("Job for {unit} canceled."),
            "timeout" => format!("Job for {unit} timed out."),
            "dependency" => {
                format!("A dependency job for {unit} failed. See 'journalctl -xe' for details.")
            }
            "invalid" => format!("{unit} is not active, cannot reload."),
            "assert" => format!("Assertion failed on job for {unit}."),
            "unsupported" => format!("Operation on or unit type of {unit} not supported on this system."),
            _ => {
                let reason = match Properties::of_unit(&mut self.client, unit)?.text("Result") {
                    "exit-code" => " because the control process exited with error code",
                    "signal" => " because a fatal signal was delivered to the control process",
                    "core-dump" => {
                        " because a fatal signal was delivered causing the control process to dump core"
                    }
                    "timeout" => " because a timeout was exceeded",
                    "resources" => " because of unavailable resources or another system error",
                    "watchdog" => " because the service watchdog timed out",
                    "start-limit-hit" => " because start of the service was attempted too often",
                    "protocol" => {
                        " because the service did not take the steps required by its unit configuration"
                    }
                    _ => "",
                };
                format!(
                    "Job for {unit} failed{reason}.\nSee \"systemctl status {unit}\" and \"journalctl -xeu {unit}\" for details."
                )
            }
        };
        self.complain(&text);
        Ok(())
    }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// The exit code for an error by its name: LSB's for init scripts.
fn exit_code(name: &str) -> u8 {
    match last_part(name) {
        "JobTypeNotApplicable" | "NotSupported" => NOT_IMPLEMENTED,
        "AccessDenied" | "OnlyByDependency" | "NoIsolation" | "TransactionIsDestructive" => NO_PERMISSION,
        "NoSuchUnit" => NOT_INSTALLED,
        "LoadFailed" => NOT_CONFIGURED,
        _ => 1,
    }
}

fn is_denied(trouble: &Trouble) -> bool {
    trouble.name() == "org.freedesktop.DBus.Error.AccessDenied"
}

/// The number of a signal: `9`, `KILL`, `SIGKILL`, `kill`.
pub(super) fn signal_number(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = text.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok())
}

/// The full names of what was typed, for verbs that do not look into memory.
pub(super) fn full_names(typed: &[String]) -> Vec<String> {
    typed.iter().map(|name| if name.contains('/') { name.clone() } else { mangle(name) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(signal_number("KILL"), Some(9));
        assert_eq!(signal_number("sigusr2"), Some(12));
        assert_eq!(signal_number("SYS"), Some(31));
        assert_eq!(signal_number("15"), Some(15));
        assert_eq!(signal_number("65"), None);
        assert_eq!(signal_number("NONE"), None);
    }
}
