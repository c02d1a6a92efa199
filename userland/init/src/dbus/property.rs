//! Properties: tables of what systemd 252 has, with defaults, over which the true values are laid.
//!
//! A table says name, type and default; [`tell`] gives a whole interface in the table's order. A true value of the
//! wrong type is left out rather than sent: a client trusts the signature. Source: org.freedesktop.systemd1(5).

pub mod exec;
pub mod kill;
pub mod manager;
pub mod mount;
pub mod path;
pub mod resources;
pub mod service;
pub mod socket;
pub mod text;
pub mod timer;
pub mod unit;

use std::collections::HashMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use zvariant::{Array, ObjectPath, Signature, Structure, StructureBuilder, Type, Value};

/// A property's value where nothing better is known.
#[derive(Debug, Clone, Copy)]
pub enum Default {
    /// `s`
    Str(&'static str),
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `d`
    Double(f64),
    /// The empty value of this signature: no elements, zeros, empty strings.
    Empty(&'static str),
}

/// Name and default.
pub type Property = (&'static str, Default);
/// True values by property name.
pub type Facts = HashMap<&'static str, Value<'static>>;
/// Names and values in the order in which they are told.
#[derive(Debug, std::default::Default)]
pub struct Told(pub Vec<(&'static str, Value<'static>)>);

impl Default {
    /// As a value.
    pub fn value(self) -> Value<'static> {
        match self {
            Default::Str(text) => text.into(),
            Default::Bool(value) => value.into(),
            Default::Byte(value) => value.into(),
            Default::U16(value) => value.into(),
            Default::I32(value) => value.into(),
            Default::U32(value) => value.into(),
            Default::U64(value) => value.into(),
            Default::Double(value) => value.into(),
            Default::Empty(signature) => {
                Signature::try_from(signature).map_or(Value::U8(0), |signature| empty(&signature))
            }
        }
    }
}

/// The empty value of a type.
fn empty(signature: &Signature) -> Value<'static> {
    match signature {
        Signature::Bool => false.into(),
        Signature::I32 => 0i32.into(),
        Signature::I64 => 0i64.into(),
        Signature::U16 => 0u16.into(),
        Signature::U32 => 0u32.into(),
        Signature::U64 => 0u64.into(),
        Signature::Str => "".into(),
        Signature::ObjectPath => ObjectPath::from_static_str_unchecked("/").into(),
        Signature::Array(element) => Value::Array(Array::new(element.signature())),
        Signature::Structure(fields) => structure(fields.iter().map(empty)),
        _ => 0u8.into(),
    }
}

/// A struct of these fields.
pub fn structure(fields: impl IntoIterator<Item = Value<'static>>) -> Value<'static> {
    let builder = fields.into_iter().fold(StructureBuilder::new(), StructureBuilder::append_field);
    builder.build().map_or(Value::U8(0), Value::Structure)
}

/// An array of these elements, all of the type `signature`; others are left out.
pub fn array(signature: &'static str, elements: impl IntoIterator<Item = Value<'static>>) -> Value<'static> {
    let element = Signature::try_from(signature).unwrap_or(Signature::U8);
    let mut array = Array::new(&element);
    for value in elements {
        let _ = array.append(value);
    }
    Value::Array(array)
}

/// An array of strings.
pub fn strings<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Value<'static> {
    Value::Array(texts.into_iter().map(Into::into).collect::<Vec<String>>().into())
}

/// An interface: its name and the tables that make it up.
pub type Interface = (&'static str, &'static [&'static [Property]]);

/// The interface that all units have.
pub const UNIT: Interface = ("org.freedesktop.systemd1.Unit", &[unit::UNIT]);
/// The manager's.
pub const MANAGER: Interface = ("org.freedesktop.systemd1.Manager", &[manager::MANAGER]);
/// logind's manager's, as far as power goes.
pub const LOGIN: Interface = ("org.freedesktop.login1.Manager", &[manager::LOGIN]);
/// The log's.
pub const LOG_CONTROL: Interface = ("org.freedesktop.LogControl1", &[manager::LOG_CONTROL]);
/// A job's.
pub const JOB: Interface = ("org.freedesktop.systemd1.Job", &[manager::JOB]);

/// The interface of a unit's own type, by the suffix of its name.
pub fn of_type(name: &str) -> Interface {
    match name.rsplit('.').next().unwrap_or_default() {
        "service" => (
            "org.freedesktop.systemd1.Service",
            &[service::SERVICE, resources::RESOURCES, exec::EXEC, kill::KILL],
        ),
        "mount" => {
            ("org.freedesktop.systemd1.Mount", &[mount::MOUNT, resources::RESOURCES, exec::EXEC, kill::KILL])
        }
        "slice" => ("org.freedesktop.systemd1.Slice", &[resources::RESOURCES]),
        "scope" => ("org.freedesktop.systemd1.Scope", &[mount::SCOPE, resources::RESOURCES, kill::KILL]),
        "socket" => (
            "org.freedesktop.systemd1.Socket",
            &[socket::SOCKET, resources::RESOURCES, exec::EXEC, kill::KILL],
        ),
        "timer" => ("org.freedesktop.systemd1.Timer", &[timer::TIMER]),
        "path" => ("org.freedesktop.systemd1.Path", &[path::PATH]),
        "device" => ("org.freedesktop.systemd1.Device", &[path::DEVICE]),
        "swap" => {
            ("org.freedesktop.systemd1.Swap", &[path::SWAP, resources::RESOURCES, exec::EXEC, kill::KILL])
        }
        "automount" => ("org.freedesktop.systemd1.Automount", &[path::AUTOMOUNT]),
        _ => ("org.freedesktop.systemd1.Target", &[]),
    }
}

/// The values that only some types of units have, sockets to devices.
pub fn of_own_type(status: &::unit::UnitStatus, facts: &mut Facts) {
    if let Some(settings) = status.definition.socket() {
        socket::facts(status, settings, facts);
    }
    if let Some(settings) = status.definition.timer() {
        timer::facts(status, settings, facts);
    }
    path::facts(status, facts);
}

/// What a timer or path starts.
fn triggered(status: &::unit::UnitStatus) -> Value<'static> {
    let unit = status.definition.names(::unit::Dependency::Triggers).next();
    unit.map(|unit| unit.to_string()).unwrap_or_default().into()
}

/// One property of an interface.
pub fn one(interface: &Interface, name: &str, facts: &mut Facts) -> Option<Value<'static>> {
    let (name, default) = interface.1.iter().copied().flatten().find(|(known, _)| *known == name)?;
    Some(settle(name, *default, facts))
}

/// All properties of these interfaces.
pub fn tell(interfaces: &[Interface], mut facts: Facts) -> Told {
    let properties = interfaces.iter().flat_map(|(_, tables)| tables.iter().copied().flatten());
    Told(properties.map(|(name, default)| (*name, settle(name, *default, &mut facts))).collect())
}

fn settle(name: &str, default: Default, facts: &mut Facts) -> Value<'static> {
    let default = default.value();
    facts.remove(name).filter(|value| value.value_signature() == default.value_signature()).unwrap_or(default)
}

impl Type for Told {
    const SIGNATURE: &'static Signature = <HashMap<String, Value<'static>> as Type>::SIGNATURE;
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A job as a unit's property `Job` tells it.
pub fn job(id: u32) -> Value<'static> {
    let path =
        ObjectPath::try_from(super::path::of_job(id)).unwrap_or(ObjectPath::from_static_str_unchecked("/"));
    Value::Structure(Structure::from((id, path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Body, Message};
    use zvariant::OwnedValue;

    #[test]
    fn every_default_has_the_type_that_it_names() {
        let all = [
            UNIT,
            MANAGER,
            JOB,
            of_type("a.service"),
            of_type("a.mount"),
            of_type("a.slice"),
            of_type("a.scope"),
            of_type("a.socket"),
            of_type("a.timer"),
            of_type("a.path"),
            of_type("a.automount"),
            of_type("a.swap"),
            of_type("a.device"),
        ];
        for (name, default) in all.iter().flat_map(|(_, tables)| tables.iter().copied().flatten()) {
            if let Default::Empty(signature) = default {
                assert_eq!(default.value().value_signature().to_string(), *signature, "{name}");
            }
        }
    }

    #[test]
    fn a_whole_interface_travels() {
        let facts = Facts::from([("Id", Value::from("a.service")), ("Description", Value::from(5u32))]);
        let told = tell(&[of_type("a.service"), UNIT], facts);
        assert_eq!(told.0.len(), 303 + 98);
        let message = Message::reply(1).with_body(Body::of(&told).unwrap()).unwrap();
        let read: HashMap<String, OwnedValue> = message.body().unwrap();
        assert_eq!(read.len(), 401);
        assert_eq!(*read["Id"], Value::from("a.service"));
        assert_eq!(*read["Description"], Value::from(""), "a fact of the wrong type is left out");
    }
}
