//! The encodings of a file's content: base64 and gzip, alone or one in the other.

use std::io::Read;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use flate2::read::MultiGzDecoder;

/// Largest file that is unpacked, in bytes: a megabyte can unpack to a gigabyte.
const LARGEST: u64 = 16 << 20;

/// Why content cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name of the encoding is not known.
    #[error("encoding {0:?} is not known; use base64, gzip or gzip+base64")]
    Unknown(String),
    /// Not what it says it is.
    #[error("not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not what it says it is.
    #[error("not gzip: {0}")]
    Gzip(#[from] std::io::Error),
    /// It unpacks to more than we take.
    #[error("unpacks to more than {} MiB", LARGEST >> 20)]
    Large,
}

/// Decodes content that is encoded as `encoding` names it; empty: as it is.
pub fn decode(content: &str, encoding: &str) -> Result<Vec<u8>, Error> {
    match encoding {
        "" | "text/plain" => Ok(content.as_bytes().to_vec()),
        "b64" | "base64" => base64(content),
        "gz" | "gzip" => unpack(content.as_bytes()),
        "gz+base64" | "gzip+base64" | "gz+b64" | "gzip+b64" => unpack(&base64(content)?),
        other => Err(Error::Unknown(other.to_owned())),
    }
}

fn base64(content: &str) -> Result<Vec<u8>, Error> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text: String = content.split_ascii_whitespace().collect();
    Ok(GeneralPurpose::new(&STANDARD, config).decode(text)?)
}

fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(LARGEST + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() as u64 > LARGEST { Err(Error::Large) } else { Ok(unpacked) }
}

/// Whether the text is base64 of something.
pub fn is_base64(text: &str) -> bool {
    !text.is_empty() && base64(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn packed(bytes: &[u8]) -> String {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        base64::prelude::BASE64_STANDARD.encode(encoder.finish().unwrap())
    }

    #[test]
    fn decodes() {
        assert_eq!(decode("aGVs\n bG8=", "base64").unwrap(), b"hello");
        assert_eq!(decode("aGVsbG8", "b64").unwrap(), b"hello");
        assert_eq!(decode(&packed(b"hello"), "gz+b64").unwrap(), b"hello");
        assert_eq!(decode("x", "").unwrap(), b"x");
    }

    #[test]
    fn refuses() {
        assert!(matches!(decode("x", "rot13"), Err(Error::Unknown(_))));
        assert!(matches!(decode("$$", "base64"), Err(Error::Base64(_))));
        assert!(matches!(decode("aGVsbG8=", "gzip+base64"), Err(Error::Gzip(_))));
        let bomb = packed(&vec![0; (LARGEST + 1) as usize]);
        assert!(matches!(decode(&bomb, "gzip+base64"), Err(Error::Large)));
    }
}
