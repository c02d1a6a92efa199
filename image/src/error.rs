//! What can go wrong in a build: every message says what, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// The builder's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// The verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The manifest cannot be understood.
    #[error("{path}: {message}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong, with line and key.
        message: String,
    },
    /// A program that the build needs is not there.
    #[error("{tool} is missing: install the Debian package {package} (image/build does)")]
    MissingTool {
        /// The program.
        tool: String,
        /// Where it is from.
        package: String,
    },
    /// A file that a Debian package brings is not there.
    #[error("{path} is missing: install the Debian package {package} (image/build does)")]
    MissingFile {
        /// The file.
        path: PathBuf,
        /// Where it is from.
        package: String,
    },
    /// A program failed.
    #[error("{tool} failed ({status}){output}")]
    Tool {
        /// The program.
        tool: String,
        /// Its exit status.
        status: String,
        /// What it said, from a line of its own.
        output: String,
    },
    /// The file system is too full.
    #[error("{path} has {free} MB free, the build needs {needed} MB: make room or choose another --output")]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Megabytes there.
        free: u64,
        /// Megabytes needed.
        needed: u64,
    },
    /// Something is larger than its place.
    #[error("{what} needs {needed} bytes, its partition has {room}: enlarge it in image/image.toml")]
    TooLarge {
        /// The content.
        what: String,
        /// Its length.
        needed: u64,
        /// The partition's length.
        room: u64,
    },
    /// The root tree holds what must not be in the image.
    #[error("the root tree breaks the rules of the image:\n{}", .0.join("\n"))]
    Scan(Vec<String>),
    /// An input is not what it should be.
    #[error("{path}: {message}")]
    Input {
        /// The input.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
}

/// Puts the verb and the path to an [`io::Error`].
pub trait At<T> {
    /// `cannot WHAT PATH: …`
    ///
    /// # Errors
    /// The same failure, told better.
    fn at(self, what: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, what: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { what, path: path.to_owned(), source })
    }
}
