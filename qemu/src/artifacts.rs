//! Where the artifacts of a build are.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The directory that `image/build` fills.
#[derive(Clone, Debug)]
pub struct Artifacts {
    directory: PathBuf,
}

impl Artifacts {
    /// The artifacts of this checkout, or of `$CORTEN_BUILD`.
    pub fn of_this_checkout() -> Artifacts {
        let directory = std::env::var_os("CORTEN_BUILD")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../build"), PathBuf::from);
        Artifacts { directory: directory.canonicalize().unwrap_or(directory) }
    }

    /// The artifacts in `directory`.
    pub fn in_directory(directory: impl Into<PathBuf>) -> Artifacts {
        Artifacts { directory: directory.into() }
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The raw disk image.
    pub fn disk(&self) -> Result<PathBuf> {
        self.file("corten.img")
    }

    /// The kernel, as QEMU's `-kernel` takes it.
    pub fn kernel(&self) -> Result<PathBuf> {
        self.file("vmlinuz")
    }

    /// The initramfs of the live boot.
    pub fn initrd(&self) -> Result<PathBuf> {
        self.file("initrd")
    }

    /// An artifact by its name.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] when it is not there.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.is_file() { Ok(path) } else { Err(Error::NotBuilt { path }) }
    }
}
