//! RuntimeDirectory= and its kin.

/// The parents of XDirectory=.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DirectoryKind {
    /// /run
    Runtime,
    /// /var/lib
    State,
    /// /var/cache
    Cache,
    /// /var/log
    Logs,
    /// /etc
    Configuration,
}

impl DirectoryKind {
    /// The directory that it is about.
    pub fn parent(self) -> &'static str {
        match self {
            DirectoryKind::Runtime => "/run",
            DirectoryKind::State => "/var/lib",
            DirectoryKind::Cache => "/var/cache",
            DirectoryKind::Logs => "/var/log",
            DirectoryKind::Configuration => "/etc",
        }
    }

    /// The variable that tells the service.
    pub fn variable(self) -> &'static str {
        match self {
            DirectoryKind::Runtime => "RUNTIME_DIRECTORY",
            DirectoryKind::State => "STATE_DIRECTORY",
            DirectoryKind::Cache => "CACHE_DIRECTORY",
            DirectoryKind::Logs => "LOGS_DIRECTORY",
            DirectoryKind::Configuration => "CONFIGURATION_DIRECTORY",
        }
    }
}

/// RuntimeDirectory= and its kin: made before the first process, owned by User= (not Configuration).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Under which parent.
    pub kind: DirectoryKind,
    /// Relative to the parent.
    pub names: Vec<String>,
    /// Links to make: relative to the parent, the name they lead to first.
    pub links: Vec<(String, String)>,
    /// The permission bits.
    pub mode: u32,
}

/// RuntimeDirectoryPreserve=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preserve {
    /// Remove when the unit stops.
    #[default]
    No,
    /// Keep over an automatic restart.
    Restart,
    /// Keep.
    Yes,
}

impl Preserve {
    /// systemd's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Preserve::No => "no",
            Preserve::Restart => "restart",
            Preserve::Yes => "yes",
        }
    }
}
