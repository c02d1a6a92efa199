//! The child's own way to its program, in systemd's order. Nothing here returns to PID 1.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::execve;
use rustix::fs::Mode;
use unit::settings::Input;
use unit::{Role, Spawn};

use super::{Failure, Handed, credentials, directories, limits, stdio};
use crate::users::{User, Users};

const CHDIR: u8 = 200;
const EXEC: u8 = 203;
const SIGNAL_MASK: u8 = 207;
const CHROOT: u8 = 210;
const SETSID: u8 = 220;
const SIGPIPE: i32 = 13;
const DEFAULT_UMASK: u32 = 0o022;
/// The first descriptor that is not a standard stream.
const FIRST_OWN: u32 = 3;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Sets the process up and executes the program; returns only when that fails.
pub fn run(spawn: &Spawn, handed: &Handed) -> Failure {
    match execute(spawn, handed) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn execute(spawn: &Spawn, handed: &Handed) -> Result<std::convert::Infallible, Failure> {
    let exec = &spawn.exec;
    linux::clean_exec::close_on_exec_from(FIRST_OWN)
        .map_err(|error| Failure::new(202, "cannot close descriptors", error))?;
    // autofs lets the process group of PID 1 through: to mount is not to wait for the mount
    if !matches!(spawn.role, Role::Mount | Role::Remount | Role::Unmount) {
        rustix::process::setsid().map_err(|error| Failure::new(SETSID, "cannot begin a session", error))?;
    }
    linux::clean_exec::default_signals()
        .map_err(|error| Failure::new(SIGNAL_MASK, "cannot reset signals", error))?;
    if !exec.keep_sigpipe {
        linux::signal::ignore(SIGPIPE);
    }
    rustix::process::umask(Mode::empty());
    limits::apply(exec)?;

    let users = Users::read(Path::new("/"));
    let privileged = spawn.flags.full_privileges;
    let identity = credentials::find(exec, &users, privileged)?;
    let journal = stdio::connect(spawn, handed.stream.as_ref())?;
    directories::make(exec, identity.uid, identity.gid)?;
    rustix::process::umask(Mode::from_raw_mode(exec.umask.unwrap_or(DEFAULT_UMASK)));
    let mut environment = environment(spawn, identity.user.as_ref(), journal);
    environment.extend(handed.environment());
    if let Some(root) = exec.root_directory.as_deref().filter(|root| !privileged && *root != "/") {
        rustix::process::chroot(root)
            .map_err(|error| Failure::new(CHROOT, format!("cannot enter the root {root}"), error))?;
        rustix::process::chdir("/").map_err(|error| Failure::new(CHROOT, "cannot enter /", error))?;
    }
    work_directory(spawn, identity.user.as_ref())?;
    if !privileged {
        credentials::assume(spawn, &identity)?;
    }

    let program = find(&spawn.path, &environment).map_err(|error| Failure::new(EXEC, &spawn.path, error))?;
    let strings = |all: Vec<Vec<u8>>| all.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>();
    let nul = |_| {
        Failure::new(EXEC, "a zero byte in the command line", io::Error::from(io::ErrorKind::InvalidInput))
    };
    let path = CString::new(program.as_os_str().as_bytes()).map_err(nul)?;
    let argv = strings(spawn.argv.iter().map(|word| word.clone().into_bytes()).collect()).map_err(nul)?;
    let words = environment.iter().map(|(name, value)| format!("{name}={value}").into_bytes());
    let environment = strings(words.collect()).map_err(nul)?;
    handed.put()?;
    execve(&path, &argv, &environment).map_err(|error| Failure::new(EXEC, program.display(), error))
}

/// The unit's environment and what only the child knows.
fn environment(spawn: &Spawn, user: Option<&User>, journal: Option<String>) -> Vec<(String, String)> {
    let mut all = spawn.environment.clone();
    let mut default = |name: &str, value: String| {
        if !all.iter().any(|(have, _)| have == name) {
            all.push((name.to_owned(), value));
        }
    };
    default("PATH", DEFAULT_PATH.to_owned());
    default("LANG", "C.UTF-8".to_owned());
    if let Some(user) = user {
        default("HOME", user.home.display().to_string());
        default("USER", user.name.clone());
        default("LOGNAME", user.name.clone());
        default("SHELL", user.shell.clone());
    }
    if matches!(spawn.exec.input, Input::Tty | Input::TtyForce | Input::TtyFail) {
        default("TERM", "vt220".to_owned());
    }
    if let Some(journal) = journal {
        default("JOURNAL_STREAM", journal);
    }
    all
}

fn work_directory(spawn: &Spawn, user: Option<&User>) -> Result<(), Failure> {
    let Some(wanted) = &spawn.exec.working_directory else {
        return rustix::process::chdir("/").map_err(|error| Failure::new(CHDIR, "cannot enter /", error));
    };
    let home = || user.map_or_else(|| "/root".into(), |user| user.home.clone());
    let path = wanted.path.as_ref().map_or_else(home, PathBuf::from);
    match rustix::process::chdir(&path) {
        Err(_) if wanted.missing_ok => Ok(()),
        result => {
            result.map_err(|error| Failure::new(CHDIR, format!("cannot enter {}", path.display()), error))
        }
    }
}

/// An absolute path as it is, a name by the environment's `PATH`.
fn find(program: &str, environment: &[(String, String)]) -> io::Result<PathBuf> {
    if program.contains('/') {
        return Ok(program.into());
    }
    let path =
        environment.iter().rev().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    let paths: Vec<OsString> =
        path.split(':').filter(|folder| folder.starts_with('/')).map(Into::into).collect();
    let found = paths.iter().map(|folder| Path::new(folder).join(program)).find(|path| {
        fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    });
    found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_up_in_the_units_path() {
        let path = |value: &str| vec![("PATH".to_owned(), value.to_owned())];
        assert_eq!(find("/no/such", &[]).unwrap(), Path::new("/no/such"));
        assert_eq!(find("sh", &path("relative:/nothing:/bin")).unwrap(), Path::new("/bin/sh"));
        assert!(find("sh", &path("/nothing")).is_err());
        assert!(find("no-such-program", &[]).is_err());
    }
}
