//! Digests: the only names of content that count.
//!
//! `sha256:` and `sha512:` followed by lower-case hexadecimal (OCI image specification, "Digests").

use ring::digest::{Context, SHA256, SHA512, digest};

/// Content that is not what its digest says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct BadDigest {
    /// The digest asked for.
    pub expected: String,
    /// The digest of what came.
    pub found: String,
}

/// A SHA-256 that grows with the data.
#[derive(Clone)]
pub struct Sha256(Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(…)")
    }
}

impl Sha256 {
    /// The digest of these bytes, as `sha256:HEX`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> String {
        format!("sha256:{}", hex(digest(&SHA256, bytes).as_ref()))
    }

    /// Takes more data in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all data so far, as `sha256:HEX`.
    #[must_use]
    pub fn finish(self) -> String {
        format!("sha256:{}", hex(self.0.finish().as_ref()))
    }
}

/// Whether these bytes are what the digest says.
///
/// # Errors
/// When they are not, or the digest is of an unknown kind.
pub fn check(bytes: &[u8], expected: &str) -> Result<(), BadDigest> {
    let found = match expected.split_once(':') {
        Some(("sha512", _)) => format!("sha512:{}", hex(digest(&SHA512, bytes).as_ref())),
        _ => Sha256::of(bytes),
    };
    if found == expected { Ok(()) } else { Err(BadDigest { expected: expected.to_owned(), found }) }
}

/// The hexadecimal part of a well-formed `sha256:` digest, which is safe as a file name.
#[must_use]
pub fn hex_of(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let well_formed = hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then_some(hex)
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_known() {
        assert_eq!(Sha256::of(b""), EMPTY);
        assert_eq!(Sha256::default().finish(), EMPTY);
        assert!(check(b"", EMPTY).is_ok());
        assert!(check(b"", "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e").is_ok());
    }

    #[test]
    fn other_content_is_told_apart() {
        let error = check(b"x", EMPTY).unwrap_err();
        assert_eq!(error.expected, EMPTY);
        assert!(check(b"", "md5:d41d8cd98f00b204e9800998ecf8427e").is_err());
    }

    #[test]
    fn only_a_well_formed_digest_is_a_file_name() {
        assert!(hex_of(EMPTY).is_some());
        for bad in
            ["sha256:../../etc/passwd", "sha256:E3B0", "e3b0", &EMPTY.to_uppercase(), &format!("{EMPTY}0")]
        {
            assert!(hex_of(bad).is_none(), "{bad}");
        }
    }
}
