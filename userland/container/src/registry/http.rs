//! What is particular to registries in HTTP: certificates for single ones, and how they complain.

use std::path::{Path, PathBuf};

use http_client::{Http, HttpError, Response};

const COMPLAINT_LIMIT: usize = 16 << 10;
/// Certificates for single registries, as Docker and Podman have them.
const REGISTRY_ROOTS: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// A client for this registry, with the certificates that the administrator gave for it.
///
/// # Errors
/// When certificates are there but cannot be read.
pub fn client(endpoint: &str) -> Result<Http, HttpError> {
    let mut certificates: Vec<PathBuf> = Vec::new();
    for base in REGISTRY_ROOTS {
        let Ok(entries) = std::fs::read_dir(Path::new(base).join(endpoint)) else { continue };
        let paths = entries.flatten().map(|entry| entry.path());
        certificates.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "crt")));
    }
    Http::new(&certificates)
}

/// What a registry says is wrong, as `: MESSAGE`, or nothing. Control characters are left out.
pub async fn complaint(response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(bytes) = response.bytes(COMPLAINT_LIMIT).await else { return String::new() };
    let Ok(body) = serde_json::from_slice::<Body>(&bytes) else { return String::new() };
    let Some(first) = body.errors.first() else { return String::new() };
    let text = if first.message.is_empty() { &first.code } else { &first.message };
    format!(": {}", text.chars().filter(|char| !char.is_control()).take(300).collect::<String>())
}
