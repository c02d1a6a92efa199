//! How a unit's processes are ended.
//!
//! Names, types and defaults as systemd 252 reports them, in its order (org.freedesktop.systemd1(5)).

use super::{Default::*, Property};

/// systemd.kill(5).
pub const KILL: &[Property] = &[
    ("KillMode", Str("control-group")),
    ("KillSignal", I32(15)),
    ("RestartKillSignal", I32(15)),
    ("FinalKillSignal", I32(9)),
    ("SendSIGKILL", Bool(true)),
    ("SendSIGHUP", Bool(false)),
    ("WatchdogSignal", I32(6)),
];
