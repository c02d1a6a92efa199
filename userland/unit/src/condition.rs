//! Condition*= and Assert*=, systemd.unit(5).

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What follows `Condition` or `Assert`: `PathExists`, `Virtualization`, …
    pub name: &'static str,
    /// `|`: one of the so marked must hold.
    pub trigger: bool,
    /// `!`
    pub negate: bool,
    /// What to check it with.
    pub parameter: String,
}
