//! The step between `sudod` and the program: the same binary, started again as root, becomes the user and
//! then the program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use accounts::Identity;

/// The first argument that asks for this step.
pub(crate) const STEP: &str = "--command-child";

/// What to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Become {
    /// The user and groups.
    pub(crate) identity: Identity,
    /// The folder to start in, and whether the program cannot do without.
    pub(crate) folder: PathBuf,
    /// The standard descriptor that is to be the controlling terminal.
    pub(crate) terminal: Option<u8>,
    /// The program, and its arguments with its own name first.
    pub(crate) program: OsString,
    /// The arguments, the program's own name first.
    pub(crate) args: Vec<OsString>,
}

impl Become {
    /// The arguments that [`run`] understands.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        let groups: Vec<String> = self.identity.groups.iter().map(u32::to_string).collect();
        let mut args: Vec<OsString> = vec![
            STEP.into(),
            self.identity.uid.to_string().into(),
            groups.join(",").into(),
            self.folder.clone().into(),
            self.terminal.map_or_else(|| "-".to_owned(), |number| number.to_string()).into(),
            self.program.clone(),
        ];
        args.extend(self.args.iter().cloned());
        args
    }

    fn from_args(args: &[OsString]) -> Option<Become> {
        let [uid, groups, folder, terminal, program, args @ ..] = args else { return None };
        if args.is_empty() {
            return None;
        }
        let groups = groups.to_str()?.split(',').map(|gid| gid.parse().ok()).collect::<Option<_>>()?;
        Some(Become {
            identity: Identity { uid: uid.to_str()?.parse().ok()?, groups },
            folder: folder.into(),
            terminal: match terminal.to_str()? {
                "-" => None,
                number => Some(number.parse().ok()?),
            },
            program: program.clone(),
            args: args.to_vec(),
        })
    }
}

/// Runs the step with the arguments after [`STEP`]. Returns only if it failed.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let Some(target) = Become::from_args(args) else {
        eprintln!("sudod: {STEP} is for sudod itself");
        return ExitCode::from(2);
    };
    let program = target.program.to_string_lossy().into_owned();
    match become_it(target) {
        Ok(never) => match never {},
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("sudo: {program}: command not found")
        }
        Err(error) => eprintln!("sudo: {program}: {error}"),
    }
    ExitCode::FAILURE
}

fn become_it(target: Become) -> io::Result<std::convert::Infallible> {
    rustix::process::setsid()?;
    match target.terminal {
        Some(0) => rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?,
        Some(1) => rustix::process::ioctl_tiocsctty(rustix::stdio::stdout())?,
        Some(_) => rustix::process::ioctl_tiocsctty(rustix::stdio::stderr())?,
        None => {}
    }
    if let Err(error) = std::env::set_current_dir(&target.folder) {
        eprintln!("sudo: cannot start in {}: {error}", target.folder.display());
        std::env::set_current_dir("/")?;
    }
    target.identity.assume()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let mut args = target.args.into_iter();
    let name = args.next().unwrap_or_default();
    Err(Command::new(&target.program).arg0(name).args(args).exec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_become_survives_the_command_line() {
        for terminal in [None, Some(2)] {
            let target = Become {
                identity: Identity { uid: 0, groups: vec![0, 10] },
                folder: "/tmp/x y".into(),
                terminal,
                program: "ls".into(),
                args: vec!["ls".into(), "-l".into(), "".into()],
            };
            let args = target.to_args();
            assert_eq!(args[0], STEP);
            assert_eq!(Become::from_args(&args[1..]), Some(target));
        }
        assert_eq!(Become::from_args(&[]), None);
    }
}
