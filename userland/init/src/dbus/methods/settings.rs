//! Methods that make and change units at run time: transient units, properties, freezing, cleaning, holding.

use std::os::fd::{AsFd, OwnedFd};

use zvariant::OwnedValue;

use super::jobs::{mode_of, name_of};
use super::{Answer, Call, Method, Outcome, changes, done};
use crate::dbus::path::Object;
use crate::dbus::world::Failure;
use unit::{UnitName, UnitType, Verb};

type Properties = Vec<(String, OwnedValue)>;
type Units = Vec<(String, Properties)>;

pub(super) const MANAGER: &[Method] = &[
    changes("StartTransientUnit", "ssa(sv)a(sa(sv))", "o", |call, _| {
        let (name, mode, properties, auxiliary): (String, String, Properties, Units) = call.message.body()?;
        start_transient(call, &name, &mode, properties, auxiliary)
    }),
    changes("SetUnitProperties", "sba(sv)", "", |call, _| {
        let (name, runtime, properties): (String, bool, Properties) = call.message.body()?;
        set_properties(call, &name, runtime, &properties)
    }),
    changes("AttachProcessesToUnit", "ssau", "", |call, _| {
        let (name, below, pids): (String, String, Vec<u32>) = call.message.body()?;
        attach(call, &name, &below, &pids)
    }),
    changes("AbandonScope", "s", "", |call, _| {
        let name: String = call.message.body()?;
        abandon(call, &name)
    }),
    changes("FreezeUnit", "s", "", |call, _| {
        let name: String = call.message.body()?;
        freeze(call, &name, true)
    }),
    changes("ThawUnit", "s", "", |call, _| {
        let name: String = call.message.body()?;
        freeze(call, &name, false)
    }),
    changes("CleanUnit", "sas", "", |call, _| {
        let (name, kinds): (String, Vec<String>) = call.message.body()?;
        clean(call, &name, &kinds)
    }),
    changes("RefUnit", "s", "", |call, _| {
        let name: String = call.message.body()?;
        hold(call, &name, true)
    }),
    changes("UnrefUnit", "s", "", |call, _| {
        let name: String = call.message.body()?;
        hold(call, &name, false)
    }),
    changes("BindMountUnit", "sssbb", "", |_, _| Err(no_mounts())),
    changes("MountImageUnit", "sssbba(ss)", "", |_, _| Err(no_mounts())),
];

pub(super) const UNIT: &[Method] = &[
    changes("SetProperties", "ba(sv)", "", |call, object| {
        let (runtime, properties): (bool, Properties) = call.message.body()?;
        set_properties(call, name_of(object), runtime, &properties)
    }),
    changes("Freeze", "", "", |call, object| freeze(call, name_of(object), true)),
    changes("Thaw", "", "", |call, object| freeze(call, name_of(object), false)),
    changes("Clean", "as", "", |call, object| {
        let kinds: Vec<String> = call.message.body()?;
        clean(call, name_of(object), &kinds)
    }),
    changes("Ref", "", "", |call, object| hold(call, name_of(object), true)),
    changes("Unref", "", "", |call, object| hold(call, name_of(object), false)),
];

pub(super) const TYPED: &[Method] = &[changes("AttachProcesses", "sau", "", |call, object| {
    let (below, pids): (String, Vec<u32>) = call.message.body()?;
    attach(call, name_of(object), &below, &pids)
})];

pub(super) const SERVICE: &[Method] = &[
    changes("BindMount", "ssbb", "", |_, _| Err(no_mounts())),
    changes("MountImage", "ssbba(ss)", "", |_, _| Err(no_mounts())),
];

pub(super) const SCOPE: &[Method] =
    &[changes("Abandon", "", "", |call, object: &Object| abandon(call, name_of(object)))];

fn no_mounts() -> Failure {
    let text = "Mounting into a running unit is not supported; use BindPaths= and restart it.";
    Failure::new("org.freedesktop.DBus.Error.NotSupported", text)
}

/// A property that is about the client rather than the unit.
fn take_flag(properties: &mut Properties, name: &str) -> bool {
    let before = properties.len();
    let mut wanted = false;
    properties.retain(|(property, value)| {
        let this = property == name;
        wanted |= this && bool::try_from(&**value).unwrap_or(false);
        !this
    });
    before != properties.len() && wanted
}

fn start_transient(
    call: &mut Call<'_>,
    name: &str,
    mode: &str,
    mut properties: Properties,
    auxiliary: Units,
) -> Outcome {
    let unit = transient_name(call, name)?;
    let mode = mode_of(mode)?;
    let held = take_flag(&mut properties, "AddRef");
    if held && call.name.is_none() {
        return Err(Failure::arguments(
            "AddRef is for callers on the bus: only there is known when they leave.",
        ));
    }
    let mut made = Vec::new();
    for (name, mut properties) in auxiliary.into_iter().chain([(unit.to_string(), properties)]) {
        let this = transient_name(call, &name)?;
        take_flag(&mut properties, "AddRef");
        own_process(call, &mut properties);
        let handed = take_descriptors(&mut properties)?;
        call.world.make_transient(this.as_str(), &properties, handed)?;
        made.push(this);
    }
    if let (true, Some(holder)) = (held, call.name) {
        call.world.hold(unit.as_str(), holder);
    }
    Ok(Answer::Later(call.world.submit(Verb::Start, unit.as_str(), mode)))
}

/// Streams that the client hands over: the manager keeps them, and the unit's file says by which number.
fn take_descriptors(properties: &mut Properties) -> Result<Vec<OwnedFd>, Failure> {
    let mut handed = Vec::new();
    for (name, value) in properties {
        let Some(stream) = name.strip_suffix("FileDescriptor") else { continue };
        let fd = match &**value {
            zvariant::Value::Fd(fd) => fd.as_fd().try_clone_to_owned().ok(),
            _ => None,
        };
        let fd = fd.ok_or_else(|| Failure::arguments(format!("{name} is no file descriptor.")))?;
        let place = crate::exec::streams::place(&fd);
        *name = stream.to_owned();
        *value = OwnedValue::try_from(zvariant::Value::from(format!("file:{place}")))
            .map_err(|error| Failure::arguments(error.to_string()))?;
        handed.push(fd);
    }
    Ok(handed)
}

/// PIDs= of zero: the caller's own.
fn own_process(call: &Call<'_>, properties: &mut Properties) {
    for (name, value) in properties {
        if name == "PIDs"
            && let Ok(pids) = <Vec<u32>>::try_from(value.clone())
            && pids.contains(&0)
        {
            let pids: Vec<u32> = pids.into_iter().map(|pid| if pid == 0 { call.pid } else { pid }).collect();
            if let Ok(owned) = OwnedValue::try_from(zvariant::Value::from(pids)) {
                *value = owned;
            }
        }
    }
}

fn transient_name(call: &Call<'_>, name: &str) -> Result<UnitName, Failure> {
    let name = call.name(name)?;
    let kind = name.unit_type();
    let possible = matches!(
        kind,
        UnitType::Service
            | UnitType::Scope
            | UnitType::Slice
            | UnitType::Timer
            | UnitType::Path
            | UnitType::Socket
            | UnitType::Mount
            | UnitType::Automount
    );
    if !possible || name.is_template() {
        let text = format!("Unit {name} cannot be made at run time.");
        return Err(Failure::new("org.freedesktop.DBus.Error.NotSupported", text));
    }
    Ok(name)
}

fn set_properties(call: &mut Call<'_>, name: &str, runtime: bool, properties: &Properties) -> Outcome {
    let listed = call.unit(name)?;
    if listed.load == "not-found" {
        return Err(Failure::no_such_unit(name));
    }
    call.world.set_properties(&listed.id, runtime, properties)?;
    done()
}

fn attach(call: &mut Call<'_>, name: &str, below: &str, pids: &[u32]) -> Outcome {
    let unit = if name.is_empty() {
        call.world.unit_of(call.pid).ok_or_else(|| Failure::arguments("The caller is in no unit."))?
    } else {
        call.unit(name)?.id
    };
    let safe = below.split('/').all(|part| !matches!(part, "." | ".."));
    if !safe || below.contains('\0') {
        return Err(Failure::arguments(format!("Control group path is not valid: {below}")));
    }
    let pids: Vec<u32> = pids.iter().map(|pid| if *pid == 0 { call.pid } else { *pid }).collect();
    call.world.attach(&unit, below, &pids)?;
    done()
}

fn abandon(call: &mut Call<'_>, name: &str) -> Outcome {
    let listed = call.unit(name)?;
    if !listed.id.ends_with(".scope") {
        return Err(Failure::arguments(format!("Unit {name} is not a scope.")));
    }
    if listed.active != "active" {
        let text = format!("Scope {name} is not running, cannot abandon.");
        return Err(Failure::new("org.freedesktop.systemd1.ScopeNotRunning", text));
    }
    call.world.abandon(&listed.id);
    done()
}

fn freeze(call: &mut Call<'_>, name: &str, frozen: bool) -> Outcome {
    let listed = call.unit(name)?;
    if listed.load == "not-found" {
        return Err(Failure::no_such_unit(name));
    }
    call.world.freeze(&listed.id, frozen)?;
    done()
}

fn clean(call: &mut Call<'_>, name: &str, kinds: &[String]) -> Outcome {
    let listed = call.unit(name)?;
    if listed.load == "not-found" {
        return Err(Failure::no_such_unit(name));
    }
    call.world.clean(&listed.id, kinds)?;
    done()
}

/// Only who is on the bus can hold a unit: when it leaves, it lets go.
fn hold(call: &mut Call<'_>, name: &str, hold: bool) -> Outcome {
    let listed = call.unit(name)?;
    match (call.name, hold) {
        (Some(holder), true) => call.world.hold(&listed.id, holder),
        (Some(holder), false) => call.world.release(&listed.id, holder),
        (None, _) => {}
    }
    done()
}
