//! Compressed archives: told apart by their first bytes, read as plain ones, and made.

use std::io::{self, BufRead, Read, Write};

use crate::registry::manifest::Compression;

/// How an archive is compressed whose first bytes these are.
#[must_use]
pub fn detect(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}

/// What a stream holds that may be compressed.
///
/// # Errors
/// When it cannot be read.
pub fn any<'a>(mut input: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let compression = detect(input.fill_buf()?);
    plain(input, compression)
}

/// What a compressed stream holds.
///
/// # Errors
/// When no decompressor can be made.
pub fn plain<'a>(input: impl Read + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(input)?;
            // A frame may ask for a window of gigabytes; 128 MiB is what tools agree on.
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
    })
}

/// A gzip stream that is the same for the same content: no name, no time.
pub fn gzip<W: Write>(out: W) -> flate2::write::GzEncoder<W> {
    flate2::GzBuilder::new().mtime(0).write(out, flate2::Compression::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_by_its_first_bytes() {
        let content = b"content".repeat(1000);
        let mut packed = gzip(Vec::new());
        packed.write_all(&content).unwrap();
        let gzip = packed.finish().unwrap();
        let zstd = zstd::encode_all(content.as_slice(), 3).unwrap();
        for (bytes, kind) in
            [(&gzip, Compression::Gzip), (&zstd, Compression::Zstd), (&content, Compression::None)]
        {
            assert_eq!(detect(bytes), kind);
            let mut read = Vec::new();
            any(bytes.as_slice()).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, content);
        }
        assert_eq!(detect(b""), Compression::None);
    }
}
