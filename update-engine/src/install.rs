//! A release goes into the slot that does not run.
//!
//! What speaks against a release is found before anything is written: its signature, its age, what it can be updated
//! from, the base of a difference, a slot that is too small, that it has failed here before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use linux::disk::{Disk, DiskError};
use rustix::fs::{FlockOperation, flock};

use crate::apply::{ApplyError, Old, Target};
use crate::boot::{BootError, BootPartition, Booted};
use crate::payload::{Data, KeyError, Keys, Manifest, PayloadError, open};
use crate::record::{self, Record, RecordError, Trial};
use crate::slots::Slot;
use crate::trial;
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
    /// What is to be remembered cannot be.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It has failed on this machine.
    #[error("release {version} has failed on this machine: {why}; -force_update installs it all the same")]
    HasFailed {
        /// Its version.
        version: String,
        /// Why.
        why: String,
    },
    /// It is not the release that was announced.
    #[error("the server announced release {announced}, the payload holds {holds}")]
    Another {
        /// By the server.
        announced: String,
        /// By the signed manifest.
        holds: String,
    },
    /// It is too old or too new for this machine.
    #[error("{0}")]
    Refused(String),
}

/// What the one who installs allows, or expects.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// It may be older than what runs.
    pub downgrade: bool,
    /// It may have failed here before.
    pub even_failed: bool,
    /// The version that was announced.
    pub announced: Option<String>,
}

/// How far an installation is: bytes of the payload's data that are done, and all of them.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Installs a release; returns its version and the slot that it is in.
///
/// # Errors
/// As [`InstallError`] says.
pub fn install(
    mut data: impl Data,
    terms: &Terms,
    progress: Progress<'_>,
) -> Result<(String, Slot), InstallError> {
    let Booted::Slot(running) = Booted::now()? else { return Err(InstallError::NoSlot) };
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Io { path, source }
    };
    let lock = File::create(LOCK).map_err(failed(Path::new(LOCK)))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| InstallError::Busy)?;
    let keys = Keys::read(&KEYS.map(Path::new))?;
    let manifest = open(&mut data, &keys)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let previous = running_version()?;
    fits(&manifest, &previous, now, terms.downgrade).map_err(InstallError::Refused)?;
    let root_hash = hex(&manifest.root_hash.0);
    let memory = Path::new(record::FOLDER);
    let mut record = trial::settle(running, &BootPartition::mount(false)?, memory)?;
    expected(&manifest, &record, terms)?;

    let disk = Disk::under(Path::new("/"))?;
    let partition = |slot: Slot| {
        let label = format!("ROOT-{}", slot.name().to_uppercase());
        disk.partition(&label).ok_or_else(|| InstallError::NoPartition(disk.node.clone(), label.clone()))
    };
    let boot = BootPartition::mount(true)?;
    let old = match &manifest.base {
        None => None,
        Some(base) => {
            if running_root_hash() != Some(hex(&base.root_hash.0)) {
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
    if record.trial.take().is_some() {
        record.write(memory)?;
    }
    let data = Watched { from: data, done: 0, all: manifest.data_length(), progress };
    let filled = target.fill(&manifest, data, old.as_ref())?;
    let version = manifest.version;
    let slot_name = slot.name().to_owned();
    record.trial = Some(Trial { version: version.clone(), root_hash, slot: slot_name, previous });
    record.write(memory)?;
    filled.put_on_trial()?;
    Ok((version, slot))
}

/// The version that runs.
///
/// # Errors
/// os-release(5) cannot be read.
pub fn running_version() -> Result<String, InstallError> {
    let failed = |source| InstallError::Io { path: OS_RELEASE.into(), source };
    Ok(version_of(&fs::read_to_string(OS_RELEASE).map_err(failed)?))
}

/// The root hash that runs, in hexadecimal digits; `None`: the kernel checks no root.
#[must_use]
pub fn running_root_hash() -> Option<String> {
    root_hash_of(&fs::read_to_string("/proc/cmdline").ok()?).map(str::to_owned)
}

/// Whether it is the release that was announced, and has not failed here.
fn expected(manifest: &Manifest, record: &Record, terms: &Terms) -> Result<(), InstallError> {
    let version = manifest.version.clone();
    if let Some(announced) = terms.announced.clone().filter(|announced| *announced != version) {
        return Err(InstallError::Another { announced, holds: version });
    }
    match record.failure(&version, Some(&hex(&manifest.root_hash.0))) {
        Some(failure) if !terms.even_failed => {
            Err(InstallError::HasFailed { version, why: failure.why.clone() })
        }
        _ => Ok(()),
    }
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
fn root_hash_of(command_line: &str) -> Option<&str> {
    let (_, mapping) = command_line.split_once("dm-mod.create=")?;
    let (_, hashes) = mapping.split_once(" sha256 ")?;
    hashes.split_ascii_whitespace().next()
}

/// Data that tells how far it is.
struct Watched<'a, D> {
    from: D,
    done: u64,
    all: u64,
    progress: Progress<'a>,
}

impl<D> Watched<'_, D> {
    fn went(&mut self, bytes: u64) {
        self.done += bytes;
        (self.progress)(self.done.min(self.all), self.all);
    }
}

impl<D: Data> Read for Watched<'_, D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.went(count as u64);
        Ok(count)
    }
}

impl<D: Data> Data for Watched<'_, D> {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        self.from.pass(bytes)?;
        self.went(bytes);
        Ok(())
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
    fn what_was_not_announced_or_has_failed_is_refused() {
        let mut record = Record::default();
        let terms = Terms { announced: Some("2".to_owned()), ..Terms::default() };
        assert!(expected(&release("2"), &record, &terms).is_ok());
        assert!(matches!(expected(&release("3"), &record, &terms), Err(InstallError::Another { .. })));
        record.fail("2", &hex(&[0; 32]), "no network");
        let refused = expected(&release("2"), &record, &terms).unwrap_err().to_string();
        assert!(refused.contains("no network"), "{refused}");
        assert!(expected(&release("2"), &record, &Terms { even_failed: true, ..terms }).is_ok());
    }

    #[test]
    fn the_running_system_is_known_by_the_command_line_and_os_release() {
        let line = "root=/dev/dm-0 \"dm-mod.create=vroot,,,ro,0 8 verity 1 PARTUUID=x PARTUUID=x 4096 4096 1 1 sha256 00ff aa 1 y\"";
        assert_eq!(root_hash_of(line), Some("00ff"));
        assert_eq!(root_hash_of("root=/dev/vda sha256 x"), None);
        assert_eq!(version_of("NAME=x\nVERSION_ID=\"0.1.0\"\n"), "0.1.0");
        assert_eq!(version_of(""), "");
    }
}
