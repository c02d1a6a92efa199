//! Command lines of Exec*=, systemd.service(5): prefixes, quoting, `;`.

use crate::CommandFlags;

/// A command line as loaded: specifiers resolved, variables not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: absolute, or a name for `PATH`.
    pub path: String,
    /// Its arguments, the zeroth included.
    pub argv: Vec<String>,
    /// The prefixes.
    pub flags: CommandFlags,
}
