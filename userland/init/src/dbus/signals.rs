//! What the manager tells all clients.

use std::collections::HashMap;

use zvariant::{ObjectPath, Value};

use super::property::{self, Default, Interface};
use super::world::World;
use super::{ROOT, path};
use wire::{Malformed, Message};

const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// An object path as a value; `/` when it is none.
pub fn object(path: String) -> ObjectPath<'static> {
    ObjectPath::try_from(path).unwrap_or(ObjectPath::from_static_str_unchecked("/"))
}

/// `JobNew`.
///
/// # Errors
/// The name cannot be marshalled.
pub fn job_new(job: u32, unit: &str) -> Result<Message, Malformed> {
    Message::signal(ROOT, MANAGER, "JobNew").with(&(job, object(path::of_job(job)), unit))
}

/// `JobRemoved`.
///
/// # Errors
/// The name cannot be marshalled.
pub fn job_removed(job: u32, unit: &str, result: &str) -> Result<Message, Malformed> {
    Message::signal(ROOT, MANAGER, "JobRemoved").with(&(job, object(path::of_job(job)), unit, result))
}

/// `UnitNew`.
///
/// # Errors
/// The name cannot be marshalled.
pub fn unit_new(unit: &str) -> Result<Message, Malformed> {
    Message::signal(ROOT, MANAGER, "UnitNew").with(&(unit, object(path::of_unit(unit))))
}

/// `StartupFinished`.
///
/// # Errors
/// None today.
pub fn startup_finished(times: [u64; 6]) -> Result<Message, Malformed> {
    let [firmware, loader, kernel, initrd, userspace, total] = times;
    Message::signal(ROOT, MANAGER, "StartupFinished")
        .with(&(firmware, loader, kernel, initrd, userspace, total))
}

/// `UnitRemoved`.
///
/// # Errors
/// The name cannot be marshalled.
pub fn unit_removed(unit: &str) -> Result<Message, Malformed> {
    Message::signal(ROOT, MANAGER, "UnitRemoved").with(&(unit, object(path::of_unit(unit))))
}

/// `Reloading`.
///
/// # Errors
/// None today.
pub fn reloading(active: bool) -> Result<Message, Malformed> {
    Message::signal(ROOT, MANAGER, "Reloading").with(&active)
}

/// `UnitFilesChanged`.
///
/// # Errors
/// None today.
pub fn unit_files_changed() -> Result<Message, Malformed> {
    Ok(Message::signal(ROOT, MANAGER, "UnitFilesChanged"))
}

/// What `PropertiesChanged` carries of a unit: its states and times.
const CHANGING: [&str; 18] = [
    "ActiveState",
    "SubState",
    "StateChangeTimestamp",
    "StateChangeTimestampMonotonic",
    "InactiveExitTimestamp",
    "InactiveExitTimestampMonotonic",
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "ActiveExitTimestamp",
    "ActiveExitTimestampMonotonic",
    "InactiveEnterTimestamp",
    "InactiveEnterTimestampMonotonic",
    "Job",
    "ConditionResult",
    "AssertResult",
    "ConditionTimestamp",
    "ConditionTimestampMonotonic",
    "InvocationID",
];

/// The same of its own type.
const CHANGING_OF_TYPE: [&str; 14] = [
    "MainPID",
    "ControlPID",
    "StatusText",
    "StatusErrno",
    "Result",
    "NRestarts",
    "ExecMainStartTimestamp",
    "ExecMainStartTimestampMonotonic",
    "ExecMainExitTimestamp",
    "ExecMainExitTimestampMonotonic",
    "ExecMainPID",
    "ExecMainCode",
    "ExecMainStatus",
    "ControlGroup",
];

/// `PropertiesChanged` of a unit in memory, first of its own type, then of all units' interface.
pub fn changed(world: &dyn World, unit: &str) -> Vec<Message> {
    let Some(listed) = world.unit(unit) else { return Vec::new() };
    let mut facts = world.state_facts(&listed.id);
    let mut signal = |interface: Interface, names: &[&'static str]| {
        let values: HashMap<&str, Value<'static>> = names
            .iter()
            .filter_map(|name| property::one(&interface, name, &mut facts).map(|value| (*name, value)))
            .collect();
        let signal = Message::signal(&path::of_unit(&listed.id), PROPERTIES, "PropertiesChanged");
        let invalidated: [&str; 0] = [];
        (!values.is_empty())
            .then(|| signal.with(&(interface.0, values, invalidated.as_slice())).ok())
            .flatten()
    };
    let of_type = signal(property::of_type(&listed.id), &CHANGING_OF_TYPE);
    of_type.into_iter().chain(signal(property::UNIT, &CHANGING)).collect()
}

/// The signals of the manager, for introspection: name and types.
pub const SIGNALS: [(&str, &str); 7] = [
    ("UnitNew", "so"),
    ("StartupFinished", "tttttt"),
    ("UnitRemoved", "so"),
    ("JobNew", "uos"),
    ("JobRemoved", "uoss"),
    ("Reloading", "b"),
    ("UnitFilesChanged", ""),
];

/// The type of a default, for introspection.
pub fn signature(default: Default) -> String {
    default.value().value_signature().to_string()
}
