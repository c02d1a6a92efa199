//! `sh`, `bash`, `brush`: the brush shell, which speaks bash's language.
//!
//! Source: bash(1). brush reads the arguments of the process, so a call as `corten sh …` starts the
//! same binary again under the shell's name.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

/// brush's option that chooses how lines are read.
const BACKEND: &str = "--input-backend";
/// How long a terminal may take to say where its cursor is.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The shell. A name that begins with a dash makes it a login shell.
pub fn sh(args: Vec<OsString>) -> ExitCode {
    if !crate::called_by_name(&args) {
        return start_again("sh", &args);
    }
    let login = args.first().is_some_and(|name| name.as_encoded_bytes().starts_with(b"-"));
    let chosen = args.iter().any(|arg| arg == BACKEND);
    let plain = !chosen && args.len() == 1 && std::io::stdin().is_terminal() && !answers();
    if (login && args.len() == 1) || plain {
        // brush takes a login shell's dash for part of its name: say it in the way it knows.
        let mut again = vec![OsString::new()];
        again.extend(login.then(|| OsString::from("--login")));
        again.extend([BACKEND.into(), if plain { "minimal" } else { "reedline" }.into()]);
        return start_again("bash", &again);
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

/// Whether the terminal says where its cursor is (ECMA-48, DSR), as the line editor needs. A serial line that
/// nobody sits at, or a program that types, does not: there lines are read as the kernel edits them.
fn answers() -> bool {
    if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return false;
    }
    let waiting =
        |patience: &Timespec| poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(patience)) == Ok(1);
    // What has been typed already must not be lost in the answer.
    if waiting(&Timespec { tv_sec: 0, tv_nsec: 0 }) {
        return false;
    }
    let Ok(before) = tcgetattr(stdin()) else { return false };
    let mut raw = before.clone();
    raw.make_raw();
    if tcsetattr(stdin(), OptionalActions::Now, &raw).is_err() {
        return false;
    }
    let mut answered = false;
    if rustix::io::write(stdout(), b"\x1b[6n").is_ok() {
        let mut byte = [0];
        // The answer is a few bytes up to an R.
        for _ in 0..32 {
            if !waiting(&PATIENCE) || rustix::io::read(stdin(), &mut byte) != Ok(1) {
                break;
            }
            if byte == [b'R'] {
                answered = true;
                break;
            }
        }
    }
    let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
    answered
}
