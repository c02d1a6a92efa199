//! `update_engine_client --payload FILE`: the release in a file goes into the slot that does not run.
//!
//! What speaks against a release is found before anything is written: its signature, its age, what it can be updated
//! from, the base of a difference, a slot that is too small.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use linux::disk::{Disk, DiskError};
use rustix::fs::{FlockOperation, flock};

use crate::apply::{ApplyError, Old, Target};
use crate::boot::{BootError, BootPartition, Booted};
use crate::payload::{KeyError, Keys, Manifest, PayloadError, open};
use crate::slots::Slot;
use crate::verity::hex;

/// The operator's keys, and the image's.
const KEYS: [&str; 2] = ["/etc/corten/update-keys", "/usr/share/corten/update-keys"];
const OS_RELEASE: &str = "/usr/lib/os-release";
const LOCK: &str = "/run/update-engine.lock";

/// Why a release was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// There are no slots here.
    #[error("this machine was not booted from a slot of a disk: there is nothing to update")]
    NoSlot,
    /// Somebody else does.
    #[error("another update is being installed")]
    Busy,
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The payload is not taken.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The disk is not ours.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The partition of a slot is missing.
    #[error("{0} has no partition labelled {1}")]
    NoPartition(PathBuf, String),
    /// The boot loader's partition fails.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// It could not be written.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// It is too old or too new for this machine.
    #[error("{0}")]
    Refused(String),
}

/// Installs a release; returns its version and the slot that it is in.
///
/// # Errors
/// As [`InstallError`] says.
pub fn install(payload: &Path, downgrade: bool) -> Result<(String, Slot), InstallError> {
    let Booted::Slot(running) = Booted::now()? else { return Err(InstallError::NoSlot) };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Io { path, source }
    };
    let lock = File::create(LOCK).map_err(failed(Path::new(LOCK)))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| InstallError::Busy)?;
    let keys = Keys::read(&KEYS.map(Path::new))?;
    let mut data = File::open(payload).map_err(failed(payload))?;
    let manifest = open(&mut data, &keys)?;
    let release = fs::read_to_string(OS_RELEASE).map_err(failed(Path::new(OS_RELEASE)))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    fits(&manifest, &version_of(&release), now, downgrade).map_err(InstallError::Refused)?;

    let disk = Disk::under(Path::new("/"))?;
    let partition = |slot: Slot| {
        let label = format!("ROOT-{}", slot.name().to_uppercase());
        disk.partition(&label).ok_or_else(|| InstallError::NoPartition(disk.node.clone(), label.clone()))
    };
    let boot = BootPartition::mount(true)?;
    let old = match &manifest.base {
        None => None,
        Some(base) => {
            let command_line =
                fs::read_to_string("/proc/cmdline").map_err(failed(Path::new("/proc/cmdline")))?;
            if root_hash(&command_line) != Some(hex(&base.root_hash.0).as_str()) {
                return Err(PayloadError::NoBase(base.version.clone()).into());
            }
            let (root, kernel) = (&partition(running)?.node, boot.file(running, "vmlinuz"));
            let root = File::open(root).map_err(failed(root))?;
            Some(Old { root, kernel: File::open(&kernel).map_err(failed(&kernel))? })
        }
    };
    let slot = running.other();
    let to = partition(slot)?;
    let file = OpenOptions::new().read(true).write(true).open(&to.node).map_err(failed(&to.node))?;
    let uuid = disk.partition_guid(to.number).map_err(io::Error::other).map_err(failed(&disk.node))?;
    let target = Target { slot, partition: &file, room: to.bytes, uuid: &uuid, boot: &boot };
    let data = Progress { from: io::BufReader::new(data), done: 0, all: manifest.data_length(), shown: 0 };
    target.fill(&manifest, data, old.as_ref())?;
    Ok((manifest.version, slot))
}

/// Whether a release may be installed on a machine of this version.
fn fits(manifest: &Manifest, running: &str, now: u64, downgrade: bool) -> Result<(), String> {
    let version = &manifest.version;
    if manifest.expires.is_some_and(|expires| expires < now) {
        return Err(format!("release {version} has expired: it is not to be installed any more"));
    }
    let older =
        |one: &str, other: &str| matches!((numbers(one), numbers(other)), (Some(a), Some(b)) if a < b);
    if let Some(minimum) = manifest.minimum.as_deref().filter(|minimum| older(running, minimum)) {
        return Err(format!("release {version} needs {minimum} before it, this machine has {running}"));
    }
    if older(version, running) && !downgrade {
        return Err(format!(
            "release {version} is older than {running}; --allow-downgrade installs it all the same"
        ));
    }
    Ok(())
}

/// A version of numbers; names, as of development, have no order.
fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// `VERSION_ID` of an os-release(5).
fn version_of(release: &str) -> String {
    let value = release.lines().find_map(|line| line.strip_prefix("VERSION_ID="));
    value.unwrap_or_default().trim_matches('"').to_owned()
}

/// The root hash that the running root is checked against.
fn root_hash(command_line: &str) -> Option<&str> {
    let (_, mapping) = command_line.split_once("dm-mod.create=")?;
    let (_, hashes) = mapping.split_once(" sha256 ")?;
    hashes.split_ascii_whitespace().next()
}

/// A reader that shows on a terminal how far it is.
struct Progress<R> {
    from: R,
    done: u64,
    all: u64,
    shown: u64,
}

impl<R: Read> Read for Progress<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.done += count as u64;
        let percent = (self.done * 100).checked_div(self.all).unwrap_or(100);
        if percent != self.shown && io::stderr().is_terminal() {
            self.shown = percent;
            let end = if percent == 100 { "\n" } else { "" };
            let _ = write!(io::stderr(), "\rInstalling {percent:>3} %{end}");
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Digest, Image};

    fn release(version: &str) -> Manifest {
        let none = Image { size: 0, pieces: Vec::new() };
        Manifest {
            product: "corten".to_owned(),
            architecture: "x86_64".to_owned(),
            version: version.to_owned(),
            minimum: Some("0.9".to_owned()),
            expires: Some(1000),
            root_hash: Digest([0; 32]),
            salt: Digest([0; 32]),
            kernel_arguments: Vec::new(),
            base: None,
            root: none.clone(),
            kernel: none,
        }
    }

    #[test]
    fn an_old_release_needs_the_operator_and_an_expired_one_is_refused() {
        assert_eq!(fits(&release("1.10"), "1.9.2", 999, false), Ok(()));
        assert_eq!(fits(&release("1.10"), "1.10", 999, false), Ok(()));
        assert!(fits(&release("1.2"), "1.10", 999, false).unwrap_err().contains("--allow-downgrade"));
        assert_eq!(fits(&release("1.2"), "1.10", 999, true), Ok(()));
        assert!(fits(&release("1.10"), "1.9", 1001, true).unwrap_err().contains("expired"));
        assert!(fits(&release("1.10"), "0.8.7", 999, true).unwrap_err().contains("needs 0.9"));
        assert_eq!(fits(&release("next"), "1.10", 999, false), Ok(()));
    }

    #[test]
    fn the_running_system_is_known_by_the_command_line_and_os_release() {
        let line = "root=/dev/dm-0 \"dm-mod.create=vroot,,,ro,0 8 verity 1 PARTUUID=x PARTUUID=x 4096 4096 1 1 sha256 00ff aa 1 y\"";
        assert_eq!(root_hash(line), Some("00ff"));
        assert_eq!(root_hash("root=/dev/vda sha256 x"), None);
        assert_eq!(version_of("NAME=x\nVERSION_ID=\"0.1.0\"\n"), "0.1.0");
        assert_eq!(version_of(""), "");
    }
}
