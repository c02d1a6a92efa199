//! Detached signatures: a file beside nothing, made by `openssl pkeyutl -sign -rawin` over a manifest.
//!
//! They lie in a directory of this machine, laid out as podman's store of signatures is:
//! `DIR/HOST/NAME@sha256=HEX/signature-1` and so on, 64 bytes of Ed25519 or a DER signature of ECDSA P-256, as
//! they are or in base64.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::key::Key;
use crate::reference::Reference;
use crate::registry::Manifest;

const SIGNATURES_LIMIT: usize = 64;
const SIGNATURE_LIMIT: u64 = 4096;

/// Looks for one signature of the manifest by one of the keys.
pub(super) fn check(
    dir: &Path,
    reference: &Reference,
    manifest: &Manifest,
    keys: &[Key],
) -> Result<(), String> {
    let digest = manifest.digest.replace(':', "=");
    // The name of a repository has no dots alone between its slashes: it stays below the directory.
    let dir = dir.join(format!("{}/{}@{digest}", reference.registry(), reference.repository()));
    let mut seen = false;
    for number in 1..=SIGNATURES_LIMIT {
        let path = dir.join(format!("signature-{number}"));
        match std::fs::metadata(&path) {
            Ok(meta) if meta.len() <= SIGNATURE_LIMIT => {}
            Ok(_) => continue,
            Err(_) => break,
        }
        let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        seen = true;
        let decoded = std::str::from_utf8(&bytes).ok().and_then(|text| STANDARD.decode(text.trim()).ok());
        let forms = std::iter::once(&bytes).chain(&decoded);
        if forms.into_iter().any(|signature| keys.iter().any(|key| key.signed(&manifest.bytes, signature))) {
            return Ok(());
        }
    }
    if seen {
        return Err("no signature is by a key of the policy, or it is of another manifest".to_owned());
    }
    Err(format!("it has no signature in {}", dir.display()))
}
