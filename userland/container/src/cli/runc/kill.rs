//! `runc kill`: a signal to the first process, or to all.

use std::str::FromStr;

use super::containers::Status;
use super::{Error, World, during};

/// Send a signal to a container's first process
#[derive(Debug, clap::Args)]
pub struct Kill {
    /// Send it to all processes of the container
    #[arg(short, long)]
    all: bool,
    /// The container's ID
    id: String,
    /// Its name or number
    #[arg(default_value = "TERM", allow_hyphen_values = true)]
    signal: String,
}

impl Kill {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let record = world.containers.load(&self.id)?;
        let signal = number(&self.signal)?;
        let status = world.containers.status(&record);
        if self.all || (signal == libc::SIGKILL && !record.own_pids) {
            // Without a pid namespace of its own, the others do not die with the first.
            for pid in record.cgroup.processes() {
                let _ = linux::signal::kill(pid, signal);
            }
            if signal == libc::SIGKILL && status == Status::Paused {
                let _ = record.cgroup.freeze(false);
            }
            return Ok(0);
        }
        let process = record.process().filter(|_| status != Status::Stopped);
        let Some(process) = process else {
            return Err(Error::Usage(format!("container {:?} is not running", self.id)));
        };
        // The real-time ones too, which have no names here.
        let Some(pid) = record.pid else { return Ok(0) };
        match rustix::process::Signal::from_named_raw(signal) {
            Some(signal) => during("kill", rustix::process::pidfd_send_signal(process, signal))?,
            None => during("kill", linux::signal::kill(pid, signal))?,
        }
        if signal == libc::SIGKILL && status == Status::Paused {
            let _ = record.cgroup.freeze(false);
        }
        Ok(0)
    }
}

fn number(text: &str) -> Result<i32, Error> {
    let bad = || Error::Usage(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return Some(number).filter(|number| (1..=64).contains(number)).ok_or_else(bad);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        let offset = if rest.is_empty() { Ok(0) } else { rest.trim_start_matches('+').parse::<i32>() };
        let number = linux::signal::rtmin() + offset.map_err(|_| bad())?;
        return Some(number).filter(|number| (1..=64).contains(number)).ok_or_else(bad);
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{bare}")).map(|signal| signal as i32).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, expected) in
            [("KILL", 9), ("SIGTERM", 15), ("term", 15), ("9", 9), ("RTMIN+3", 37), ("64", 64)]
        {
            assert_eq!(number(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "0", "-1", "65", "SIGFOO", "RTMIN+99", "9x"] {
            assert!(number(bad).is_err(), "{bad}");
        }
    }
}
