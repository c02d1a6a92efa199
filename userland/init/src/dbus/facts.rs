//! What is true of a unit, as properties: from the engine's [`UnitStatus`] to names and values. A file for each
//! section of unit files.

mod exec;
mod kill;
pub mod manager;
mod mount;
mod process;
mod resources;
mod sandbox;
mod service;

use unit::settings::DirectoryKind;
use unit::{Dependency, JobMode, LoadState, Role, Stamp, Unit, UnitName, UnitStatus, UnitType};
use zvariant::Value;

use crate::catalog::Directories;

use super::property::{Facts, job, strings, structure};

/// Everything that the engine knows of a unit.
pub fn of_unit(status: &UnitStatus) -> Facts {
    let unit = &status.definition;
    let kind = unit.unit_type();
    // devices come and go by themselves
    let has_start = kind != UnitType::Device;
    let starts = has_start && !unit.refuse_manual_start && status.load == LoadState::Loaded;
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
        ("CanStart", starts.into()),
        ("CanStop", (!unit.name.is_perpetual() && has_start && !unit.refuse_manual_stop).into()),
        ("CanReload", can_reload(status).into()),
        ("CanIsolate", (unit.allow_isolate && starts).into()),
        ("CanClean", strings(cleanable(unit))),
        ("CanFreeze", matches!(kind, UnitType::Service | UnitType::Slice | UnitType::Scope).into()),
        ("Perpetual", unit.name.is_perpetual().into()),
        ("CollectMode", if unit.collect_failed { "inactive-or-failed" } else { "inactive" }.into()),
        ("JobTimeoutAction", unit.job_timeout_action.as_str().into()),
        ("JobTimeoutRebootArgument", unit.job_timeout_reboot_argument.clone().unwrap_or_default().into()),
        ("StartLimitAction", unit.start_limit_action.as_str().into()),
        ("FailureAction", unit.failure_action.as_str().into()),
        ("SuccessAction", unit.success_action.as_str().into()),
        ("FailureActionExitStatus", unit.failure_exit_status.map_or(-1, i32::from).into()),
        ("SuccessActionExitStatus", unit.success_exit_status.map_or(-1, i32::from).into()),
        ("RebootArgument", unit.reboot_argument.clone().unwrap_or_default().into()),
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
        service::tell(service, status.inactive_exit.monotonic > 0, &mut facts);
    }
    if let Some(mount) = unit.mount() {
        mount::tell(mount, status, &mut facts);
    }
    resources::tell(unit, &mut facts);
    exec::tell(unit, &mut facts);
    kill::tell(&unit.kill, &mut facts);
    super::property::of_own_type(status, &mut facts);
    facts
}

/// What the unit directories say of its file.
pub fn of_unit_file(catalog: &Directories, unit: &Unit, facts: &mut Facts) {
    let Some(file) = &unit.fragment else { return };
    let state = catalog.state(&unit.name);
    facts.insert("UnitFileState", state.map_or("", |state| state.as_str()).into());
    let preset = catalog.preset(file).map_or("", |on| if on { "enabled" } else { "disabled" });
    facts.insert("UnitFilePreset", preset.into());
}

fn names(names: &[UnitName]) -> Value<'static> {
    strings(names.iter().map(|name| name.as_str()))
}

fn invocation(digits: &str) -> Vec<u8> {
    let byte = |at: usize| digits.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..digits.len() / 2).filter_map(|at| byte(at * 2)).collect()
}

fn can_reload(status: &UnitStatus) -> bool {
    let unit = &status.definition;
    let propagates =
        status.dependencies.get(&Dependency::PropagatesReloadTo).is_some_and(|to| !to.is_empty());
    match unit.unit_type() {
        UnitType::Service => unit.service().is_some_and(|it| !it.commands(Role::Reload).is_empty()),
        UnitType::Mount => true,
        _ => propagates,
    }
}

/// What `systemctl clean` would find to remove.
fn cleanable(unit: &Unit) -> Vec<&'static str> {
    let kinds = [
        (DirectoryKind::Runtime, "runtime"),
        (DirectoryKind::State, "state"),
        (DirectoryKind::Cache, "cache"),
        (DirectoryKind::Logs, "logs"),
        (DirectoryKind::Configuration, "configuration"),
    ];
    if unit.load != LoadState::Loaded {
        return Vec::new();
    }
    if unit.timer().is_some_and(|timer| timer.persistent) {
        return vec!["state"];
    }
    let has = |kind| unit.exec.directories.iter().any(|set| set.kind == kind && !set.names.is_empty());
    kinds.into_iter().filter(|(kind, _)| has(*kind)).map(|(_, name)| name).collect()
}

fn load_error(status: &UnitStatus) -> Value<'static> {
    let id = &status.definition.name;
    let (name, text) = match status.load {
        LoadState::Loaded => ("", String::new()),
        LoadState::NotFound => ("org.freedesktop.systemd1.NoSuchUnit", format!("Unit {id} not found.")),
        LoadState::Masked => ("org.freedesktop.systemd1.UnitMasked", format!("Unit {id} is masked.")),
        LoadState::BadSetting => {
            ("org.freedesktop.systemd1.BadUnitSetting", format!("Unit {id} has a bad unit file setting."))
        }
        LoadState::Error => {
            let why = status.load_error.as_deref().unwrap_or_default();
            let name = match why {
                "Bad message" => "org.freedesktop.DBus.Error.InconsistentMessage",
                _ => "org.freedesktop.DBus.Error.InvalidArgs",
            };
            let advice = "failed to load properly, please adjust/correct and reload service manager";
            (name, format!("Unit {id} {advice}: {why}"))
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
