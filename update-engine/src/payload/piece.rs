//! From pieces to an image.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use super::PayloadError;
use super::manifest::{Digest, Image, Piece, Source};

/// Where the data of a payload comes from: a file, or a server far away, where what is not needed need not be fetched.
pub trait Data: Read {
    /// Goes on behind the next so many bytes.
    ///
    /// # Errors
    /// They cannot be passed over.
    fn pass(&mut self, bytes: u64) -> io::Result<()>;
}

impl<D: Data + ?Sized> Data for &mut D {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        (**self).pass(bytes)
    }
}

impl Data for File {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        io::Seek::seek_relative(self, i64::try_from(bytes).map_err(io::Error::other)?)
    }
}

impl Data for &[u8] {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let rest = usize::try_from(bytes).ok().and_then(|bytes| self.get(bytes..));
        *self = rest.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(())
    }
}

/// Writes an image over an older one, or over the beginning of itself: a piece that is there already is neither fetched
/// nor written. So an update that was cut off goes on where it was, and what two releases in one slot have in common
/// costs nothing. Returns how many bytes were written.
///
/// # Errors
/// As [`write_image`].
pub fn update_image(
    image: &Image,
    mut data: impl Data,
    base: Option<&File>,
    to: &File,
) -> Result<u64, PayloadError> {
    let (mut at, mut written) = (0, 0);
    for piece in &image.pieces {
        let mut there = vec![0; piece.length as usize];
        if to.read_exact_at(&mut there, at).is_ok() && Digest::of(&there) == piece.hash {
            if let Source::Data { length, .. } = piece.source {
                data.pass(u64::from(length)).map_err(PayloadError::io("read the payload"))?;
            }
        } else {
            drop(there);
            let bytes = checked(piece, at, &mut data, base)?;
            to.write_all_at(&bytes, at).map_err(PayloadError::io("write the image"))?;
            written += u64::from(piece.length);
        }
        at += u64::from(piece.length);
    }
    Ok(written)
}

/// Writes an image piece by piece. `data` is the payload after its manifest, or after the image before this one; `base`
/// is the image of the same kind that the payload is a difference from. Each piece has been compared with its hash when it is written.
///
/// # Errors
/// The first piece that is not what the manifest says, or cannot be read or written: what was written before stays.
pub fn write_image(
    image: &Image,
    mut data: impl Read,
    base: Option<&File>,
    mut to: impl Write,
) -> Result<(), PayloadError> {
    let mut at = 0;
    for piece in &image.pieces {
        let bytes = checked(piece, at, &mut data, base)?;
        to.write_all(&bytes).map_err(PayloadError::io("write the image"))?;
        at += u64::from(piece.length);
    }
    Ok(())
}

fn checked(
    piece: &Piece,
    at: u64,
    data: &mut impl Read,
    base: Option<&File>,
) -> Result<Vec<u8>, PayloadError> {
    let bytes = content(piece, data, base)?;
    if bytes.len() != piece.length as usize || Digest::of(&bytes) != piece.hash {
        let what = format!("the {} bytes at {at} of an image are not what the manifest says", piece.length);
        return Err(PayloadError::Damaged(what));
    }
    Ok(bytes)
}

fn content(piece: &Piece, data: &mut impl Read, base: Option<&File>) -> Result<Vec<u8>, PayloadError> {
    let of_base = |from: u64, length: u64| {
        let base = base.ok_or_else(|| PayloadError::NoBase("that is not named".to_owned()))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        base.read_exact_at(&mut bytes, from).map_err(PayloadError::io("read the base")).map(|()| bytes)
    };
    match piece.source {
        Source::Zeros => Ok(vec![0; piece.length as usize]),
        Source::Base(from) => of_base(from, u64::from(piece.length)),
        Source::Data { length, prefix } => {
            let mut packed = vec![0; length as usize];
            data.read_exact(&mut packed).map_err(PayloadError::io("read the payload"))?;
            let prefix = match prefix {
                Some((from, length)) => of_base(from, length)?,
                None => Vec::new(),
            };
            unpack(&packed, &prefix, piece.length)
                .map_err(|error| PayloadError::Damaged(format!("a piece does not unpack: {error}")))
        }
    }
}

/// At most one byte more than expected is unpacked, whatever the frame says of itself.
fn unpack(packed: &[u8], prefix: &[u8], length: u32) -> std::io::Result<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_ref_prefix(packed, prefix)?;
    decoder.window_log_max(super::make::WINDOW_LOG)?;
    let mut bytes = Vec::with_capacity(length as usize);
    decoder.take(u64::from(length) + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
