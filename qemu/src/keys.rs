//! The SSH key that the machines of this checkout let in.

use std::fs::{self, File};
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
        // Several machines may start at once, in this process and in others: one of them makes the key.
        let lock_path = directory.join(".lock");
        let lock = File::create(&lock_path).at("create", &lock_path)?;
        lock.lock().at("lock", &lock_path)?;
        if !private.exists() {
            // Made aside and renamed, the private key last: a key that is there is whole.
            let aside = directory.join("new");
            for leftover in [aside.clone(), public_of(&aside)] {
                if leftover.exists() {
                    fs::remove_file(&leftover).at("remove", &leftover)?;
                }
            }
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

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{Key, fs, public_of};
    use crate::Artifacts;

    #[test]
    fn machines_that_start_at_once_have_one_key() {
        let build = tempfile::tempdir().expect("a folder");
        // What a harness left behind that was ended while it made a key.
        let place = build.path().join("ssh");
        fs::create_dir_all(&place).expect("a folder");
        fs::write(place.join("new"), "half a key").expect("a file");
        let artifacts = Artifacts::in_directory(build.path());
        let keys: Vec<String> = thread::scope(|scope| {
            let started: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let key = Key::of(&artifacts).expect("a key");
                        let private = fs::read_to_string(key.private()).expect("a private key");
                        private + &fs::read_to_string(public_of(key.private())).expect("a public key")
                    })
                })
                .collect();
            started.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0] && key.contains("ssh-ed25519")), "{keys:?}");
    }
}
