//! `org.freedesktop.DBus.Properties`. An empty interface name means all of the object's interfaces, as systemd's
//! library has it and `systemctl show` relies on.

use zvariant::{OwnedValue, Value};

use super::{Call, Method, changes, done, reads, values};
use crate::dbus::path::{self, Object};
use crate::dbus::property::{self, Facts, Interface};
use crate::dbus::signals::object as object_path;
use crate::dbus::world::Failure;

pub(super) const METHODS: &[Method] = &[
    reads("Get", "ss", "v", |call, object| {
        let (interface, name): (String, String) = call.message.body()?;
        let (interfaces, mut facts) = look(call, object, Some(&name))?;
        let chosen = choose(interfaces, &interface)?;
        let value = chosen.iter().find_map(|interface| property::one(interface, &name, &mut facts));
        values(&value.ok_or_else(|| {
            let text = format!("Unknown property {name} or interface {interface}.");
            Failure::new("org.freedesktop.DBus.Error.UnknownProperty", text)
        })?)
    }),
    reads("GetAll", "s", "a{sv}", |call, object| {
        let interface: String = call.message.body()?;
        let (interfaces, facts) = look(call, object, None)?;
        values(&property::tell(&choose(interfaces, &interface)?, facts))
    }),
    changes("Set", "ssv", "", |call, object| {
        let (interface, name, value): (String, String, OwnedValue) = call.message.body()?;
        let known = look(call, object, Some(&name))?.0.iter().any(|(known, _)| *known == interface);
        if !known || !can_be_set(&interface, &name) {
            let text = format!("Property '{name}' is not writable.");
            return Err(Failure::new("org.freedesktop.DBus.Error.PropertyReadOnly", text));
        }
        let wrong = || Failure::arguments(format!("Property '{name}' takes another type of value."));
        let word = <&str>::try_from(&*value).map_err(|_| wrong())?;
        let (is_set, what) = match name.as_str() {
            "LogTarget" => (call.world.set_log_target(word), "target"),
            _ => (call.world.set_log_level(word), "level"),
        };
        if is_set { done() } else { Err(Failure::arguments(format!("Invalid log {what} '{word}'"))) }
    }),
];

/// The properties that are set through the bus: how much is logged and where, by both of the log's names.
pub(super) fn can_be_set(interface: &str, name: &str) -> bool {
    matches!(name, "LogLevel" | "LogTarget")
        && matches!(interface, "org.freedesktop.systemd1.Manager" | "org.freedesktop.LogControl1")
}

/// The object's interfaces that have properties, and its true values; where only one of them is asked for, others may
/// be missing.
fn look(
    call: &mut Call<'_>,
    object: &Object,
    only: Option<&str>,
) -> Result<(Vec<Interface>, Facts), Failure> {
    Ok(match object {
        Object::Manager => (vec![property::MANAGER], call.world.manager_facts()),
        Object::Unit(name) => {
            let listed = call.unit(name)?;
            let facts = match only {
                Some(name) => call.world.facts_for(&listed.id, name),
                None => call.world.facts(&listed.id),
            };
            (vec![property::of_type(&listed.id), property::UNIT], facts)
        }
        Object::Job(id) => {
            let job = super::jobs::find(call, *id)?;
            let unit = [job.unit.clone().into(), object_path(path::of_unit(&job.unit)).into()];
            let facts = Facts::from([
                ("Id", Value::from(job.id)),
                ("Unit", property::structure(unit)),
                ("JobType", job.kind.into()),
                ("State", job.state.into()),
            ]);
            (vec![property::JOB], facts)
        }
        Object::Login => (vec![property::LOGIN], super::login::facts(call)),
        Object::LogControl => {
            let (level, target) = (call.world.log_level(), call.world.log_target());
            let facts = Facts::from([("LogLevel", Value::from(level)), ("LogTarget", target.into())]);
            (vec![property::LOG_CONTROL], facts)
        }
        Object::Node => (Vec::new(), Facts::new()),
    })
}

fn choose(interfaces: Vec<Interface>, name: &str) -> Result<Vec<Interface>, Failure> {
    let chosen: Vec<Interface> =
        interfaces.into_iter().filter(|(known, _)| name.is_empty() || *known == name).collect();
    if chosen.is_empty() && !name.is_empty() && !name.starts_with("org.freedesktop.DBus.") {
        let text = format!("Unknown interface {name}.");
        return Err(Failure::new("org.freedesktop.DBus.Error.UnknownInterface", text));
    }
    Ok(chosen)
}
