//! What a payload says of itself: which release it is, whom it is for, and of which pieces its images are made.
//!
//! It is signed, and still read as if it came from a stranger: whoever holds a key can make mistakes too.

use std::fmt;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::verity::{BLOCK, hex};

/// No piece is longer, in bytes: so much room a reader needs for it.
pub const LONGEST_PIECE: u32 = 4 << 20;
/// No more of the base stands before a piece, in bytes.
pub const LONGEST_PREFIX: u64 = 16 << 20;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `corten`.
    pub product: String,
    /// As the kernel calls it: `x86_64`.
    pub architecture: String,
    /// Its version.
    pub version: String,
    /// The oldest version that can update to it at once.
    pub minimum: Option<String>,
    /// Seconds since 1970 after which it is not to be installed any more.
    pub expires: Option<u64>,
    /// The root hash of the finished slot (dm-verity).
    pub root_hash: Digest,
    /// The salt of its hash tree.
    pub salt: Digest,
    /// What the release's kernel is to be told, but for what belongs to the slot.
    pub kernel_arguments: Vec<String>,
    /// What it is the difference from; a full payload has none.
    pub base: Option<Base>,
    /// The root file system, without its hash tree.
    pub root: Image,
    /// The kernel.
    pub kernel: Image,
}

/// A release that a difference begins from: it has to be in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Its version, for people.
    pub version: String,
    /// Its root hash.
    pub root_hash: Digest,
    /// The length of its root file system without the hash tree, in bytes.
    pub root: u64,
    /// The length of its kernel in bytes.
    pub kernel: u64,
}

/// Something to be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// In bytes.
    pub size: u64,
    /// What it is made of, from its beginning to its end.
    pub pieces: Vec<Piece>,
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// In bytes.
    pub length: u32,
    /// Of its content.
    pub hash: Digest,
    /// Where it is to be had.
    pub source: Source,
}

/// Where a piece is to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// It is nothing but zeros.
    Zeros,
    /// It is in the base's image of this kind, from this byte on.
    Base(u64),
    /// It is the next so many bytes of the payload's data, compressed (Zstandard, RFC 8878).
    Data {
        /// Compressed bytes.
        length: u32,
        /// The bytes of that image that it was compressed against: first and length.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<(u64, u64)>,
    },
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Digest(hash)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        hex(&digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Digest, String> {
        let bad = || format!("{text:?} is not a SHA-256 in 64 lower-case digits");
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let mut hash = [0; 32];
        for (to, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            let digits = text.get(at..at + 2).ok_or_else(bad)?;
            *to = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Digest(hash))
    }
}

impl Manifest {
    /// Reads one that is signed.
    ///
    /// # Errors
    /// It is not one, or what it says cannot be.
    pub(super) fn parse(text: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest =
            serde_json::from_slice(text).map_err(|error| format!("manifest: {error}"))?;
        manifest.check().map_err(|what| format!("manifest: {what}"))?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.product != "corten" {
            return Err(format!("it is for the product {:?}", self.product));
        }
        if self.architecture != std::env::consts::ARCH {
            return Err(format!(
                "it is for {}, this machine is {}",
                self.architecture,
                std::env::consts::ARCH
            ));
        }
        if self.root.size == 0 || !self.root.size.is_multiple_of(BLOCK as u64) {
            return Err(format!("a root of {} bytes", self.root.size));
        }
        // They go into a script of the boot loader.
        let plain =
            |word: &String| word.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'$\\;".contains(&byte));
        if let Some(word) = self.kernel_arguments.iter().find(|word| word.is_empty() || !plain(word)) {
            return Err(format!("the kernel argument {word:?}"));
        }
        let (root, kernel) = self.base.as_ref().map_or((0, 0), |base| (base.root, base.kernel));
        self.root.check("root", root)?;
        self.kernel.check("kernel", kernel)
    }

    /// How many bytes of data follow it.
    #[must_use]
    pub fn data_length(&self) -> u64 {
        let pieces = self.root.pieces.iter().chain(&self.kernel.pieces);
        pieces
            .map(|piece| if let Source::Data { length, .. } = piece.source { u64::from(length) } else { 0 })
            .sum()
    }
}

impl Image {
    fn check(&self, name: &str, base: u64) -> Result<(), String> {
        let mut end = 0_u64;
        for piece in &self.pieces {
            if piece.length == 0 || piece.length > LONGEST_PIECE {
                return Err(format!("a piece of {} bytes at {end} of {name}", piece.length));
            }
            let (from, length) = match piece.source {
                Source::Zeros => (0, 0),
                Source::Base(from) => (from, u64::from(piece.length)),
                Source::Data { length, .. } if length > LONGEST_PIECE * 2 => {
                    return Err(format!("{length} bytes of data for the piece at {end} of {name}"));
                }
                Source::Data { prefix, .. } => prefix.unwrap_or((0, 0)),
            };
            if length > LONGEST_PREFIX || from.checked_add(length).is_none_or(|end| end > base) {
                return Err(format!("the piece at {end} of {name} is not in the base"));
            }
            end = end.checked_add(u64::from(piece.length)).ok_or("too many pieces")?;
        }
        if end == self.size {
            Ok(())
        } else {
            Err(format!("{name} has {end} bytes in pieces, not {}", self.size))
        }
    }
}
