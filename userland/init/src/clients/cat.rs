//! `systemd-cat`: runs a command, or passes its input on, into the journal (systemd-cat(1)).

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use clap::Parser;

const JOURNAL: &str = "/run/systemd/journal/stdout";

/// Connect a command, or a pipe, to the journal.
#[derive(Debug, Parser)]
#[command(name = "systemd-cat")]
struct Options {
    /// What the lines are filed under
    #[arg(short = 't', long, value_name = "NAME", default_value = "")]
    identifier: String,
    /// How important they are: emerg, alert, crit, err, warning, notice, info, debug
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    priority: String,
    /// The same for the standard error
    #[arg(long, value_name = "LEVEL")]
    stderr_priority: Option<String>,
    /// Whether <N> in front of a line is its level
    #[arg(long, value_name = "YES", default_value = "yes")]
    level_prefix: String,
    /// The command; without it, what comes from the standard input
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The applet.
#[must_use]
pub fn systemd_cat(args: Vec<OsString>) -> ExitCode {
    let options: Options = match super::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail("systemd-cat", error),
    }
}

fn run(options: &Options) -> io::Result<()> {
    let mut out = stream(options, &options.priority)?;
    let Some((program, arguments)) = options.command.split_first() else {
        return io::copy(&mut io::stdin(), &mut out).map(|_| ());
    };
    let err = match &options.stderr_priority {
        Some(level) => stream(options, level)?,
        None => out.try_clone()?,
    };
    let (out, err) = (OwnedFd::from(out), OwnedFd::from(err));
    // Comes back only if it fails.
    Err(Command::new(program).args(arguments).stdout(out).stderr(err).exec())
}

/// A stream to the journal, with its seven lines in front.
fn stream(options: &Options, level: &str) -> io::Result<UnixStream> {
    const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
    let number =
        LEVELS.iter().position(|known| *known == level).or_else(|| level.parse().ok().filter(|n| *n < 8));
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, format!("{level}: not a level"));
    let number = number.ok_or_else(wrong)?;
    let prefix = u8::from(!matches!(options.level_prefix.as_str(), "0" | "no" | "false"));
    let mut stream = UnixStream::connect(JOURNAL).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot reach the journal at {JOURNAL}: {error}"))
    })?;
    write!(stream, "{}\n\n{number}\n{prefix}\n0\n0\n0\n", options.identifier.replace('\n', " "))?;
    Ok(stream)
}
