//! The `rkt` face alone, for this crate's own tests; the image has it as an applet of `corten`.

use std::process::ExitCode;

fn main() -> ExitCode {
    container::rkt(std::env::args_os().collect())
}
