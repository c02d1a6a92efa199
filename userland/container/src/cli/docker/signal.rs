//! `docker stop`, `docker kill`, `docker wait`: asking a container to end, making it, and seeing it.

use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};

use super::super::{CliError, Places, show};
use super::each;
use crate::state::{Container, Containers, StateError, Status};

/// The kernel needs no longer than this to kill a container, unless a disk hangs.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Ask containers to end, and kill them if they do not
#[derive(Debug, clap::Args)]
pub struct Stop {
    /// Seconds to wait before killing
    #[arg(short, long, default_value_t = 10)]
    time: u64,
    /// Names or IDs
    #[arg(required = true)]
    container: Vec<String>,
}

/// Send a signal to containers; KILL ends them at once
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// The signal: a name with or without SIG, or a number
    #[arg(short, long, default_value = "KILL")]
    signal: String,
    /// Names or IDs
    #[arg(required = true)]
    container: Vec<String>,
}

/// Wait until containers end, and print their exit statuses
#[derive(Debug, clap::Args)]
pub struct Wait {
    /// Names or IDs
    #[arg(required = true)]
    container: Vec<String>,
}

impl Stop {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let containers = places.containers();
        Ok(each(&self.container, |name| {
            let container = containers.find(name)?;
            if container.status == Status::Running {
                stop(&containers, &container, Duration::from_secs(self.time))?;
            }
            show::line(name);
            Ok(())
        }))
    }
}

/// Asks a running container to end, and kills it when the time is over.
pub(crate) fn stop(containers: &Containers, container: &Container, time: Duration) -> Result<(), CliError> {
    let asked = container.record.stop_signal.as_deref().map(signal).transpose()?.unwrap_or(Signal::TERM);
    send(container, asked)?;
    if !containers.wait_for_end(&container.record.id, time)? {
        send(container, Signal::KILL)?;
        containers.wait_for_end(&container.record.id, KILL_WAIT)?;
    }
    Ok(())
}

impl Kill {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let containers = places.containers();
        let signal = signal(&self.signal)?;
        Ok(each(&self.container, |name| {
            let container = containers.find(name)?;
            if container.status != Status::Running {
                return Err(StateError::NotRunning(container.record.short_id().to_owned()).into());
            }
            send(&container, signal)?;
            if signal == Signal::KILL {
                containers.wait_for_end(&container.record.id, KILL_WAIT)?;
            }
            show::line(name);
            Ok(())
        }))
    }
}

impl Wait {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let containers = places.containers();
        Ok(each(&self.container, |name| {
            let id = containers.find(name)?.record.id;
            containers.wait_for_end(&id, Duration::MAX)?;
            if let Status::Exited(code) = containers.find(&id)?.status {
                show::line(&code.to_string());
            }
            Ok(())
        }))
    }
}

/// Sends a signal to the first process of a container; one that is gone needs none.
pub(crate) fn send(container: &Container, signal: Signal) -> Result<(), CliError> {
    let Some(process) = container.state.process() else { return Ok(()) };
    match pidfd_send_signal(process, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(CliError::Io("send the signal", error.into())),
    }
}

/// Reads a signal: a name with or without SIG, or a number.
pub(crate) fn signal(text: &str) -> Result<Signal, CliError> {
    use std::str::FromStr;
    let bad = || CliError::Usage(format!("invalid signal: {text}"));
    let number = match text.parse::<i32>() {
        Ok(number) => number,
        Err(_) => {
            let upper = text.to_ascii_uppercase();
            let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
            nix::sys::signal::Signal::from_str(&name).map_err(|_| bad())? as i32
        }
    };
    Signal::from_named_raw(number).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        assert_eq!(signal("KILL").unwrap(), Signal::KILL);
        assert_eq!(signal("sigusr1").unwrap(), Signal::USR1);
        assert_eq!(signal("15").unwrap(), Signal::TERM);
        for bad in ["", "SIG", "0", "-9", "FOO", "999"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
