//! The step between the server and the user's program: the same binary, started again as root, becomes
//! the user and then the program.
//!
//! Order matters: a session of its own first, then the terminal, the groups, the group, the user, and only
//! then the first access to anything of the user's. If any of it fails, nothing is run.
//!
//! Source: credentials(7), setsid(2), environ as sshd(8) "LOGIN PROCESS".

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use accounts::Identity;

/// The first argument that asks for this step.
pub(crate) const STEP: &str = "--session-child";

/// What to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Become {
    /// The user.
    pub(crate) uid: u32,
    /// All groups, the own one first.
    pub(crate) groups: Vec<u32>,
    /// The folder to start in.
    pub(crate) home: PathBuf,
    /// Whether standard input is to be the controlling terminal.
    pub(crate) terminal: bool,
    /// Whether a person sits there, who is shown the message of the day.
    pub(crate) greet: bool,
    /// The program's file, and its arguments with its own name first.
    pub(crate) program: PathBuf,
    /// The arguments, the program's own name first.
    pub(crate) args: Vec<OsString>,
}

impl Become {
    /// The arguments that [`run`] understands.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        let mut args: Vec<OsString> = vec![
            STEP.into(),
            self.uid.to_string().into(),
            groups.join(",").into(),
            self.home.clone().into(),
            u8::from(self.terminal).to_string().into(),
            u8::from(self.greet).to_string().into(),
            self.program.clone().into(),
        ];
        args.extend(self.args.iter().cloned());
        args
    }

    fn from_args(args: &[OsString]) -> Option<Become> {
        let [uid, groups, home, terminal, greet, program, args @ ..] = args else { return None };
        if args.is_empty() {
            return None;
        }
        Some(Become {
            uid: uid.to_str()?.parse().ok()?,
            groups: groups.to_str()?.split(',').map(|gid| gid.parse().ok()).collect::<Option<_>>()?,
            home: home.into(),
            terminal: terminal == "1",
            greet: greet == "1",
            program: program.into(),
            args: args.to_vec(),
        })
    }
}

/// Runs the step with the arguments after [`STEP`]. Returns only if it failed.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let Some(target) = Become::from_args(args) else {
        eprintln!("sshd: {STEP} is for sshd itself");
        return ExitCode::from(2);
    };
    let program = target.program.display().to_string();
    match become_it(target) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("{program}: {error}");
            ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

fn become_it(target: Become) -> io::Result<std::convert::Infallible> {
    rustix::process::setsid()?;
    if target.terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    Identity { uid: target.uid, groups: target.groups.clone() }.assume()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if let Err(error) = std::env::set_current_dir(&target.home) {
        eprintln!("Could not change to the home directory {}: {error}", target.home.display());
        std::env::set_current_dir("/")?;
    }
    if target.greet && !Path::new(".hushlogin").exists() {
        for motd in ["/run/motd", "/etc/motd"] {
            if let Ok(text) = std::fs::read(motd) {
                let _ = io::stdout().write_all(&text);
            }
        }
        let _ = io::stdout().flush();
    }
    let mut args = target.args.into_iter();
    let name = args.next().unwrap_or_default();
    Err(Command::new(&target.program).arg0(name).args(args).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_become_survives_the_command_line() {
        let target = Become {
            uid: 500,
            groups: vec![500, 150],
            home: "/home/core dir".into(),
            terminal: true,
            greet: false,
            program: "/bin/bash".into(),
            args: vec!["-bash".into(), "-c".into(), "echo \"hi\"\n".into()],
        };
        let args = target.to_args();
        assert_eq!(args[0], STEP);
        assert_eq!(Become::from_args(&args[1..]), Some(target));
    }

    #[test]
    fn arguments_of_any_other_shape_are_refused() {
        let refused = [
            vec![],
            vec!["500", "500", "/", "0", "0", "/bin/sh"],
            vec!["x", "500", "/", "0", "0", "/bin/sh", "sh"],
            vec!["500", "", "/", "0", "0", "/bin/sh", "sh"],
        ];
        for args in refused {
            let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
            assert_eq!(Become::from_args(&args), None);
        }
    }
}
