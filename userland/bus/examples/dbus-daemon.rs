//! The bus as a program of its own, for tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    bus::dbus_daemon(std::env::args_os().collect())
}
