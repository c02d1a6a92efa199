//! What paths, automounts, swaps and devices tell besides the settings of their unit and processes.
//!
//! Names, types and defaults as systemd 252 reports them, in its order (org.freedesktop.systemd1(5)).

use unit::{Details, UnitStatus};
use zvariant::Value;

use super::{Default::*, Facts, Property, array, structure};

/// The part of the interface `Path` that no other type has.
pub const PATH: &[Property] = &[
    ("Unit", Str("")),
    ("Paths", Empty("a(ss)")),
    ("MakeDirectory", Bool(false)),
    ("DirectoryMode", U32(0o755)),
    ("Result", Str("success")),
    ("TriggerLimitIntervalUSec", U64(2_000_000)),
    ("TriggerLimitBurst", U32(200)),
];

/// The part of the interface `Automount` that no other type has.
pub const AUTOMOUNT: &[Property] = &[
    ("Where", Str("")),
    ("ExtraOptions", Str("")),
    ("DirectoryMode", U32(0o755)),
    ("Result", Str("success")),
    ("TimeoutIdleUSec", U64(0)),
];

/// The part of the interface `Swap` that no other type has.
pub const SWAP: &[Property] = &[
    ("What", Str("")),
    ("Priority", I32(-1)),
    ("Options", Str("")),
    ("TimeoutUSec", U64(90_000_000)),
    ("ControlPID", U32(0)),
    ("Result", Str("success")),
    ("UID", U32(u32::MAX)),
    ("GID", U32(u32::MAX)),
    ("ExecActivate", Empty("a(sasbttttuii)")),
    ("ExecDeactivate", Empty("a(sasbttttuii)")),
];

/// The part of the interface `Device` that no other type has.
pub const DEVICE: &[Property] = &[("SysFSPath", Str(""))];

/// The true values of these types and of scopes; and how many descriptors a service has stored.
pub fn facts(status: &UnitStatus, facts: &mut Facts) {
    let unit = &status.definition;
    if let Some(path) = unit.path() {
        let pair = |kind: &'static str, path: &String| structure([kind.into(), path.clone().into()]);
        facts.extend([
            ("Unit", super::triggered(status)),
            // the last one first, as systemd has them
            ("Paths", array("(ss)", path.paths.iter().rev().map(|(kind, path)| pair(kind.as_str(), path)))),
            ("MakeDirectory", path.make_directory.into()),
            ("DirectoryMode", path.directory_mode.into()),
            ("TriggerLimitIntervalUSec", path.trigger_interval.into()),
            ("TriggerLimitBurst", path.trigger_burst.into()),
        ]);
    }
    if let Some(automount) = unit.automount() {
        facts.extend([
            ("Where", Value::from(automount.place.clone())),
            ("ExtraOptions", automount.options.clone().into()),
            ("DirectoryMode", automount.directory_mode.into()),
            ("TimeoutIdleUSec", automount.idle.into()),
        ]);
    }
    if let Some(swap) = unit.swap() {
        let active = match status.details {
            Details::Swap { priority } => priority,
            _ => None,
        };
        facts.extend([
            ("What", Value::from(swap.what.clone())),
            ("Priority", active.unwrap_or(swap.priority).into()),
            ("Options", swap.options.clone().into()),
            ("TimeoutUSec", swap.timeout.into()),
        ]);
    }
    if let Some(scope) = unit.scope() {
        facts.extend([
            ("TimeoutStopUSec", Value::from(scope.timeout_stop)),
            ("RuntimeMaxUSec", scope.runtime_max.into()),
            ("RuntimeRandomizedExtraUSec", scope.runtime_randomized_extra.into()),
            ("OOMPolicy", scope.oom_policy.clone().into()),
        ]);
    }
    if let Details::Service { stored } = &status.details {
        facts.insert("NFileDescriptorStore", (*stored).into());
    }
    if let Details::Device { sysfs, description } = &status.details {
        facts.insert("SysFSPath", sysfs.clone().into());
        if unit.fragment.is_none() && !description.is_empty() {
            facts.insert("Description", description.clone().into());
        }
    }
}
