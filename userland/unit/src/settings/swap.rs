//! The [Swap] section, systemd.swap(5).

use crate::Usec;

/// A swap's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapSettings {
    /// What=: a device or a file, absolute; it must fit the unit's name
    pub what: String,
    /// Priority=; −1: the kernel's choice
    pub priority: i32,
    /// Options=, comma separated
    pub options: String,
    /// TimeoutSec=; `INFINITY`: none
    pub timeout: Usec,
}

impl Default for SwapSettings {
    fn default() -> Self {
        SwapSettings { what: String::new(), priority: -1, options: String::new(), timeout: 90_000_000 }
    }
}
