//! The child's environment: the unit's, and what only the child knows.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use unit::Spawn;

use crate::users::User;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What else the environment tells.
#[derive(Debug, Default)]
pub struct Known<'a> {
    /// Who the process becomes, if anybody.
    pub user: Option<&'a User>,
    /// `JOURNAL_STREAM`
    pub journal: Option<String>,
    /// `CREDENTIALS_DIRECTORY`
    pub credentials: Option<&'a Path>,
}

/// The unit's environment with what it leaves open filled in.
pub fn complete(spawn: &Spawn, known: Known<'_>) -> Vec<(String, String)> {
    let mut all = spawn.environment.clone();
    let mut default = |name: &str, value: String| {
        if !all.iter().any(|(have, _)| have == name) {
            all.push((name.to_owned(), value));
        }
    };
    default("PATH", DEFAULT_PATH.to_owned());
    default("LANG", "C.UTF-8".to_owned());
    if let Some(user) = known.user {
        default("HOME", user.home.display().to_string());
        default("USER", user.name.clone());
        default("LOGNAME", user.name.clone());
        default("SHELL", user.shell.clone());
    }
    if spawn.exec.input.is_terminal() {
        default("TERM", terminal_type(spawn));
    }
    if let Some(journal) = known.journal {
        default("JOURNAL_STREAM", journal);
    }
    if let Some(folder) = known.credentials {
        default("CREDENTIALS_DIRECTORY", folder.display().to_string());
    }
    default("SYSTEMD_EXEC_PID", std::process::id().to_string());
    all.retain(|(name, value)| {
        let unset = &spawn.exec.unset_environment;
        !unset.iter().any(|word| word == name || *word == format!("{name}={value}"))
    });
    all
}

/// A console of the kernel's understands "linux", a serial line what every terminal has understood since 1983.
fn terminal_type(spawn: &Spawn) -> String {
    let path = spawn.exec.terminal.path.as_deref().unwrap_or("/dev/console");
    let virtual_console = path
        .strip_prefix("/dev/tty")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    if virtual_console { "linux" } else { "vt220" }.to_owned()
}

/// An absolute path as it is, a name by ExecSearchPath= or the environment's `PATH`.
pub fn find(program: &str, search: &[String], environment: &[(String, String)]) -> io::Result<PathBuf> {
    if program.contains('/') {
        return Ok(program.into());
    }
    let path =
        environment.iter().rev().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, path)| path);
    let of_path = path.split(':').filter(|_| search.is_empty());
    let folders = search.iter().map(String::as_str).chain(of_path).filter(|folder| folder.starts_with('/'));
    let mut paths = folders.map(|folder| Path::new(folder).join(program));
    let found = paths.find(|path| {
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
        assert_eq!(find("/no/such", &[], &[]).unwrap(), Path::new("/no/such"));
        assert_eq!(find("sh", &[], &path("relative:/nothing:/bin")).unwrap(), Path::new("/bin/sh"));
        assert!(find("sh", &[], &path("/nothing")).is_err());
        assert!(find("no-such-program", &[], &[]).is_err());
        assert!(find("sh", &["/nothing".to_owned()], &path("/bin")).is_err());
        assert_eq!(find("sh", &["/bin".to_owned()], &path("/nothing")).unwrap(), Path::new("/bin/sh"));
    }
}
