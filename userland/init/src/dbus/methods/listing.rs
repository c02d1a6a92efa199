//! Methods that find and list units and their processes.

use zvariant::{ObjectPath, Value};

use super::jobs::name_of;
use super::{Call, Method, Outcome, reads, values};
use crate::dbus::glob;
use crate::dbus::path;
use crate::dbus::signals::object as object_path;
use crate::dbus::world::{Failure, Listed};

pub(super) const MANAGER: &[Method] = &[
    reads("GetUnit", "s", "o", |call, _| {
        let name: String = call.message.body()?;
        let name = call.name(&name)?;
        let listed = call.world.unit(name.as_str()).ok_or_else(|| {
            Failure::new("org.freedesktop.systemd1.NoSuchUnit", format!("Unit {name} not loaded."))
        })?;
        values(&object_path(path::of_unit(&listed.id)))
    }),
    reads("LoadUnit", "s", "o", |call, _| {
        let name: String = call.message.body()?;
        let listed = call.unit(&name)?;
        values(&object_path(path::of_unit(&listed.id)))
    }),
    reads("GetUnitByPID", "u", "o", |call, _| {
        let pid: u32 = call.message.body()?;
        let pid = if pid == 0 { call.pid } else { pid };
        let name = call.world.unit_of(pid).ok_or_else(|| {
            let text = format!("PID {pid} does not belong to any loaded unit.");
            Failure::new("org.freedesktop.systemd1.NoUnitForPID", text)
        })?;
        values(&object_path(path::of_unit(&name)))
    }),
    reads("GetUnitByControlGroup", "s", "o", |call, _| {
        let cgroup: String = call.message.body()?;
        let units = cgroup.rsplit('/').filter_map(|part| call.world.unit(part));
        let unit = units.into_iter().next().ok_or_else(|| {
            let text = format!("Control group '{cgroup}' is not valid or not managed by this instance");
            Failure::new("org.freedesktop.systemd1.NoSuchUnit", text)
        })?;
        values(&object_path(path::of_unit(&unit.id)))
    }),
    reads("GetUnitByInvocationID", "ay", "o", |call, _| {
        let id: Vec<u8> = call.message.body()?;
        let wanted = Value::from(id.clone());
        let is = |unit: &Listed| call.world.state_facts(&unit.id).get("InvocationID") == Some(&wanted);
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let unit =
            call.world.units().into_iter().find(|unit| id.len() == 16 && is(unit)).ok_or_else(|| {
                let text = format!("No unit with the specified invocation ID {hex} known.");
                Failure::new("org.freedesktop.systemd1.NoUnitForInvocationID", text)
            })?;
        values(&object_path(path::of_unit(&unit.id)))
    }),
    reads("ListUnits", "", "a(ssssssouso)", |call, _| list(call.world.units(), &[], &[])),
    reads("ListUnitsFiltered", "as", "a(ssssssouso)", |call, _| {
        let states: Vec<String> = call.message.body()?;
        list(call.world.units(), &states, &[])
    }),
    reads("ListUnitsByPatterns", "asas", "a(ssssssouso)", |call, _| {
        let (states, patterns): (Vec<String>, Vec<String>) = call.message.body()?;
        list(call.world.units(), &states, &patterns)
    }),
    reads("ListUnitsByNames", "as", "a(ssssssouso)", |call, _| {
        let names: Vec<String> = call.message.body()?;
        let units = names.iter().filter_map(|name| call.unit(name).ok()).collect();
        list(units, &[], &[])
    }),
    reads("GetUnitProcesses", "s", "a(sus)", |call, _| {
        let name: String = call.message.body()?;
        processes(call, &name)
    }),
];

pub(super) const TYPED: &[Method] =
    &[reads("GetProcesses", "", "a(sus)", |call, object| processes(call, name_of(object)))];

fn processes(call: &mut Call<'_>, name: &str) -> Outcome {
    let listed = call.unit(name)?;
    values(&call.world.processes(&listed.id))
}

type Line = (
    String,
    String,
    &'static str,
    &'static str,
    &'static str,
    String,
    ObjectPath<'static>,
    u32,
    &'static str,
    ObjectPath<'static>,
);

/// The units in one of these states and with one of these names; none given: all.
fn list(units: Vec<Listed>, states: &[String], patterns: &[String]) -> Outcome {
    let stated = |unit: &Listed| {
        states.is_empty()
            || states.iter().any(|state| [unit.load, unit.sub, unit.active].contains(&state.as_str()))
    };
    let named = |unit: &Listed| {
        patterns.is_empty() || patterns.iter().any(|pattern| glob::matches(pattern, &unit.id))
    };
    let line = |unit: Listed| -> Line {
        let (job, kind) = unit.job.unwrap_or((0, ""));
        let (object, job_object) = (object_path(path::of_unit(&unit.id)), object_path(path::of_job(job)));
        (
            unit.id,
            unit.description,
            unit.load,
            unit.active,
            unit.sub,
            String::new(),
            object,
            job,
            kind,
            job_object,
        )
    };
    let lines: Vec<Line> = units.into_iter().filter(|unit| stated(unit) && named(unit)).map(line).collect();
    values(&lines)
}
