//! Who may say what a release is: Ed25519 keys (RFC 8032), in files as `openssl pkey -pubout` writes them.
//!
//! A signature in a payload is 8 bytes that tell its key, the first of the key's SHA-256, and 64 bytes of signature.
//! One good signature of any key is enough: during a change of keys a release carries one of the old and one of the
//! new key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};

/// Bytes of a signature in a payload.
pub const LENGTH: usize = ID + 64;
const ID: usize = 8;
/// What stands before the key in a SubjectPublicKeyInfo of Ed25519. Source: RFC 8410, section 4.
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A folder or file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no key.
    #[error("{0} holds no Ed25519 public key in PEM, as `openssl pkey -pubout` writes it")]
    NotOne(PathBuf),
    /// There is no file.
    #[error("there is no key (*.pem) in {0}: without one no update can be told from a forgery")]
    None(String),
}

/// The keys that a machine trusts. There is at least one.
#[derive(Debug, Clone)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// The keys in the files `*.pem` of these folders, as far as they are there.
    ///
    /// # Errors
    /// There is none, or one of them is none: a key that is not understood is not passed over.
    pub fn read(folders: &[&Path]) -> Result<Keys, KeyError> {
        let mut keys = Vec::new();
        for folder in folders {
            match keys_in(folder) {
                Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                found => keys.extend(found?),
            }
        }
        if keys.is_empty() {
            let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            return Err(KeyError::None(names.join(" or ")));
        }
        Ok(Keys(keys))
    }

    /// Whether this signature is one of ours, and good.
    pub(super) fn have_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let Some((id, signature)) = signature.split_at_checked(ID) else { return false };
        self.0
            .iter()
            .filter(|key| id_of(&key[..]) == id)
            .any(|key| UnparsedPublicKey::new(&ED25519, key.as_slice()).verify(bytes, signature).is_ok())
    }
}

fn keys_in(folder: &Path) -> Result<Vec<[u8; 32]>, KeyError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyError::Io { path, source }
    };
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        if path.extension().is_some_and(|end| end == "pem") {
            let text = fs::read_to_string(&path).map_err(failed(&path))?;
            keys.push(public_key(&text).ok_or(KeyError::NotOne(path))?);
        }
    }
    Ok(keys)
}

/// What tells a key in a signature.
pub(super) fn id_of(key: &[u8]) -> [u8; ID] {
    let mut id = [0; ID];
    id.copy_from_slice(digest(&SHA256, key).as_ref().get(..ID).unwrap_or(&[0; ID]));
    id
}

fn public_key(pem: &str) -> Option<[u8; 32]> {
    let inner = unwrap(pem, "PUBLIC KEY")?;
    inner.strip_prefix(&PREFIX[..])?.try_into().ok()
}

/// The bytes in a PEM file with this label. Source: RFC 7468.
pub(super) fn unwrap(pem: &str, label: &str) -> Option<Vec<u8>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let inner = pem.split_once(&begin)?.1.split_once(&end)?.0;
    let text: String = inner.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}
