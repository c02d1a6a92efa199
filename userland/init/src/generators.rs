//! Generators: programs that write unit files before units are read (systemd.generator(7)).
//!
//! The image has none. A distribution's root has: PostgreSQL's makes an instance of a template for each of its
//! clusters. They run in a child of PID 1, all at a time, and in a bounded one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::Timespec;

use crate::log::{self, Level};
use crate::{host, prepare};

/// Of generators of one name the first one counts.
const FOLDERS: [&str; 4] = [
    "/run/systemd/system-generators",
    "/etc/systemd/system-generators",
    "/usr/local/lib/systemd/system-generators",
    "/usr/lib/systemd/system-generators",
];
/// Where they write: as strong as the distribution's files, stronger than the operator's, weaker than everything.
const OUTPUT: [&str; 3] =
    ["/run/systemd/generator", "/run/systemd/generator.early", "/run/systemd/generator.late"];
/// PID 1 waits so long for them, in the boot and when it reads its files anew.
const LIMIT: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";

/// Makes all units of generators anew, in an environment with ManagerEnvironment=.
pub fn run(environment: &[(String, String)]) {
    if of(&FOLDERS).is_empty() {
        return;
    }
    if let Err(error) = prepare::run_stage("generators", LIMIT, || run_all(environment)) {
        log::say(Level::Error, None, &format!("Not every unit could be generated: {error}"));
    }
}

/// What is to be run: programs, unless a link to `/dev/null` or an empty file stands for none.
fn of(folders: &[&str]) -> Vec<PathBuf> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            found.entry(entry.file_name()).or_insert_with(|| entry.path());
        }
    }
    let is_program = |path: &PathBuf| {
        fs::metadata(path)
            .is_ok_and(|data| data.is_file() && data.len() > 0 && data.permissions().mode() & 0o111 != 0)
    };
    found.into_values().filter(is_program).collect()
}

fn run_all(environment: &[(String, String)]) -> Result<(), String> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for folder in OUTPUT {
        empty(Path::new(folder)).map_err(|error| format!("cannot make {folder}: {error}"))?;
    }
    let first_boot = if prepare::is_first_boot() { "1" } else { "0" };
    let start = |path: PathBuf| -> (PathBuf, std::io::Result<Child>) {
        let mut command = Command::new(&path);
        command.args(OUTPUT).env_clear().env("PATH", SEARCH_PATH).stdin(Stdio::null()).current_dir("/");
        command.env("SYSTEMD_SCOPE", "system").env("SYSTEMD_IN_INITRD", "0");
        command.env("SYSTEMD_FIRST_BOOT", first_boot).env("SYSTEMD_ARCHITECTURE", host::read().architecture);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let child = command.spawn();
        (path, child)
    };
    let running: Vec<_> = of(&FOLDERS).into_iter().map(start).collect();
    let mut failed = Vec::new();
    for (path, child) in running {
        match child.and_then(|mut child| child.wait()) {
            Ok(status) if status.success() => {}
            Ok(status) => failed.push(format!("{}: {status}", path.display())),
            Err(error) => failed.push(format!("{}: {error}", path.display())),
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

fn empty(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_first_of_a_name_counts_and_dev_null_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let [strong, weak] = ["strong", "weak"].map(|name| folder.path().join(name));
        for (folder, name, mode) in [
            (&strong, "a", 0o755),
            (&weak, "a", 0o755),
            (&weak, "b", 0o755),
            (&weak, "text", 0o644),
            (&weak, "c", 0o755),
        ] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        symlink("/dev/null", strong.join("b")).unwrap();
        let folders = [strong.to_str().unwrap(), weak.to_str().unwrap(), "/no/such/folder"];
        assert_eq!(of(&folders), [strong.join("a"), weak.join("c")]);
    }
}
