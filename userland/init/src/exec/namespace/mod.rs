//! The child's own view of the file system: what ProtectSystem=, PrivateTmp=, BindPaths= and the others ask for.
//!
//! [`plan`] says what is to be where, without touching anything; [`tree`] builds it: the root is copied aside, every
//! entry is laid over it from the top down, then each mount gets the attributes of the nearest rule above it, and the
//! process moves in.

mod devices;
mod place;
mod plan;
mod tree;

use std::path::PathBuf;

use unit::UnitName;
use unit::settings::ExecSettings;

use super::{Failure, status};

/// What only the process that is on its way knows.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The unit's own /tmp and /var/tmp.
    pub tmp: Option<(PathBuf, PathBuf)>,
    /// The unit's directories, which stay writable.
    pub directories: Vec<PathBuf>,
    /// The folder of its credentials.
    pub credentials: Option<PathBuf>,
    /// Whether it gets word to PID 1 through a socket.
    pub notifies: bool,
}

/// Whether the unit needs a view of its own.
pub fn is_needed(exec: &ExecSettings) -> bool {
    exec.sandbox.private_mounts == Some(true)
        || (exec.root_directory.is_some() && exec.sandbox.mount_api != Some(false))
        || exec.sandbox.mount_flags != 0
        || !plan::of(exec, &Surroundings::default()).is_empty()
}

/// Moves this process into it.
pub fn enter(unit: &UnitName, exec: &ExecSettings, around: &Surroundings) -> Result<(), Failure> {
    let entries = plan::of(exec, around);
    tree::enter(exec, entries).map_err(|error| {
        let what = format!("{unit}: cannot set up the file system at {}", error.place.display());
        Failure::new(status::NAMESPACE, what, error.source)
    })
}
