//! Cursors: the name of a place in the journal, which stays good when files are rotated or merged. Source:
//! sd_journal_get_cursor(3).

use crate::file::{Entry, Id128};
use crate::place::{format_id, parse_id};

/// A place in the journal. A name need not say everything; what it says must be of one of the three kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The numbering, and the number in it.
    pub seqnum: Option<(Id128, u64)>,
    /// The boot, and microseconds since its start.
    pub monotonic: Option<(Id128, u64)>,
    /// Microseconds since 1970.
    pub realtime: Option<u64>,
    /// Checksum of the entry.
    pub xor_hash: Option<u64>,
}

/// It names no place.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("Failed to seek to cursor: Invalid argument: '{0}' is no cursor, as --show-cursor prints one")]
pub struct Malformed(String);

impl Cursor {
    /// Reads `s=…;i=…;b=…;m=…;t=…;x=…`, of which any may be left out as long as one place is named.
    ///
    /// # Errors
    /// It names no place.
    pub fn parse(text: &str) -> Result<Cursor, Malformed> {
        let malformed = || Malformed(text.to_owned());
        let (mut seqnum_id, mut seqnum, mut boot, mut monotonic) = (None, None, None, None);
        let mut cursor = Cursor::default();
        for part in text.trim().split(';') {
            let (key, value) = part.split_once('=').ok_or_else(malformed)?;
            let number = || u64::from_str_radix(value, 16).map(Some).map_err(|_| malformed());
            let id = || parse_id(value).map(Some).ok_or_else(malformed);
            match key {
                "s" => seqnum_id = id()?,
                "i" => seqnum = number()?,
                "b" => boot = id()?,
                "m" => monotonic = number()?,
                "t" => cursor.realtime = number()?,
                "x" => cursor.xor_hash = number()?,
                // What a later version adds.
                _ => {}
            }
        }
        cursor.seqnum = seqnum_id.zip(seqnum);
        cursor.monotonic = boot.zip(monotonic);
        let named = cursor.seqnum.is_some() || cursor.monotonic.is_some() || cursor.realtime.is_some();
        if named { Ok(cursor) } else { Err(malformed()) }
    }
}

/// The cursor of an entry of a numbering.
#[must_use]
pub fn of(seqnum_id: &Id128, entry: &Entry) -> String {
    format!(
        "s={};i={:x};b={};m={:x};t={:x};x={:x}",
        format_id(seqnum_id),
        entry.seqnum,
        format_id(&entry.boot_id),
        entry.time.monotonic,
        entry.time.realtime,
        entry.xor_hash
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Timestamp;

    #[test]
    fn cursors_come_back() {
        let entry = Entry {
            seqnum: 31,
            time: Timestamp { realtime: 1000, monotonic: 16 },
            boot_id: [2; 16],
            xor_hash: 255,
            ..Entry::default()
        };
        let cursor = Cursor::parse(&of(&[1; 16], &entry)).unwrap();
        assert_eq!(cursor.seqnum, Some(([1; 16], 31)));
        assert_eq!(cursor.monotonic, Some(([2; 16], 16)));
        assert_eq!((cursor.realtime, cursor.xor_hash), (Some(1000), Some(255)));
        assert!(Cursor::parse("t=5").is_ok());
        for text in ["", "x", "x=1", "t=y", "i=1", "s=1;i=1"] {
            assert!(Cursor::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(text: String) {
            let _ = Cursor::parse(&text);
        }
    }
}
