//! Compressed payloads: Zstandard, which we write too, and LZ4 and XZ, which older journals have. Source:
//! JOURNAL_FILE_FORMAT, "Data Objects"; LZ4 has the size of the whole in front, as 64 bits.

use std::io::Read;

use super::Error;

/// Flags of an object.
pub const XZ: u8 = 1;
/// LZ4, without a frame.
pub const LZ4: u8 = 1 << 1;
/// A Zstandard frame.
pub const ZSTD: u8 = 1 << 2;

/// The payload in `bytes`, compressed as the object's `flags` say, of at most `limit` bytes.
///
/// # Errors
/// It is broken, or larger.
pub fn decompress(flags: u8, bytes: &[u8], limit: usize, offset: u64) -> Result<Vec<u8>, Error> {
    let corrupt = Error::Corrupt { offset, what: "compressed data is broken or too large" };
    let whole = match flags {
        ZSTD => zstd::stream::read::Decoder::new(bytes).ok().and_then(|decoder| {
            let mut whole = Vec::new();
            decoder.take(limit as u64 + 1).read_to_end(&mut whole).ok()?;
            Some(whole)
        }),
        LZ4 => bytes.split_first_chunk::<8>().and_then(|(size, block)| {
            let size = usize::try_from(u64::from_le_bytes(*size)).ok().filter(|size| *size <= limit)?;
            lz4_flex::block::decompress(block, size).ok()
        }),
        XZ => {
            let mut whole = Bounded { bytes: Vec::new(), limit };
            lzma_rs::xz_decompress(&mut &*bytes, &mut whole).ok().map(|()| whole.bytes)
        }
        _ => return Err(Error::Unsupported("data compressed in a way of the future")),
    };
    whole.filter(|whole| whole.len() <= limit).ok_or(corrupt)
}

/// Makes Zstandard frames; its memory is used again.
#[derive(Default)]
pub struct Compressor(Option<zstd::bulk::Compressor<'static>>);

impl Compressor {
    /// `payload` as a frame, if that is smaller.
    pub fn compress(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        if self.0.is_none() {
            // Level 3 is the library's default and systemd's choice.
            self.0 = zstd::bulk::Compressor::new(3).ok();
        }
        let frame = self.0.as_mut()?.compress(payload).ok()?;
        (frame.len() < payload.len()).then_some(frame)
    }
}

/// A buffer that refuses to grow beyond a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_back() {
        let text = b"MESSAGE=".iter().copied().chain([b'x'; 5000]).collect::<Vec<u8>>();
        let mut lz4 = (text.len() as u64).to_le_bytes().to_vec();
        lz4.extend(lz4_flex::block::compress(&text));
        let mut xz = Vec::new();
        lzma_rs::xz_compress(&mut &*text, &mut xz).unwrap();
        for (flags, bytes) in [(ZSTD, Compressor::default().compress(&text).unwrap()), (LZ4, lz4), (XZ, xz)] {
            assert_eq!(decompress(flags, &bytes, 10_000, 0).unwrap(), text);
            assert!(decompress(flags, &bytes, 4000, 0).is_err(), "too large");
            assert!(decompress(flags, &bytes[..bytes.len() / 2], 10_000, 0).is_err(), "cut off");
        }
        assert!(decompress(1 << 3, b"", 10, 0).is_err());
        assert_eq!(Compressor::default().compress(b"short"), None);
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(flags in 0_u8..8, bytes: Vec<u8>) {
            let _ = decompress(flags, &bytes, 1 << 20, 0);
        }
    }
}
