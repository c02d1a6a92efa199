//! The client alone, for tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    journal::journalctl(std::env::args_os().collect())
}
