//! The machines of this checkout that a person started, by name.
//!
//! Each has a directory `machines/NAME` beside the artifacts. A numbered machine is thrown away
//! when it ends; a named one keeps its disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::error::At;
use crate::keys::Key;
use crate::{Artifacts, Error, Result, Ssh, qmp};

/// The disk of a machine, in its directory.
pub const DISK: &str = "disk.qcow2";

/// A machine that was started by `./qemu/run`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its files.
    pub directory: PathBuf,
}

/// Where the machines of a checkout are kept.
pub fn directory(artifacts: &Artifacts) -> PathBuf {
    artifacts.directory().join("machines")
}

/// A directory for a machine without a name: the lowest number that is free.
///
/// # Errors
/// When the directory cannot be made.
pub fn number(artifacts: &Artifacts) -> Result<Entry> {
    let parent = directory(artifacts);
    fs::create_dir_all(&parent).at("create", &parent)?;
    for number in 1..10_000 {
        let entry = entry(artifacts, &number.to_string())?;
        if entry.directory.exists() && entry.pid().is_none() && entry.is_stale() {
            fs::remove_dir_all(&entry.directory).at("remove", &entry.directory)?;
        }
        match fs::create_dir(&entry.directory) {
            Ok(()) => return Ok(entry),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(Error::File { doing: "create", path: entry.directory, source }),
        }
    }
    Err(Error::Usage(format!("{} is full of machines: remove some", parent.display())))
}

/// The machine of this name, whether it exists or not.
///
/// # Errors
/// When the name is not a plain one.
pub fn entry(artifacts: &Artifacts, name: &str) -> Result<Entry> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(Error::Usage(format!("{name:?} is no name for a machine: use letters, digits, - and _")));
    }
    Ok(Entry { name: name.to_owned(), directory: directory(artifacts).join(name) })
}

/// The machines that run now.
pub fn running(artifacts: &Artifacts) -> Vec<Entry> {
    let Ok(listing) = fs::read_dir(directory(artifacts)) else { return Vec::new() };
    let mut all: Vec<Entry> = listing
        .flatten()
        .filter_map(|file| entry(artifacts, &file.file_name().to_string_lossy()).ok())
        .filter(|entry| entry.pid().is_some())
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The running machine of this name, or an error that names those that run.
///
/// # Errors
/// [`Error::NoMachine`].
pub fn find_running(artifacts: &Artifacts, name: &str) -> Result<Entry> {
    let entry = entry(artifacts, name)?;
    if entry.pid().is_some() {
        return Ok(entry);
    }
    let names: Vec<String> = running(artifacts).into_iter().map(|entry| entry.name).collect();
    let known =
        if names.is_empty() { "none runs".to_owned() } else { format!("running: {}", names.join(", ")) };
    Err(Error::NoMachine(format!("no machine {name:?} runs ({known}); start one with ./qemu/run")))
}

impl Entry {
    /// The QEMU process, if it still runs.
    pub fn pid(&self) -> Option<Pid> {
        let number: i32 = fs::read_to_string(self.directory.join("pid")).ok()?.trim().parse().ok()?;
        // The number may have gone to another process: ours names the directory in its arguments.
        let arguments = fs::read(format!("/proc/{number}/cmdline")).ok()?;
        let mark = self.directory.join("qmp.sock").display().to_string();
        arguments
            .windows(mark.len())
            .any(|window| window == mark.as_bytes())
            .then(|| Pid::from_raw(number))?
    }

    /// Whether a machine was started here once (its directory is not just being filled).
    fn is_stale(&self) -> bool {
        self.directory.join("pid").exists()
    }

    /// The way in.
    ///
    /// # Errors
    /// When the machine's port is not known.
    pub fn ssh(&self, artifacts: &Artifacts) -> Result<Ssh> {
        let path = self.directory.join("ssh_port");
        let text = fs::read_to_string(&path).at("read", &path)?;
        let port =
            text.trim().parse().map_err(|_| Error::Usage(format!("{} holds no port", path.display())))?;
        let key = Key::of(artifacts)?;
        Ok(Ssh { port, key: key.private().to_owned(), known_hosts: self.directory.join("known_hosts") })
    }

    /// Presses the power button and waits; whether it went off in time.
    ///
    /// # Errors
    /// When QEMU's control socket does not answer.
    pub fn shut_down(&self, within: Duration) -> Result<bool> {
        qmp::execute(&self.directory.join("qmp.sock"), "system_powerdown")?;
        let deadline = Instant::now() + within;
        while self.pid().is_some() {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(true)
    }

    /// Cuts the power.
    ///
    /// # Errors
    /// When the process cannot be signalled.
    pub fn cut_power(&self) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        kill_process(pid, Signal::KILL)
            .map_err(std::io::Error::from)
            .at("cut the power of", &self.directory)?;
        while self.pid().is_some() {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Forgets a numbered machine; a named one keeps its disk.
    ///
    /// # Errors
    /// When its files cannot be removed.
    pub fn forget_if_numbered(&self) -> Result<()> {
        if self.name.chars().all(|c| c.is_ascii_digit()) {
            remove(&self.directory)?;
        }
        Ok(())
    }
}

fn remove(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", directory),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        let artifacts = Artifacts::in_directory("/nowhere");
        assert!(entry(&artifacts, "web-1").is_ok());
        for name in ["", "..", "a/b", "a b", &"x".repeat(65)] {
            assert!(entry(&artifacts, name).is_err(), "{name:?} was taken");
        }
    }

    #[test]
    fn numbers_are_taken_once_and_again_when_their_machine_is_gone() -> Result<()> {
        let place = tempfile::tempdir().at("create", Path::new("a directory"))?;
        let artifacts = Artifacts::in_directory(place.path());
        assert_eq!(number(&artifacts)?.name, "1");
        let second = number(&artifacts)?;
        assert_eq!(second.name, "2");
        // A machine that ended without being forgotten: its process is no more.
        fs::write(second.directory.join("pid"), "1").at("write", place.path())?;
        assert_eq!(number(&artifacts)?.name, "2");
        Ok(())
    }

    #[test]
    fn a_process_that_took_over_the_number_is_not_the_machine() -> Result<()> {
        let place = tempfile::tempdir().at("create", Path::new("a directory"))?;
        let entry = number(&Artifacts::in_directory(place.path()))?;
        fs::write(entry.directory.join("pid"), std::process::id().to_string()).at("write", place.path())?;
        assert_eq!(entry.pid(), None);
        Ok(())
    }
}
