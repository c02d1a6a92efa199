//! Journal files: systemd's format, so that its own tools read what we write.
//!
//! A file is a header and a row of objects, each aligned to eight bytes. A DATA object is one `FIELD=value`, kept
//! once however many entries have it; an ENTRY is a time and a list of DATA; ENTRY_ARRAYs chain the entries of the
//! file, and those of each DATA; two hash tables find a DATA and a FIELD by its bytes. Objects are only appended;
//! what changes in place are counters, the heads and tails of chains, and free slots of arrays.
//!
//! We read all variants and write what systemd 252 writes: keyed hash, compact (a third smaller, so a third less to
//! write and to read; the stock journalctl of 252 and later reads it), long payloads compressed with Zstandard, not
//! sealed. `SYSTEMD_JOURNAL_COMPACT=0` gives the regular layout, as with systemd. Source: systemd's
//! JOURNAL_FILE_FORMAT.

mod blocks;
mod chain;
mod compress;
pub mod hash;
pub mod layout;
mod objects;
mod verify;
mod write;

pub use chain::Chain;
pub use layout::{Header, Id128, Timestamp};
pub use objects::{Entry, Objects};
pub use verify::Counts;
pub use write::{NewFile, Writer};

use std::io;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What is there is no sound journal object.
    #[error("corrupt at byte {offset}: {what}")]
    Corrupt {
        /// Where in the file.
        offset: u64,
        /// What was expected.
        what: &'static str,
    },
    /// A sound file, but of a variant that we do not read.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The file has reached its largest size, or its hash tables are full: rotate it.
    #[error("the file is full")]
    Full,
    /// The clock was set back: entries of one file must be in order, so rotate it.
    #[error("the clock was set back")]
    ClockSetBack,
    /// No space is left on the disk.
    #[error("no space left on the disk")]
    NoSpace,
    /// The entry itself cannot be stored.
    #[error("the entry has no fields, or one without a name")]
    BadEntry,
}

impl Error {
    /// Whether the file is to blame, rather than the machine.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Error::Corrupt { .. } | Error::Unsupported(_))
    }
}
