//! `runc events`: what a container uses, now and then or once, as lines of JSON; and when memory ran out.

use std::time::Duration;

use serde_json::json;

use super::containers::Status;
use super::{Error, World};
use crate::cli::show;
use crate::run::cgroup::statistics;

/// Print statistics of a container, and events
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Print the statistics once
    #[arg(long)]
    stats: bool,
    /// Time between statistics: seconds, or with s, m, h
    #[arg(long, default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// The container's ID
    id: String,
}

impl Events {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let record = world.containers.load(&self.id)?;
        let status = world.containers.status(&record);
        if status == Status::Stopped {
            return Err(Error::State { id: self.id, is: status.word(), wanted: "running" });
        }
        let mut killed = record.cgroup.out_of_memory_kills();
        loop {
            let data = statistics::read(&record.cgroup);
            show::line(&json!({ "type": "stats", "id": record.id, "data": data }).to_string());
            if self.stats {
                return Ok(0);
            }
            std::thread::sleep(self.interval);
            let now = record.cgroup.out_of_memory_kills();
            if now > killed {
                show::line(&json!({ "type": "oom", "id": record.id }).to_string());
                killed = now;
            }
            if world.containers.status(&record) == Status::Stopped {
                return Ok(0);
            }
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (text.get(..at), 1.0),
        Some((at, 'm')) => (text.get(..at), 60.0),
        Some((at, 'h')) => (text.get(..at), 3600.0),
        _ => (Some(text), 1.0),
    };
    let bad = || format!("{text:?} is not a time like 5s");
    let number: f64 = number.and_then(|number| number.parse().ok()).ok_or_else(bad)?;
    Duration::try_from_secs_f64(number * unit).ok().filter(|time| !time.is_zero()).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(interval("0.5s"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "-1s", "0", "x"] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
