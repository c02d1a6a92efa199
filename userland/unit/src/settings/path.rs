//! The [Path] section, systemd.path(5).

use crate::{INFINITY, Usec};

/// What is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// PathExists=
    Exists,
    /// PathExistsGlob=
    ExistsGlob,
    /// PathChanged=
    Changed,
    /// PathModified=
    Modified,
    /// DirectoryNotEmpty=
    DirectoryNotEmpty,
}

impl PathKind {
    /// The directive's name.
    pub fn as_str(self) -> &'static str {
        match self {
            PathKind::Exists => "PathExists",
            PathKind::ExistsGlob => "PathExistsGlob",
            PathKind::Changed => "PathChanged",
            PathKind::Modified => "PathModified",
            PathKind::DirectoryNotEmpty => "DirectoryNotEmpty",
        }
    }
}

/// A path unit's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSettings {
    /// PathExists= and its kin, in order; the paths are absolute
    pub paths: Vec<(PathKind, String)>,
    /// MakeDirectory=
    pub make_directory: bool,
    /// DirectoryMode=
    pub directory_mode: u32,
    /// TriggerLimitIntervalSec=; `INFINITY`: not set
    pub trigger_interval: Usec,
    /// TriggerLimitBurst=; `u32::MAX`: not set
    pub trigger_burst: u32,
}

impl Default for PathSettings {
    fn default() -> Self {
        PathSettings {
            paths: Vec::new(),
            make_directory: false,
            directory_mode: 0o755,
            trigger_interval: INFINITY,
            trigger_burst: u32::MAX,
        }
    }
}
