//! What is true of a unit, as properties: from the engine's [`UnitStatus`] to names and values. A file for each
//! section of unit files.

mod exec;
mod kill;
mod mount;
mod process;
mod resources;
mod sandbox;
mod service;

use unit::{Dependency, JobMode, Role, Stamp, UnitName, UnitStatus};
use zvariant::Value;

use crate::catalog::Directories;

use super::property::{Facts, job, strings, structure};

/// Everything that the engine knows of a unit.
pub fn of_unit(status: &UnitStatus) -> Facts {
    let unit = &status.definition;
    let mut facts = Facts::from([
        ("Id", Value::from(unit.name.to_string())),
        ("Names", names(&status.names)),
        ("Description", unit.description.clone().into()),
        ("Documentation", strings(unit.documentation.iter().cloned())),
        ("LoadState", status.load.as_str().into()),
        ("ActiveState", status.active.as_str().into()),
        ("SubState", status.sub.into()),
        ("FragmentPath", unit.fragment.clone().unwrap_or_default().into()),
        ("SourcePath", unit.source_path.clone().unwrap_or_default().into()),
        ("DropInPaths", strings(unit.drop_ins.iter().cloned())),
        ("RequiresMountsFor", strings(unit.mounts_for.iter().cloned())),
        ("CanStart", (!unit.refuse_manual_start && status.load == unit::LoadState::Loaded).into()),
        ("CanStop", (!unit.refuse_manual_stop).into()),
        (
            "CanReload",
            unit.service().is_some_and(|service| !service.commands(Role::Reload).is_empty()).into(),
        ),
        ("CanIsolate", unit.allow_isolate.into()),
        ("Job", job(status.job.as_ref().map_or(0, |job| job.id.0))),
        ("StopWhenUnneeded", unit.stop_when_unneeded.into()),
        ("RefuseManualStart", unit.refuse_manual_start.into()),
        ("RefuseManualStop", unit.refuse_manual_stop.into()),
        ("AllowIsolate", unit.allow_isolate.into()),
        ("DefaultDependencies", unit.default_dependencies.into()),
        ("IgnoreOnIsolate", unit.ignore_on_isolate.into()),
        ("OnFailureJobMode", mode(unit.on_failure_mode).into()),
        ("OnSuccessJobMode", mode(unit.on_success_mode).into()),
        ("JobTimeoutUSec", unit.job_timeout.into()),
        ("JobRunningTimeoutUSec", unit.job_running_timeout.into()),
        ("ConditionResult", status.condition_result.into()),
        ("AssertResult", status.assert_result.into()),
        ("StartLimitIntervalUSec", unit.start_limit_interval.into()),
        ("StartLimitBurst", unit.start_limit_burst.into()),
        ("InvocationID", Value::Array(invocation(&status.invocation_id).into())),
        ("LoadError", load_error(status)),
    ]);
    for (dependency, units) in status.dependencies.iter().filter(|(kind, _)| **kind != Dependency::Slice) {
        facts.insert(dependency.as_str(), names(units));
    }
    let stamps = [
        ("StateChangeTimestamp", "StateChangeTimestampMonotonic", status.state_change),
        ("InactiveExitTimestamp", "InactiveExitTimestampMonotonic", status.inactive_exit),
        ("ActiveEnterTimestamp", "ActiveEnterTimestampMonotonic", status.active_enter),
        ("ActiveExitTimestamp", "ActiveExitTimestampMonotonic", status.active_exit),
        ("InactiveEnterTimestamp", "InactiveEnterTimestampMonotonic", status.inactive_enter),
        ("ConditionTimestamp", "ConditionTimestampMonotonic", status.condition_stamp),
        ("AssertTimestamp", "AssertTimestampMonotonic", status.assert_stamp),
        ("ExecMainStartTimestamp", "ExecMainStartTimestampMonotonic", status.main_start),
        ("ExecMainExitTimestamp", "ExecMainExitTimestampMonotonic", status.main_exit),
    ];
    for (realtime, monotonic, Stamp { realtime: at, monotonic: since_boot }) in stamps {
        facts.extend([(realtime, at.into()), (monotonic, since_boot.into())]);
    }
    process::tell(status, &mut facts);
    if let Some(service) = unit.service() {
        service::tell(service, &mut facts);
    }
    if let Some(mount) = unit.mount() {
        mount::tell(mount, status, &mut facts);
    }
    resources::tell(unit, &mut facts);
    exec::tell(unit, &mut facts);
    kill::tell(&unit.kill, &mut facts);
    facts
}

/// What the unit directories say of its file.
pub fn of_unit_file(catalog: &Directories, name: &UnitName, facts: &mut Facts) {
    let state = catalog.state(name);
    facts.insert("UnitFileState", state.map_or("", |state| state.as_str()).into());
}

fn names(names: &[UnitName]) -> Value<'static> {
    strings(names.iter().map(|name| name.as_str()))
}

fn invocation(digits: &str) -> Vec<u8> {
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len() / 2).filter_map(|at| byte(at * 2)).collect()
}

fn load_error(status: &UnitStatus) -> Value<'static> {
    let id = &status.definition.name;
    let (name, text) = match status.load {
        unit::LoadState::Loaded => ("", String::new()),
        unit::LoadState::NotFound => ("org.freedesktop.systemd1.NoSuchUnit", format!("Unit {id} not found.")),
        unit::LoadState::Masked => ("org.freedesktop.systemd1.UnitMasked", format!("Unit {id} is masked.")),
        unit::LoadState::BadSetting | unit::LoadState::Error => {
            ("org.freedesktop.systemd1.BadUnitSetting", status.load_error.clone().unwrap_or_default())
        }
    };
    structure([name.into(), text.into()])
}

fn mode(mode: JobMode) -> &'static str {
    match mode {
        JobMode::Fail => "fail",
        JobMode::Replace => "replace",
        JobMode::ReplaceIrreversibly => "replace-irreversibly",
        JobMode::Isolate => "isolate",
        JobMode::Flush => "flush",
        JobMode::IgnoreDependencies => "ignore-dependencies",
        JobMode::IgnoreRequirements => "ignore-requirements",
    }
}
