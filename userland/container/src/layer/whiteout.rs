//! Whiteouts: how a layer says that something below it is gone.
//!
//! In the archive a file `.wh.NAME` hides `NAME`, and `.wh..wh..opq` hides everything below its directory.
//! Overlayfs wants a character device 0/0 and an extended attribute instead.

use super::extract::ExtractError;

pub(super) const PREFIX: &str = ".wh.";
pub(super) const OPAQUE: &str = ".wh..wh..opq";
const RESERVED: &str = ".wh..wh.";

/// What a file name in a layer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A file like any other.
    Plain,
    /// The file of this name is gone.
    Gone(&'a str),
    /// The directory shows nothing from below.
    Opaque,
    /// Bookkeeping of an old storage driver, of no use to anyone.
    Bookkeeping,
}

/// What this last component of a path means.
pub(super) fn meaning(name: &str) -> Result<Meaning<'_>, ExtractError> {
    if name == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    if name.starts_with(RESERVED) {
        return Ok(Meaning::Bookkeeping);
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(Meaning::Plain),
        Some("" | "." | "..") => Err(ExtractError::Whiteout(name.to_owned())),
        Some(gone) => Ok(Meaning::Gone(gone)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(meaning("file").unwrap(), Meaning::Plain);
        assert_eq!(meaning(".wh").unwrap(), Meaning::Plain);
        assert_eq!(meaning(".wh.file").unwrap(), Meaning::Gone("file"));
        assert_eq!(meaning(".wh..hidden").unwrap(), Meaning::Gone(".hidden"));
        assert_eq!(meaning(".wh..wh..opq").unwrap(), Meaning::Opaque);
        assert_eq!(meaning(".wh..wh.plnk").unwrap(), Meaning::Bookkeeping);
        for bad in [".wh.", ".wh..", ".wh..."] {
            assert!(meaning(bad).is_err(), "{bad}");
        }
    }
}
