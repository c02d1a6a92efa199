//! `dmesg`: the kernel's messages.
//!
//! Source: the kernel's Documentation/ABI/testing/dev-kmsg; dmesg(1).

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use clap::Parser;
use procfs::{Current, Uptime};
use rustix::fs::OFlags;

use crate::clock;

/// The names of the levels, the gravest first.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"];
/// The longest record the kernel gives.
const LONGEST: usize = 8192;

/// Show the kernel's messages.
#[derive(Debug, Parser)]
#[command(name = "dmesg", version)]
struct Options {
    /// Show times of the clock
    #[arg(short = 'T', long)]
    ctime: bool,
    /// Stay and show new messages as they come
    #[arg(short = 'w', long)]
    follow: bool,
    /// Only messages of these levels: emerg, alert, crit, err, warn, notice, info, debug
    #[arg(short, long, value_name = "LEVELS", value_delimiter = ',')]
    level: Vec<String>,
    /// Show the level too
    #[arg(short = 'x', long)]
    decode: bool,
    /// Accepted for compatibility: messages are not coloured
    #[arg(short = 'H', long)]
    human: bool,
}

/// `dmesg`
pub fn dmesg(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return crate::usage(&error),
    };
    crate::finish("dmesg", show(&options), 1)
}

fn show(options: &Options) -> Result<(), String> {
    if let Some(unknown) = options.level.iter().find(|level| !LEVELS.contains(&level.as_str())) {
        return Err(format!("{unknown}: unknown level; there are {}", LEVELS.join(", ")));
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => "/dev/kmsg: only root may read it (try sudo)".to_owned(),
        _ => format!("/dev/kmsg: {error}"),
    };
    let flags = if options.follow { OFlags::empty() } else { OFlags::NONBLOCK };
    let mut log = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open("/dev/kmsg")
        .map_err(failed)?;
    let uptime = Uptime::current().map_err(|error| format!("/proc/uptime: {error}"))?.uptime;
    let booted = clock::now().saturating_sub(uptime as u64);
    let mut record = vec![0; LONGEST];
    loop {
        match log.read(&mut record) {
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                if let Some(message) = parse(&text) {
                    print(&message, options, booted)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // The kernel wrote over the record that was next: go on with the oldest there is.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

/// A message of the kernel's.
#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    level: usize,
    micros: u64,
    text: &'a str,
}

/// `priority,sequence,microseconds,flags;text`, then lines that begin with a space.
fn parse(record: &str) -> Option<Message<'_>> {
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let priority: usize = fields.next()?.parse().ok()?;
    let micros = fields.nth(1)?.parse().ok()?;
    Some(Message { level: priority % 8, micros, text: rest.lines().next().unwrap_or_default() })
}

fn print(message: &Message<'_>, options: &Options, booted: u64) -> Result<(), String> {
    let level = LEVELS.get(message.level).copied().unwrap_or("?");
    if !options.level.is_empty() && !options.level.iter().any(|wanted| wanted == level) {
        return Ok(());
    }
    let (seconds, micros) = (message.micros / 1_000_000, message.micros % 1_000_000);
    let time = if options.ctime { clock::full(booted + seconds) } else { format!("{seconds:5}.{micros:06}") };
    let decoded = if options.decode { format!("{level:<6}: ") } else { String::new() };
    crate::say(format_args!("{decoded}[{time}] {}", message.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_the_kernel_is_read() {
        let record = "6,339,5140900,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n";
        let expected = Message { level: 6, micros: 5_140_900, text: "NET: Registered protocol family 10" };
        assert_eq!(parse(record), Some(expected));
        assert_eq!(parse("30,1,2,-;systemd: hello").map(|message| message.level), Some(6));
        assert_eq!(parse("garbage"), None);
        assert_eq!(parse("x,1,2,-;text"), None);
    }
}
