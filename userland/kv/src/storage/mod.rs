//! What survives: the write-ahead log, snapshots, and the applied state in sled.
//!
//! The log is the truth, from the newest snapshot on. sled holds the applied state so that a start need not read
//! the whole snapshot and log again; it is never needed: where it cannot be read, it is thrown away and made anew.
//!
//! ```text
//! DATA-DIR/member/wal/SEQUENCE-INDEX.wal    the log, in segments
//! DATA-DIR/member/snap/INDEX-TERM.snap      snapshots: etcd's database file and its SHA-256
//! DATA-DIR/member/state/                    sled
//! ```

pub mod applied;
pub mod bolt;
pub mod snapshot;
pub mod wal;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with what is on the disk.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It could not be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was written, but the disk did not confirm it. Asked again the kernel may say that all is well when what was
    /// written is gone, so that this can only be answered by starting anew from what the disk has.
    #[error("{path}: the disk did not confirm what was written: {error}")]
    Unsynced {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It holds something else than what was written.
    #[error("{path} is damaged at byte {offset}: {what}")]
    Corrupt {
        /// Where.
        path: PathBuf,
        /// How far it could be read.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// Something that must be there is not.
    #[error("{path}: {what}")]
    Missing {
        /// Where.
        path: PathBuf,
        /// What.
        what: String,
    },
}

impl Damage {
    /// An error of the file system at a path.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Damage + '_ {
        move |error| Damage::Io { path: path.to_owned(), error }
    }

    /// A failed sync of a path.
    pub fn unsynced(path: &Path) -> impl FnOnce(io::Error) -> Damage + '_ {
        move |error| Damage::Unsynced { path: path.to_owned(), error }
    }

    /// Whether the disk is full: nothing was written, and it can be tried again.
    pub fn is_full(&self) -> bool {
        matches!(self, Damage::Io { error, .. }
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Of the file system.
pub fn sync_directory(path: &Path) -> Result<(), Damage> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Damage::io(path))
}
