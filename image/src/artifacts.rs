//! The results: each is made under another name and renamed when it is whole and on the disk; `artifacts.json` lists
//! them with length and SHA-256.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use ring::digest::{Context, SHA256};
use serde::Serialize;
use update_engine::verity::hex;

use crate::error::{At, Error, Result};

/// Every artifact that there is, and what it is.
pub const ALL: &[(&str, &str)] = &[
    ("bin/corten", "the static binary; bin/ has a link for each applet"),
    (SYMBOLS, "the static binary with the names of its functions, for the addresses of a crash"),
    ("vmlinuz", "the kernel"),
    ("root.img", "the root image of a slot: EROFS and hash tree"),
    ("initrd", "the initramfs of the live boot"),
    ("corten.img", "the disk, raw and sparse"),
    ("corten.img.zst", "the disk, compressed"),
    ("corten.qcow2", "the disk for QEMU and OpenStack, compressed"),
];
/// The binary before it was stripped.
pub const SYMBOLS: &str = "corten.symbols";
const LIST: &str = "artifacts.json";

/// The list.
#[derive(Debug, Serialize)]
pub struct List<'a> {
    /// The release.
    pub version: &'a str,
    /// What is there.
    pub artifacts: Vec<Entry>,
}

/// The version of the release in this folder.
///
/// # Errors
/// There is no list, or it does not tell.
pub fn version(folder: &Path) -> Result<String> {
    #[derive(serde::Deserialize)]
    struct Told {
        version: String,
    }
    let path = folder.join(LIST);
    let text = fs::read(&path).at("read", &path)?;
    let told: Told = serde_json::from_slice(&text)
        .map_err(|error| Error::Input { path, message: format!("is no list of artifacts: {error}") })?;
    Ok(told.version)
}

/// An artifact.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Its path in the output folder.
    pub name: String,
    /// Its length; a raw disk's with its holes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// Lists what is in the output folder, and returns the list.
///
/// # Errors
/// An artifact cannot be read, or the list cannot be written.
pub fn write_list(output: &Path, version: &str) -> Result<Vec<Entry>> {
    let mut artifacts = Vec::new();
    for (name, _) in ALL {
        let path = output.join(name);
        if path.is_file() {
            let bytes = fs::metadata(&path).at("read", &path)?.len();
            artifacts.push(Entry { name: (*name).to_owned(), bytes, sha256: sha256(&path)? });
        }
    }
    let list = List { version, artifacts };
    let path = output.join(LIST);
    let mut text = serde_json::to_string_pretty(&list)
        .map_err(|error| Error::Input { path: path.clone(), message: error.to_string() })?;
    text.push('\n');
    let new = output.join(format!(".{LIST}.new"));
    fs::write(&new, text).at("write", &new)?;
    publish(&new, &path)?;
    Ok(list.artifacts)
}

/// The SHA-256 of a file.
///
/// # Errors
/// It cannot be read.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).at("open", path)?;
    let mut context = Context::new(&SHA256);
    let mut piece = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut piece).at("read", path)?;
        match piece.get(..count) {
            Some(bytes) if !bytes.is_empty() => context.update(bytes),
            _ => return Ok(hex(context.finish().as_ref())),
        }
    }
}

/// Gives a finished file its name: what is there under it is always whole.
///
/// # Errors
/// The disk fails.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    File::open(from).and_then(|file| file.sync_all()).at("flush", from)?;
    fs::rename(from, to).at("rename", from)
}
