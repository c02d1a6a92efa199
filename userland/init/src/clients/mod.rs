//! Small programs beside `systemctl`, under the names that units and people know: `systemd-run`, `systemd-notify`,
//! `systemd-escape`, `systemd-cat`, `systemd-cgls`, `systemd-analyze`, `systemd-stdio-bridge`.

pub mod analyze;
pub mod bridge;
pub mod cat;
pub mod cgls;
pub mod escape;
pub mod notify;
pub mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Reads a command line, or says what is wrong with it.
fn parse<P: Parser>(args: Vec<OsString>) -> Result<P, ExitCode> {
    P::try_parse_from(args).map_err(|complaint| {
        let _ = complaint.print();
        if complaint.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    })
}

/// Says why it did not work.
fn fail(program: &str, why: impl std::fmt::Display) -> ExitCode {
    eprintln!("{program}: {why}");
    ExitCode::FAILURE
}
