//! The `runc` face alone, for this crate's own tests and figures; the image has it as an applet of `corten`.

use std::process::ExitCode;

fn main() -> ExitCode {
    container::runc(std::env::args_os().collect())
}
