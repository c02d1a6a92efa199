//! The [Automount] section, systemd.automount(5).

use crate::Usec;

/// An automount's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutomountSettings {
    /// Where=: absolute, and it must fit the unit's name
    pub place: String,
    /// ExtraOptions=
    pub options: String,
    /// DirectoryMode=
    pub directory_mode: u32,
    /// TimeoutIdleSec=; zero: never
    pub idle: Usec,
}

impl Default for AutomountSettings {
    fn default() -> Self {
        AutomountSettings { place: String::new(), options: String::new(), directory_mode: 0o755, idle: 0 }
    }
}
