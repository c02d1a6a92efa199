//! `sh`, `bash`, `brush`: the brush shell, which speaks bash's language.
//!
//! Source: bash(1). brush reads the arguments of the process, so a call as `corten sh …` starts the
//! same binary again under the shell's name.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The shell. A name that begins with a dash makes it a login shell.
pub fn sh(args: Vec<OsString>) -> ExitCode {
    if !crate::called_by_name(&args) {
        return start_again("sh", &args);
    }
    let login = args.first().is_some_and(|name| name.as_encoded_bytes().starts_with(b"-"));
    if login && args.len() == 1 {
        // brush takes the dash for part of its name: say it in the way it knows.
        return start_again("bash", &[OsString::new(), OsString::from("--login")]);
    }
    brush_shell::entry::run();
    ExitCode::SUCCESS
}

/// Becomes the same binary under the name `name`, with the arguments after the first.
fn start_again(name: &str, args: &[OsString]) -> ExitCode {
    let program = std::env::current_exe().unwrap_or_else(|_| Path::new("/usr/bin/corten").to_owned());
    let error = Command::new(&program).arg0(name).args(args.iter().skip(1)).exec();
    eprintln!("{name}: {} cannot be started again: {error}", program.display());
    ExitCode::from(126)
}
