//! The commands, one a file.

pub mod ip;
pub mod networkctl;
pub mod networkd;
pub mod wait_online;

use std::process::ExitCode;

/// Prints clap's message, help included, and returns its exit code.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}
