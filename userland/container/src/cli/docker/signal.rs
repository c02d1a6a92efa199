//! `docker stop`, `docker kill`, `docker wait`: asking a container to end, making it, and seeing it.

use std::time::Duration;

use rustix::process::Signal;

use super::super::{CliError, Places, show};
use super::each;
use crate::state::{Container, Containers, StateError, Status};

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
            stop(&containers, &containers.find(name)?, Duration::from_secs(self.time))?;
            show::line(name);
            Ok(())
        }))
    }
}

/// Asks a container to end by the signal that it was made with, and kills it when the time is over.
pub(crate) fn stop(containers: &Containers, container: &Container, time: Duration) -> Result<(), CliError> {
    let asked = container.record.stop_signal.as_deref().map(signal).transpose()?.unwrap_or(Signal::TERM);
    Ok(containers.end(container, asked, time)?)
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
            match signal {
                Signal::KILL => containers.end(&container, signal, Duration::ZERO)?,
                other => container.send(other)?,
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
