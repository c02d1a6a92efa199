//! From the bytes of a layer to a directory that overlayfs can mount.
//!
//! One pass: the compressed bytes are hashed as they come, decompressed, hashed again, and their tar
//! entries written beneath a directory descriptor ([`extract`]). Only if both digests are right at the
//! end may the caller keep the directory. Going the other way, [`recipe`] makes the archive again. Sources: OCI image specification, "Image Layer Filesystem
//! Changeset"; kernel documentation of overlayfs, "whiteouts and opaque directories".

pub mod compressed;
pub mod extract;
mod metered;
pub mod pack;
pub mod recipe;
pub mod take;
mod whiteout;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use crate::registry::manifest::Compression;
use crate::store::digest::{BadDigest, Sha256};
use extract::{ExtractError, Extractor};
use metered::Metered;
use recipe::{Recorded, Recorder};

/// How much a layer may become before it is taken for a bomb.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all its files, as they appear (a sparse file counts whole).
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 2_000_000 }
    }
}

/// What a layer must turn out to be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Digest of the bytes as transferred; none for an archive that is checked as a whole otherwise.
    pub blob: Option<String>,
    /// Digest of the tar archive; none for one that is new here.
    pub diff_id: Option<String>,
    /// How the bytes are compressed.
    pub compression: Compression,
}

/// Why a layer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// An entry that must not or cannot be written.
    #[error("layer {diff_id}: {source}")]
    Extract {
        /// The layer.
        diff_id: String,
        /// What is wrong.
        source: ExtractError,
    },
    /// Not what it should be.
    #[error("layer {diff_id} is not what its digest says: {source}; nothing of it was kept")]
    Digest {
        /// The layer.
        diff_id: String,
        /// Expected and found.
        source: BadDigest,
    },
    /// The stream ended or cannot be decompressed.
    #[error("layer {diff_id}: {source}")]
    Stream {
        /// The layer.
        diff_id: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The place where it is unpacked.
    #[error("{path}: {source}")]
    Staging {
        /// What cannot be made or written.
        path: std::path::PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

/// What a layer turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of its tar archive.
    pub diff_id: String,
    /// Bytes of its tar archive.
    pub size: u64,
    /// Whether there is a recipe for making the archive again.
    pub recipe: bool,
}

/// Unpacks a layer into the empty directory `dir` and checks that it is the expected one. How its archive is
/// made again goes to `recipe`.
///
/// # Errors
/// When it is not. `dir` then holds rubbish and must be thrown away.
pub fn unpack(
    input: impl Read,
    expected: &Expected,
    limits: Limits,
    dir: impl AsFd,
    recipe: Option<&mut dyn Write>,
) -> Result<Unpacked, LayerError> {
    let diff_id = || expected.diff_id.clone().unwrap_or_else(|| "of this archive".to_owned());
    let stream = |source| LayerError::Stream { diff_id: diff_id(), source };
    let mut blob = Hashed::new(input);
    let recorder = Recorder::new(recipe);
    let (found, size) = {
        let plain = compressed::plain(&mut blob, expected.compression).map_err(stream)?;
        let metered = Metered::new(Recorded::new(Hashed::new(plain), recorder.clone()));
        let mut extractor = Extractor::new(dir.as_fd(), limits, recorder.clone())
            .map_err(|source| LayerError::Extract { diff_id: diff_id(), source })?;
        let tar =
            extractor.run(metered).map_err(|source| LayerError::Extract { diff_id: diff_id(), source })?;
        let mut tar = tar.into_inner();
        drain(&mut tar, limits.bytes).map_err(stream)?;
        tar.into_inner().finish()
    };
    let recipe = recorder.borrow_mut().finish().map_err(stream)?;
    let compared = |expected: &str, found: &str| {
        if expected == found {
            return Ok(());
        }
        let source = BadDigest { expected: expected.to_owned(), found: found.to_owned() };
        Err(LayerError::Digest { diff_id: diff_id(), source })
    };
    drain(&mut blob, limits.bytes).map_err(stream)?;
    if let Some(expected) = &expected.blob {
        compared(expected, &blob.finish().0)?;
    }
    if let Some(expected) = &expected.diff_id {
        compared(expected, &found)?;
    }
    Ok(Unpacked { diff_id: found, size, recipe })
}

/// Reads what is left, which must be less than `limit` bytes.
fn drain(reader: &mut impl Read, limit: u64) -> io::Result<()> {
    if io::copy(&mut reader.take(limit), &mut io::sink())? == limit {
        return Err(io::Error::other("too much data after the end of the archive"));
    }
    Ok(())
}

/// Unpacks an archive of files into a directory that may have some already: those of the same name are replaced,
/// with `keep_kinds` only directories by directories and others by others. It may be compressed with gzip.
///
/// # Errors
/// When an entry must not or cannot be written; those before it are there then.
pub fn unpack_files(input: impl Read, limits: Limits, keep_kinds: bool, dir: impl AsFd) -> io::Result<()> {
    let mut input = io::BufReader::new(input);
    let gzip = io::BufRead::fill_buf(&mut input)?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read + '_> =
        if gzip { Box::new(flate2::read::MultiGzDecoder::new(input)) } else { Box::new(input) };
    let mut extractor =
        Extractor::new(dir.as_fd(), limits, Recorder::new(None)).map_err(io::Error::other)?.plain(keep_kinds);
    extractor.run(Metered::new(plain)).map(drop).map_err(io::Error::other)
}

/// A reader that hashes what passes through it.
struct Hashed<R> {
    inner: R,
    sha256: Sha256,
    size: u64,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, sha256: Sha256::default(), size: 0 }
    }

    /// The digest and the number of the bytes that passed.
    fn finish(self) -> (String, u64) {
        (self.sha256.finish(), self.size)
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sha256.update(buffer.get(..read).unwrap_or_default());
        self.size += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
