//! The [Mount] section, systemd.mount(5).

use crate::Usec;

/// A mount unit's settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountSettings {
    /// What=
    pub what: String,
    /// Where=: absolute, and it must fit the unit's name.
    pub place: String,
    /// Type=
    pub fs_type: String,
    /// Options=
    pub options: String,
    /// SloppyOptions=
    pub sloppy_options: bool,
    /// LazyUnmount=
    pub lazy_unmount: bool,
    /// ForceUnmount=
    pub force_unmount: bool,
    /// ReadWriteOnly=
    pub read_write_only: bool,
    /// DirectoryMode=
    pub directory_mode: u32,
    /// TimeoutSec=; `INFINITY`: none
    pub timeout: Usec,
}
