//! What mounts and scopes tell besides their unit, resource, execution and kill settings.
//!
//! Names, types and defaults as systemd 252 reports them, in its order (org.freedesktop.systemd1(5)).

use super::{Default::*, Property};

/// The part of the interface `Mount` that no other type has.
pub const MOUNT: &[Property] = &[
    ("Where", Str("")),
    ("What", Str("")),
    ("Options", Str("")),
    ("Type", Str("")),
    ("TimeoutUSec", U64(90000000)),
    ("ControlPID", U32(0)),
    ("DirectoryMode", U32(0o755)),
    ("SloppyOptions", Bool(false)),
    ("LazyUnmount", Bool(false)),
    ("ForceUnmount", Bool(false)),
    ("ReadWriteOnly", Bool(false)),
    ("Result", Str("success")),
    ("UID", U32(u32::MAX)),
    ("GID", U32(u32::MAX)),
    ("ExecMount", Empty("a(sasbttttuii)")),
    ("ExecUnmount", Empty("a(sasbttttuii)")),
    ("ExecRemount", Empty("a(sasbttttuii)")),
];

/// The part of the interface `Scope` that no other type has.
pub const SCOPE: &[Property] = &[
    ("Controller", Str("")),
    ("TimeoutStopUSec", U64(90000000)),
    ("Result", Str("success")),
    ("RuntimeMaxUSec", U64(u64::MAX)),
    ("RuntimeRandomizedExtraUSec", U64(0)),
    ("OOMPolicy", Str("continue")),
];
