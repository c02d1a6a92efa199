//! `uptime`: since when, and how busy.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use procfs::{Current, LoadAverage, Uptime};

use crate::clock;

/// Show how long the machine runs, and how many processes wanted a processor over the last 1, 5 and 15 minutes.
#[derive(Debug, Parser)]
#[command(name = "uptime", version)]
struct Options {
    /// Only since when
    #[arg(short, long)]
    since: bool,
    /// Only how long, in words
    #[arg(short, long)]
    pretty: bool,
}

/// `uptime`
pub fn uptime(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return crate::usage(&error),
    };
    crate::finish("uptime", show(&options), 1)
}

fn show(options: &Options) -> Result<(), String> {
    let up = Uptime::current().map_err(|error| format!("/proc/uptime: {error}"))?.uptime as u64;
    if options.since {
        return crate::say(format_args!("{}", clock::full(clock::now().saturating_sub(up))));
    }
    if options.pretty {
        return crate::say(format_args!("up {}", words(up)));
    }
    let load = LoadAverage::current().map_err(|error| format!("/proc/loadavg: {error}"))?;
    crate::say(format_args!(
        " {} up {},  load average: {:.2}, {:.2}, {:.2}",
        clock::time_of_day(clock::now()),
        short(up),
        load.one,
        load.five,
        load.fifteen
    ))
}

/// `3 days, 4:05` or `12 min`
fn short(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let rest = if hours > 0 { format!("{hours}:{minutes:02}") } else { format!("{minutes} min") };
    match days {
        0 => rest,
        1 => format!("1 day, {rest}"),
        days => format!("{days} days, {rest}"),
    }
}

fn words(seconds: u64) -> String {
    let parts = [(seconds / 86_400, "day"), (seconds / 3600 % 24, "hour"), (seconds / 60 % 60, "minute")];
    let words: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}{}", if *number == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() { "0 minutes".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_as_people_know_them() {
        assert_eq!([59, 3660, 90_000, 180_000].map(short), ["0 min", "1:01", "1 day, 1:00", "2 days, 2:00"]);
        assert_eq!([0, 60, 93_784].map(words), ["0 minutes", "1 minute", "1 day, 2 hours, 3 minutes"]);
    }
}
