//! What a person at the prompt needs to look after a machine: the shell and the file tools.
//!
//! Three sources, in this order of preference:
//! - [`uutils`]: the coreutils, findutils, grep and sed of the uutils project, as they are;
//! - [`shell`] and [`editor`]: brush and kibi, as they are;
//! - the rest are small programs of our own on `/proc` and `/sys`, one a module.
//!
//! Invariant: no program here needs more than its arguments, the file system and the terminal. None
//! of them talks to a service.

mod clock;
pub mod editor;
pub mod kernel_log;
pub mod lsblk;
pub mod memory;
pub mod mount;
pub mod ps;
pub mod shell;
pub mod swap;
pub mod uptime;
pub mod uutils;

use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Whether this process was called by an applet's own name, not as `corten APPLET`.
///
/// The libraries we embed read the process's arguments themselves, and need to know which it was.
fn called_by_name(args: &[OsString]) -> bool {
    let ours = args.first().map(|arg| Path::new(arg).file_name().map(OsString::from));
    let process = std::env::args_os().next().map(|arg| Path::new(&arg).file_name().map(OsString::from));
    ours == process
}

/// The end of a program whose command line is wrong, or that was asked for help.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// The end of a program: a message and `code`, if it failed.
fn finish(name: &str, result: Result<(), String>, code: u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody reads any more: that is how `… | head` ends.
            if message != CLOSED {
                eprintln!("{name}: {message}");
            }
            ExitCode::from(code)
        }
    }
}

/// What [`say`] returns when nobody reads any more.
const CLOSED: &str = "standard output is closed";

/// Writes a line to standard output.
fn say(line: fmt::Arguments<'_>) -> Result<(), String> {
    writeln!(std::io::stdout().lock(), "{line}").map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => CLOSED.to_owned(),
        _ => format!("standard output: {error}"),
    })
}

/// The columns of the terminal that standard output is, if it is one.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// A number of bytes in the unit that fits, such as `1.5G`.
fn human(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "K", "M", "G", "T", "P"] {
        if amount < 1024.0 || unit == "P" {
            return if amount.fract() < 0.05 || unit == "B" || amount >= 100.0 {
                format!("{amount:.0}{unit}")
            } else {
                format!("{amount:.1}{unit}")
            };
        }
        amount /= 1024.0;
    }
    String::new()
}

#[cfg(test)]
mod tests {
    #[test]
    fn amounts_fit_people() {
        let shown = [0, 1023, 1024, 1536, 250 << 20, (5 << 30) + (1 << 29)].map(super::human);
        assert_eq!(shown, ["0B", "1023B", "1K", "1.5K", "250M", "5.5G"]);
    }
}
