//! What can go wrong with a machine, told so that a person can act on it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An error of the harness.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the machine.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A program that the harness needs is not there.
    #[error("{program} is not installed: apt-get install {package}")]
    Missing {
        /// The program.
        program: String,
        /// Debian's package of it.
        package: &'static str,
    },
    /// A program said no.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// The program with its arguments.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// An artifact has not been built.
    #[error("{} is not there: build it with ./image/build", path.display())]
    NotBuilt {
        /// The artifact.
        path: PathBuf,
    },
    /// Something expected did not happen in time.
    #[error("{what} did not happen within {} s; the console says: {}\n{tail}", within.as_secs(), log.display())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        within: Duration,
        /// The console log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// QEMU ended while something was expected of it.
    #[error("QEMU ended ({status}) while waiting for {what}; the console says: {}\n{tail}", log.display())]
    Ended {
        /// What was waited for.
        what: String,
        /// QEMU's exit status.
        status: String,
        /// The console log.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// QEMU's control socket.
    #[error("QEMU's control socket: {0}")]
    Qmp(String),
    /// No machine goes by this name, or it does not run.
    #[error("{0}")]
    NoMachine(String),
    /// A request that makes no sense.
    #[error("{0}")]
    Usage(String),
}

/// Says which file an I/O error is about.
pub(crate) trait At<T> {
    /// Adds what was tried and where.
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { doing, path: path.to_owned(), source })
    }
}
