//! The applet `unit-show` as a program of its own, for quick looks and for tests.

fn main() -> std::process::ExitCode {
    init::unit_show(std::env::args_os().collect())
}
