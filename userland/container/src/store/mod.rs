//! What was pulled: blobs, layers and the names of images, under `/var/lib/corten/containers`.
//!
//! ```text
//! blobs/sha256/HEX      manifests and image configurations
//! layers/HEX/fs         an unpacked layer, named by the digest of its tar archive (its "diff id")
//! layers/HEX/recipe     how that archive is made again (see [`crate::layer::recipe`])
//! layers/HEX/gzip.json  digest and size of that archive as we compress it, once that is known
//! images/HEX.json       one name of an image, under the digest of the name
//! containers/ID/        what belongs to one container (see [`crate::state`])
//! tmp/                  what is not finished
//! lock                  shared by whoever uses the store, exclusive for clearing up
//! ```
//!
//! Invariant: everything outside of `tmp` is whole and was checked. It is written in `tmp`, synced to the
//! disk, and only then moved to its name, so a power cut leaves either all of it or none. An image
//! record is written after all that it refers to.

pub mod clear;
pub mod description;
pub mod digest;
pub mod history;
pub mod image;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat, syncfs};

/// Where the store is if nothing else is said.
pub const ROOT: &str = "/var/lib/corten/containers";

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or its permissions.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// A digest that cannot be a name here.
    #[error("{0:?} is not a sha256 digest")]
    Digest(String),
    /// What is in the store is not what it was; pulling again repairs it.
    #[error("{path} is damaged ({why}); remove the image and pull it again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How it shows.
        why: String,
    },
}

/// An open store. While it is open, nothing in it is cleared away.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    lock: OwnedFd,
}

impl Store {
    /// Opens the store, making it if it is not there.
    ///
    /// # Errors
    /// When its directories cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for name in ["blobs/sha256", "layers", "images", "containers", "tmp"] {
            make_dir(&root.join(name))?;
        }
        let path = root.join("lock");
        let lock = openat(
            rustix::fs::CWD,
            &path,
            OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::RUSR | Mode::WUSR,
        )
        .map_err(|error| io_error("open", &path, error.into()))?;
        flock(&lock, FlockOperation::LockShared).map_err(|error| io_error("lock", &path, error.into()))?;
        Ok(Self { root: root.to_owned(), lock })
    }

    /// The directory that the store is in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A small blob, checked again when read; `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn blob(&self, digest: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob_path(digest)?;
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path, error)),
            Ok(bytes) => bytes,
        };
        digest::check(&bytes, digest)
            .map_err(|error| StoreError::Damaged { path, why: error.to_string() })?;
        Ok(Some(bytes))
    }

    /// Keeps a small blob and returns its digest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<String, StoreError> {
        let digest = digest::Sha256::of(bytes);
        let path = self.blob_path(&digest)?;
        // What is there may be torn only if the disk lies; what is damaged is replaced.
        if !matches!(self.blob(&digest), Ok(Some(_))) {
            self.write(&path, bytes)?;
        }
        Ok(digest)
    }

    fn blob_path(&self, digest: &str) -> Result<PathBuf, StoreError> {
        let hex = digest::hex_of(digest).ok_or_else(|| StoreError::Digest(digest.to_owned()))?;
        Ok(self.root.join("blobs/sha256").join(hex))
    }

    /// The directory of an unpacked layer; `None` if it is not there.
    ///
    /// # Errors
    /// When `diff_id` is no digest.
    pub fn layer(&self, diff_id: &str) -> Result<Option<PathBuf>, StoreError> {
        let path = self.layer_path(diff_id)?.join("fs");
        Ok(path.is_dir().then_some(path))
    }

    /// Where it is written how the layer's archive is made again.
    ///
    /// # Errors
    /// When `diff_id` is no digest.
    pub fn recipe(&self, diff_id: &str) -> Result<PathBuf, StoreError> {
        Ok(self.layer_path(diff_id)?.join("recipe"))
    }

    /// A file without a name, gone when it is closed, for what may be large.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<File, StoreError> {
        let dir = self.root.join("tmp");
        let path = dir.join(random_name()?);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|error| io_error("create", &path, error))?;
        fs::remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
        Ok(file)
    }

    pub(crate) fn layer_path(&self, diff_id: &str) -> Result<PathBuf, StoreError> {
        let hex = digest::hex_of(diff_id).ok_or_else(|| StoreError::Digest(diff_id.to_owned()))?;
        Ok(self.root.join("layers").join(hex))
    }

    /// An empty directory to unpack a layer in.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn stage(&self) -> Result<Staging, StoreError> {
        let path = self.root.join("tmp").join(random_name()?);
        make_dir(&path.join("fs"))?;
        Ok(Staging { path, committed: false })
    }

    /// Gives an unpacked layer its name, after it is safe on the disk.
    ///
    /// # Errors
    /// When it cannot be synced or moved. The layer does not count then.
    pub fn commit(&self, mut staging: Staging, diff_id: &str) -> Result<(), StoreError> {
        let to = self.layer_path(diff_id)?;
        syncfs(&self.lock).map_err(|error| io_error("sync", &self.root, error.into()))?;
        match fs::rename(&staging.path, &to) {
            Ok(()) => staging.committed = true,
            // Another pull was faster; its layer is as good as ours.
            Err(_) if to.join("fs").is_dir() => return Ok(()),
            Err(error) => return Err(io_error("rename to", &to, error)),
        }
        sync_dir(&self.root.join("layers"))
    }

    /// Writes a file so that it is there whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let temporary = self.root.join("tmp").join(random_name()?);
        let written = write_synced(&temporary, bytes)
            .map_err(|error| io_error("write", &temporary, error))
            .and_then(|()| fs::rename(&temporary, path).map_err(|error| io_error("rename to", path, error)));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        sync_dir(path.parent().unwrap_or(&self.root))
    }
}

/// A layer being unpacked. Dropped without being committed, it is removed.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    committed: bool,
}

impl Staging {
    /// The directory that becomes the layer.
    #[must_use]
    pub fn fs(&self) -> PathBuf {
        self.path.join("fs")
    }

    /// The file that says how its archive is made again.
    #[must_use]
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe")
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A directory only root may look into: layers hold set-user-id programs of strangers.
fn make_dir(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| io_error("create", path, error))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|error| io_error("sync", path, error))
}

/// A name that nobody else picks.
pub(crate) fn random_name() -> Result<String, StoreError> {
    use ring::rand::SecureRandom;
    let mut bytes = [0_u8; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io_error("read", Path::new("/dev/urandom"), io::ErrorKind::Other.into()))?;
    Ok(digest::hex(&bytes))
}

fn io_error(operation: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { operation, path: path.to_owned(), source }
}

/// Bytes of all files below a directory.
#[must_use]
pub(crate) fn size_of(dir: &Path) -> u64 {
    let mut left = vec![dir.to_owned()];
    let mut bytes = 0_u64;
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(kind) if kind.is_dir() => left.push(entry.path()),
                Ok(file) if file.is_file() => bytes = bytes.saturating_add(file.len()),
                _ => {}
            }
        }
    }
    bytes
}

impl Store {
    /// Whether this process is the only one that uses the store; if so, it stays the only one.
    pub(crate) fn alone(&self) -> bool {
        flock(self.lock.as_fd(), FlockOperation::NonBlockingLockExclusive).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn a_blob_comes_back_and_damage_shows() {
        let (_dir, store) = store();
        let digest = store.put_blob(b"hello").unwrap();
        assert_eq!(store.blob(&digest).unwrap().unwrap(), b"hello");
        fs::write(store.blob_path(&digest).unwrap(), b"hellO").unwrap();
        assert!(matches!(store.blob(&digest), Err(StoreError::Damaged { .. })));
        store.put_blob(b"hello").unwrap();
        assert!(store.blob(&digest).unwrap().is_some(), "pulling again repairs");
        assert!(store.blob(&digest::Sha256::of(b"other")).unwrap().is_none());
        assert!(matches!(store.blob("sha256:../x"), Err(StoreError::Digest(_))));
    }

    #[test]
    fn a_layer_counts_only_when_committed() {
        let (dir, store) = store();
        let diff_id = digest::Sha256::of(b"layer");
        let staging = store.stage().unwrap();
        fs::write(staging.fs().join("file"), b"x").unwrap();
        assert!(store.layer(&diff_id).unwrap().is_none());
        drop(staging);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);

        let staging = store.stage().unwrap();
        fs::write(staging.fs().join("file"), b"x").unwrap();
        store.commit(staging, &diff_id).unwrap();
        assert!(store.layer(&diff_id).unwrap().unwrap().join("file").exists());

        // The same layer once more, from another pull.
        store.commit(store.stage().unwrap(), &diff_id).unwrap();
        assert!(store.layer(&diff_id).unwrap().unwrap().join("file").exists());
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    }
}
