//! From the bytes of a layer to a directory that overlayfs can mount.
//!
//! One pass: the compressed bytes are hashed as they come, decompressed, hashed again, and their tar
//! entries written beneath a directory descriptor ([`extract`]). Only if both digests are right at the
//! end may the caller keep the directory. Sources: OCI image specification, "Image Layer Filesystem
//! Changeset"; kernel documentation of overlayfs, "whiteouts and opaque directories".

pub mod extract;
mod metered;
mod whiteout;

use std::io::{self, Read};
use std::os::fd::AsFd;

use crate::registry::manifest::Compression;
use crate::store::digest::{BadDigest, Sha256};
use extract::{ExtractError, Extractor};
use metered::Metered;

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
    /// Digest of the tar archive.
    pub diff_id: String,
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
}

/// Unpacks a layer into the empty directory `dir` and checks that it is the expected one.
///
/// # Errors
/// When it is not. `dir` then holds rubbish and must be thrown away.
pub fn unpack(
    input: impl Read,
    expected: &Expected,
    limits: Limits,
    dir: impl AsFd,
) -> Result<(), LayerError> {
    let diff_id = || expected.diff_id.clone();
    let stream = |source| LayerError::Stream { diff_id: diff_id(), source };
    let mut blob = Hashed::new(input);
    let found = {
        let plain: Box<dyn Read + '_> = match expected.compression {
            Compression::None => Box::new(&mut blob),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(&mut blob)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(&mut blob).map_err(stream)?;
                // A frame may ask for a window of gigabytes; 128 MiB is what tools agree on.
                decoder.window_log_max(27).map_err(stream)?;
                Box::new(decoder)
            }
        };
        let metered = Metered::new(Hashed::new(plain));
        let mut extractor = Extractor::new(dir.as_fd(), limits)
            .map_err(|source| LayerError::Extract { diff_id: diff_id(), source })?;
        let tar =
            extractor.run(metered).map_err(|source| LayerError::Extract { diff_id: diff_id(), source })?;
        tar.into_inner().finish(limits.bytes).map_err(stream)?
    };
    let compared = |expected: &str, found: String| {
        if expected == found {
            return Ok(());
        }
        let source = BadDigest { expected: expected.to_owned(), found };
        Err(LayerError::Digest { diff_id: diff_id(), source })
    };
    let blob = blob.finish(limits.bytes).map_err(stream)?;
    if let Some(expected) = &expected.blob {
        compared(expected, blob)?;
    }
    compared(&expected.diff_id, found)
}

/// Unpacks an archive of files into a directory that may have some already: those of the same name are replaced.
/// It may be compressed with gzip.
///
/// # Errors
/// When an entry must not or cannot be written; those before it are there then.
pub fn unpack_files(input: impl Read, limits: Limits, dir: impl AsFd) -> io::Result<()> {
    let mut input = io::BufReader::new(input);
    let gzip = io::BufRead::fill_buf(&mut input)?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read + '_> =
        if gzip { Box::new(flate2::read::MultiGzDecoder::new(input)) } else { Box::new(input) };
    let mut extractor = Extractor::new(dir.as_fd(), limits).map_err(io::Error::other)?.plain();
    extractor.run(Metered::new(plain)).map(drop).map_err(io::Error::other)
}

/// A reader that hashes what passes through it.
struct Hashed<R> {
    inner: R,
    sha256: Sha256,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, sha256: Sha256::default() }
    }

    /// Reads what is left, at most `limit` bytes, and returns the digest of it all.
    fn finish(mut self, limit: u64) -> io::Result<String> {
        let rest = io::copy(&mut (&mut self).take(limit), &mut io::sink())?;
        if rest == limit {
            return Err(io::Error::other("too much data after the end of the archive"));
        }
        Ok(self.sha256.finish())
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sha256.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
