//! The daemon alone, for tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    journal::systemd_journald(std::env::args_os().collect())
}
