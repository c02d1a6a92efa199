//! The SSH key that the machines of this checkout let in.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::At;
use crate::{Artifacts, Result, command};

/// A key pair: the private key's file; the public one is beside it.
#[derive(Clone, Debug)]
pub struct Key {
    private: PathBuf,
}

impl Key {
    /// The key of this checkout's machines, made when it is first asked for.
    ///
    /// # Errors
    /// When the directory cannot be written, or ssh-keygen is missing.
    pub fn of(artifacts: &Artifacts) -> Result<Key> {
        let directory = artifacts.directory().join("ssh");
        fs::create_dir_all(&directory).at("create", &directory)?;
        let private = directory.join("id_ed25519");
        if !private.exists() {
            // Made aside and renamed, since several machines may start at once.
            let aside = directory.join(format!("new-{}", std::process::id()));
            Key::generate(&aside)?;
            fs::rename(public_of(&aside), public_of(&private)).at("rename", &aside)?;
            fs::rename(&aside, &private).at("rename", &aside)?;
        }
        Ok(Key { private })
    }

    /// Makes a new key at `path`.
    ///
    /// # Errors
    /// When ssh-keygen fails or is missing.
    pub fn generate(path: &Path) -> Result<Key> {
        let path_text = path.display().to_string();
        command::run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "corten", "-f", &path_text])?;
        Ok(Key { private: path.to_owned() })
    }

    /// The private key's file.
    pub fn private(&self) -> &Path {
        &self.private
    }

    /// The public key's file.
    pub fn public(&self) -> PathBuf {
        public_of(&self.private)
    }
}

fn public_of(private: &Path) -> PathBuf {
    private.with_extension("pub")
}
