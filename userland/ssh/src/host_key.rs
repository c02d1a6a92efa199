//! The machine's own key: made on the first start, kept for ever.
//!
//! Invariant: after a power cut there is either no key or a whole one. A file that holds no key is put
//! aside, not overwritten, and a new one is made: an operator who cannot log in cannot repair it.
//!
//! Source: OpenSSH's PROTOCOL.key for the file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file could not be read or written.
    #[error("host key {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel gave no random numbers, or the key could not be written down.
    #[error("a host key could not be made")]
    Make,
}

/// The key in `path`, made first if there is none.
pub(crate) fn load_or_make(path: &Path) -> Result<PrivateKey, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    match File::open(path) {
        Ok(file) => {
            let mut text = Vec::new();
            file.take(64 << 10).read_to_end(&mut text).map_err(failed)?;
            match PrivateKey::from_openssh(&text) {
                Ok(key) => return Ok(key),
                Err(error) => {
                    let aside = path.with_extension("broken");
                    eprintln!(
                        "sshd: {} is no key ({error}); it is kept as {} and a new one is made",
                        path.display(),
                        aside.display()
                    );
                    fs::rename(path, aside).map_err(failed)?;
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let key = make()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(folder).map_err(failed)?;
    let public = key.public_key().to_openssh().map_err(|_| Error::Make)?;
    let private = key.to_openssh(LineEnding::LF).map_err(|_| Error::Make)?;
    write_whole(&path.with_extension("pub"), 0o644, format!("{public}\n").as_bytes())?;
    write_whole(path, 0o600, private.as_bytes())?;
    eprintln!("sshd: made the host key {}", key.public_key().fingerprint(Default::default()));
    Ok(key)
}

fn make() -> Result<PrivateKey, Error> {
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| Error::Make)?;
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&seed));
    PrivateKey::new(pair, "host").map_err(|_| Error::Make)
}

/// Writes a file so that it is there whole or not at all, and stays.
fn write_whole(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension(match path.extension() {
        Some(extension) => format!("{}.new", extension.to_string_lossy()),
        None => "new".to_owned(),
    });
    let write = || -> io::Result<()> {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    write().map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn the_key_is_made_once_and_openssh_reads_it() {
        let etc = tempfile::tempdir().unwrap();
        let path = etc.path().join("ssh/ssh_host_ed25519_key");
        let made = load_or_make(&path).unwrap();
        let loaded = load_or_make(&path).unwrap();
        assert_eq!(made.public_key().key_data(), loaded.public_key().key_data());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let derived = Command::new("ssh-keygen").arg("-y").arg("-f").arg(&path).output().unwrap();
        assert!(derived.status.success());
        let written = fs::read_to_string(path.with_extension("pub")).unwrap();
        assert_eq!(String::from_utf8(derived.stdout).unwrap(), written);
    }

    #[test]
    fn a_torn_key_is_put_aside_and_replaced() {
        let etc = tempfile::tempdir().unwrap();
        let path = etc.path().join("key");
        fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn").unwrap();
        load_or_make(&path).unwrap();
        assert!(PrivateKey::from_openssh(fs::read(&path).unwrap()).is_ok());
        assert!(fs::read_to_string(etc.path().join("key.broken")).unwrap().ends_with("b3Blbn"));
    }
}
