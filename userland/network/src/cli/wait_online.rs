//! `systemd-networkd-wait-online`: returns when the machine is online.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use crate::report::{Directory, LinkReport, is_online};

/// Waits until the machine is online.
///
/// Online means: each link that systemd-networkd manages and that has a carrier is configured, and at
/// least one of them has an address. Exits with 1 when the time is over.
#[derive(Parser)]
#[command(name = "systemd-networkd-wait-online", version)]
struct Arguments {
    /// Give up after so many seconds; 0: never.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// One configured link is enough.
    #[arg(long)]
    any: bool,
    /// Say nothing.
    #[arg(long, short)]
    quiet: bool,
    /// Read the service's state below this directory.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// The applet.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(e) => return super::usage(&e),
    };
    match wait(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            if !arguments.quiet {
                eprintln!("Timeout occurred while waiting for network connectivity.");
            }
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("systemd-networkd-wait-online: cannot watch the service's state: {e}");
            ExitCode::FAILURE
        }
    }
}

fn wait(arguments: &Arguments) -> io::Result<bool> {
    let directory = Directory::below(&arguments.root);
    directory.create()?;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let changes = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
    inotify::add_watch(&watch, directory.links(), changes)?;
    let deadline = (arguments.timeout != 0).then(|| Instant::now() + Duration::from_secs(arguments.timeout));
    loop {
        let reports = directory.read();
        let online = if arguments.any {
            reports.iter().any(|report| report.required && LinkReport::is_online(report))
        } else {
            is_online(&reports)
        };
        if online {
            return Ok(true);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(false);
        }
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polled = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        // What changed does not matter, only that the events are taken off.
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&watch, &mut buffer).is_ok() {}
    }
}
