//! A release in one file: what a machine needs to write a slot, whole or as the difference from another release.
//!
//! ```text
//! "CORTENUP"  8 bytes
//! format      u32, little-endian: 1
//! signatures  u32: how many follow, 1 to 16
//! manifest    u32: its length in bytes, at most 4 MiB
//! manifest    JSON (see `manifest`)
//! signature   40 bytes of key and signature each (see `signature`), over everything before the first
//! data        what the pieces of the manifest name, in their order
//! ```
//!
//! Nothing of the manifest is believed, and so nothing written, before one of the signatures is found to be good by a
//! key of this machine ([`open`]). Each piece of data is compared with its hash before it is handed on, so that what
//! comes later in the file is checked when it comes; a reader needs no more room than one piece and the part of the
//! base that it refers to. The hash tree of the root is not in the file: it is made from the data and has to end in
//! the root hash of the manifest.

mod make;
mod manifest;
mod piece;
mod signature;

use std::io::{self, Read};

pub use make::{Release, Signer, Terms, make};
pub use manifest::{Base, Digest, Image, Manifest, Piece, Source};
pub use piece::{Data, update_image, write_image};
pub use signature::{KeyError, Keys};

const MAGIC: &[u8; 8] = b"CORTENUP";
const FORMAT: u32 = 1;
/// Magic, format and the two counts.
const HEAD: usize = 20;
const MOST_SIGNATURES: usize = 16;
const LONGEST_MANIFEST: usize = 4 << 20;

/// Why a payload is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is something else.
    #[error("this is not a Corten payload")]
    NotOne,
    /// It is from the future.
    #[error(
        "the payload has format {0}; this release reads format {FORMAT}: update to a release between them first"
    )]
    Format(u32),
    /// A count or a length cannot be.
    #[error("the payload is damaged: {0}")]
    Damaged(String),
    /// Nobody whom the machine trusts has signed it.
    #[error("the payload is not signed by a key that this machine trusts")]
    Unsigned,
    /// It is a difference from a release that this machine does not have.
    #[error(
        "the payload is a difference from release {0}, which is in none of the slots; take the full payload"
    )]
    NoBase(String),
    /// It cannot be read, or what it is written to fails.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl PayloadError {
    fn io(what: &'static str) -> impl FnOnce(io::Error) -> PayloadError {
        move |source| PayloadError::Io { what, source }
    }
}

/// Reads a payload up to its data, and returns its manifest once a signature of it is good. What is left to read is the
/// data, from its first byte.
///
/// # Errors
/// It is none, is damaged or cut off, or not signed by any of the keys.
pub fn open(mut payload: impl Read, keys: &Keys) -> Result<Manifest, PayloadError> {
    let cut = PayloadError::io("read the beginning of the payload");
    let mut signed = vec![0; HEAD];
    payload.read_exact(&mut signed).map_err(cut)?;
    if !signed.starts_with(MAGIC) {
        return Err(PayloadError::NotOne);
    }
    let word = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
        u32::from_le_bytes(four)
    };
    if word(&signed, 8) != FORMAT {
        return Err(PayloadError::Format(word(&signed, 8)));
    }
    let (signatures, length) = (word(&signed, 12) as usize, word(&signed, 16) as usize);
    if signatures == 0 || signatures > MOST_SIGNATURES || length > LONGEST_MANIFEST {
        let what = format!("{signatures} signatures of a manifest of {length} bytes");
        return Err(PayloadError::Damaged(what));
    }
    let mut read = |length: usize| {
        let mut bytes = vec![0; length];
        payload.read_exact(&mut bytes).map_err(PayloadError::io("read the manifest")).map(|()| bytes)
    };
    signed.extend(read(length)?);
    let given = read(signatures * signature::LENGTH)?;
    if !given.chunks(signature::LENGTH).any(|one| keys.have_signed(&signed, one)) {
        return Err(PayloadError::Unsigned);
    }
    Manifest::parse(signed.get(HEAD..).unwrap_or_default()).map_err(PayloadError::Damaged)
}

#[cfg(test)]
pub(crate) mod tests;
