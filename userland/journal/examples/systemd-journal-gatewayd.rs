//! The gateway alone, for tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    journal::systemd_journal_gatewayd(std::env::args_os().collect())
}
