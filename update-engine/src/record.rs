//! What this machine remembers of its updates, over reboots: the release that has yet to prove itself, those that did
//! not, and what came of the last one.
//!
//! The boot loader's block says what is booted; this says why. A release is written down here before its slot gets
//! its tries, so that a cut in between leaves a trial that has not begun, which is no failure.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::slots::{Slot, Slots};

/// Where it is kept.
pub const FOLDER: &str = "/var/lib/update_engine";
const FILE: &str = "record.json";
/// What a release that is given up leaves behind, for the release that takes over.
const REASON: &str = "given-up";
/// No more failures are kept: the oldest are forgotten.
const MOST_FAILED: usize = 32;
/// A longer file is none of ours, in bytes.
const LONGEST: u64 = 1 << 20;
const NO_WORD: &str =
    "it did not come up, and left no word: a panic, a hang or a power cut in each of its boots";

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The release in a slot that has yet to prove itself.
    pub trial: Option<Trial>,
    /// Releases that are not installed again by themselves.
    pub failed: Vec<Failure>,
    /// What came of the last trial, until a server has been told.
    pub verdict: Option<Verdict>,
    /// When a server was last asked, in seconds since 1970; 0: never.
    pub last_checked: u64,
}

/// A release on trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Its version.
    pub version: String,
    /// Its root hash, in hexadecimal digits.
    pub root_hash: String,
    /// The slot it is in: `a` or `b`.
    pub slot: String,
    /// The version that was running when it was installed.
    pub previous: String,
}

/// A release that is not to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its version.
    pub version: String,
    /// Its root hash, in hexadecimal digits.
    pub root_hash: String,
    /// Why.
    pub why: String,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It runs.
    Good {
        /// The version.
        version: String,
        /// What ran before.
        previous: String,
    },
    /// The machine went back.
    WentBack {
        /// The version that failed.
        version: String,
        /// Why.
        why: String,
    },
}

/// The record cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct RecordError {
    path: PathBuf,
    source: io::Error,
}

impl Record {
    /// Reads the record in this folder. One that is damaged is begun anew, with a word about it: an update matters more.
    #[must_use]
    pub fn read(folder: &Path) -> Record {
        let path = folder.join(FILE);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Record::default(),
            Ok(data) if data.len() <= LONGEST => {}
            _ => return Record::default(),
        }
        let parsed = fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
        parsed.unwrap_or_else(|error| {
            eprintln!("update-engine: {}: {error}; it is begun anew", path.display());
            Record::default()
        })
    }

    /// Writes it: the old one is there until the new one is on the disk.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn write(&self, folder: &Path) -> Result<(), RecordError> {
        let path = folder.join(FILE);
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let new = folder.join(format!("{FILE}.new"));
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|source| RecordError { path: path.clone(), source })
    }

    /// Why a release of this version or root hash is not to be installed by itself.
    #[must_use]
    pub fn failure(&self, version: &str, root_hash: Option<&str>) -> Option<&Failure> {
        self.failed.iter().find(|failed| match root_hash {
            Some(hash) if !failed.root_hash.is_empty() => failed.root_hash == hash,
            _ => failed.version == version,
        })
    }

    /// Remembers a release as one that is not to be tried again.
    pub fn fail(&mut self, version: &str, root_hash: &str, why: &str) {
        self.failed.retain(|failed| failed.root_hash != root_hash || failed.version != version);
        let (version, root_hash, why) = (version.to_owned(), root_hash.to_owned(), why.to_owned());
        self.failed.push(Failure { version, root_hash, why });
        let surplus = self.failed.len().saturating_sub(MOST_FAILED);
        self.failed.drain(..surplus);
    }

    /// A release has been booted, or has not: what came of the trial, from the slot that runs and what the boot loader
    /// knows. True: the record has changed.
    pub fn settle(&mut self, running: Slot, slots: &Slots, reason: Option<String>) -> bool {
        let Some(trial) = self.trial.clone() else { return false };
        let Some(slot) = Slot::parse(&trial.slot) else {
            self.trial = None;
            return true;
        };
        let (version, state) = (trial.version.clone(), slots.state(slot));
        if slot == running && state.ok {
            self.failed.retain(|failed| failed.root_hash != trial.root_hash);
            self.verdict = Some(Verdict::Good { version, previous: trial.previous });
        } else if slot != running && slots.has_failed(slot) {
            let why = reason.unwrap_or_else(|| NO_WORD.to_owned());
            self.fail(&version, &trial.root_hash, &why);
            self.verdict = Some(Verdict::WentBack { version, why });
        } else if state.priority > 0 {
            // It is still on trial, or the reboot is yet to come.
            return false;
        }
        self.trial = None;
        true
    }
}

/// Leaves word why the running release is given up.
///
/// # Errors
/// The disk is full or broken.
pub fn leave_reason(folder: &Path, why: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = File::create(folder.join(REASON))?;
    file.write_all(why.as_bytes())?;
    file.sync_all()
}

/// The word that was left, which is taken away.
#[must_use]
pub fn take_reason(folder: &Path) -> Option<String> {
    let path = folder.join(REASON);
    let text = fs::read_to_string(&path).ok()?;
    let _ = fs::remove_file(&path);
    let text: String = text.chars().filter(|char| !char.is_control()).take(1000).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_trial() -> Record {
        let trial = Trial {
            version: "2".to_owned(),
            root_hash: "ff".to_owned(),
            slot: "b".to_owned(),
            previous: "1".to_owned(),
        };
        Record { trial: Some(trial), ..Record::default() }
    }

    fn slots() -> Slots {
        Slots::new_disk().put_on_trial(Slot::B, 3)
    }

    #[test]
    fn a_release_that_comes_up_is_good_and_one_that_does_not_is_remembered() {
        let mut record = on_trial();
        assert!(!record.settle(Slot::A, &slots(), None), "the reboot is yet to come");
        assert!(!record.settle(Slot::B, &slots().boot().1, None), "it is up, but not yet good");
        assert!(record.settle(Slot::B, &slots().boot().1.mark_good(Slot::B), None));
        assert_eq!(record.verdict, Some(Verdict::Good { version: "2".to_owned(), previous: "1".to_owned() }));
        assert_eq!((record.trial.clone(), record.failure("2", None)), (None, None));

        let mut record = on_trial();
        let burnt = slots().boot().1.boot().1.boot().1;
        assert!(record.settle(Slot::A, &burnt, None));
        assert!(record.failure("2", None).unwrap().why.contains("no word"));
        assert_eq!(record.failure("2", Some("00")), None, "the same version, built anew");
        assert!(record.failure("3", Some("ff")).is_some(), "the same release under another name");
        assert!(!record.settle(Slot::A, &burnt, None), "once");
        let mut record = on_trial();
        assert!(record.settle(Slot::A, &slots().give_up(Slot::B), Some("no network".to_owned())));
        assert_eq!(record.failure("2", None).unwrap().why, "no network");
    }

    /// The power goes between the record and the boot loader's block, or another release is begun.
    #[test]
    fn a_trial_that_never_began_is_no_failure() {
        let mut record = on_trial();
        assert!(record.settle(Slot::A, &Slots::new_disk(), None));
        assert_eq!(record, Record::default());
    }

    #[test]
    fn comes_back_from_the_disk_and_a_damaged_one_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(folder.path()), Record::default());
        let mut record = on_trial();
        for number in 0..40 {
            record.fail(&format!("{number}"), "aa", "why");
        }
        assert_eq!(record.failed.len(), MOST_FAILED);
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()), record);
        let whole = fs::read(folder.path().join(FILE)).unwrap();
        for end in 0..whole.len() {
            fs::write(folder.path().join(FILE), &whole[..end]).unwrap();
            assert_eq!(Record::read(folder.path()), Record::default(), "{end} bytes");
        }
        leave_reason(folder.path(), "a unit\nfailed").unwrap();
        assert_eq!(take_reason(folder.path()).as_deref(), Some("a unitfailed"));
        assert_eq!(take_reason(folder.path()), None);
    }
}
