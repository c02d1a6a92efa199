//! The [Unit] and [Install] sections, systemd.unit(5).

use super::value::{boolean, number, span, timeout};
use super::{Draft, Outcome, Taken};
use crate::condition::{Check, KINDS};
use crate::unit::EmergencyAction;
use crate::{Dependency, JobMode, Shutdown, UnitName, exec::words};

pub(super) fn unit(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let expand = |text: &str| draft.context.expand(text);
    if let Some(kind) = Dependency::from_directive(key) {
        return dependencies(draft, kind, value);
    }
    for (prefix, asserts) in [("Condition", false), ("Assert", true)] {
        if let Some(name) =
            key.strip_prefix(prefix).and_then(|name| KINDS.iter().find(|known| **known == name))
        {
            return check(draft, name, asserts, value);
        }
    }
    let unit = &mut draft.unit;
    match key {
        "Description" => unit.description = expand(value),
        "Documentation" if value.is_empty() => unit.documentation.clear(),
        "Documentation" => {
            let documentation: Vec<String> = value.split_whitespace().map(expand).collect();
            unit.documentation.extend(documentation);
        }
        "SourcePath" => unit.source_path = Some(expand(value)),
        "RequiresMountsFor" => {
            let paths: Vec<String> =
                words(value).map_err(|error| error.to_string())?.iter().map(|p| expand(p)).collect();
            for path in paths {
                draft.requires_mounts_for(&path)?;
            }
        }
        "StopWhenUnneeded" => unit.stop_when_unneeded = boolean(value)?,
        "RefuseManualStart" => unit.refuse_manual_start = boolean(value)?,
        "RefuseManualStop" => unit.refuse_manual_stop = boolean(value)?,
        "AllowIsolate" => unit.allow_isolate = boolean(value)?,
        "IgnoreOnIsolate" => unit.ignore_on_isolate = boolean(value)?,
        "DefaultDependencies" => unit.default_dependencies = boolean(value)?,
        "OnFailureJobMode" => unit.on_failure_mode = job_mode(value)?,
        "OnFailureIsolate" => {
            unit.on_failure_mode = if boolean(value)? { JobMode::Isolate } else { JobMode::Replace }
        }
        "OnSuccessJobMode" => unit.on_success_mode = job_mode(value)?,
        "JobTimeoutSec" => unit.job_timeout = timeout(value)?,
        "JobRunningTimeoutSec" => unit.job_running_timeout = timeout(value)?,
        "JobTimeoutAction" => unit.job_timeout_action = emergency(value)?,
        "StartLimitIntervalSec" | "StartLimitInterval" => unit.start_limit_interval = span(value)?,
        "StartLimitBurst" => unit.start_limit_burst = number(value)?,
        "StartLimitAction" => unit.start_limit_action = emergency(value)?,
        "FailureAction" => unit.failure_action = emergency(value)?,
        "SuccessAction" => unit.success_action = emergency(value)?,
        "CollectMode" => {
            unit.collect_failed = match value {
                "inactive" => false,
                "inactive-or-failed" => true,
                _ => return Err(format!("\"{value}\" is not a collect mode")),
            }
        }
        // read by other tools, or of no effect for us
        "RebootArgument"
        | "JobTimeoutRebootArgument"
        | "IgnoreOnSnapshot"
        | "SurviveFinalKillSignal"
        | "FailureActionExitStatus"
        | "SuccessActionExitStatus" => {}
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

pub(super) fn install(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let install = &mut draft.unit.install;
    let list = match key {
        "Alias" => &mut install.alias,
        "WantedBy" => &mut install.wanted_by,
        "RequiredBy" => &mut install.required_by,
        "Also" => &mut install.also,
        "DefaultInstance" => {
            install.default_instance = Some(draft.context.expand(value));
            return Ok(Taken::Yes);
        }
        _ => return Ok(Taken::Unknown),
    };
    if value.is_empty() {
        list.clear();
    }
    let context = draft.context;
    list.extend(value.split_whitespace().map(|name| context.expand(name)));
    Ok(Taken::Yes)
}

/// An empty value does not reset: dependencies only add up.
fn dependencies(draft: &mut Draft<'_>, kind: Dependency, value: &str) -> Outcome {
    let mut bad = Vec::new();
    for word in words(value).map_err(|error| error.to_string())? {
        match UnitName::parse(&draft.context.expand(&word)) {
            Ok(name) if !name.is_template() => draft.add(kind, name),
            _ => bad.push(word),
        }
    }
    if bad.is_empty() { Ok(Taken::Yes) } else { Err(format!("not unit names: {}", bad.join(" "))) }
}

/// An empty value forgets every check so far.
fn check(draft: &mut Draft<'_>, name: &'static str, asserts: bool, value: &str) -> Outcome {
    let parameter = value.trim();
    let mut rest = parameter;
    let trigger = rest.strip_prefix('|').map(|after| rest = after.trim_start()).is_some();
    let negate = rest.strip_prefix('!').map(|after| rest = after.trim_start()).is_some();
    let parameter_text = draft.context.expand(rest);
    let list = if asserts { &mut draft.unit.asserts } else { &mut draft.unit.conditions };
    if parameter.is_empty() {
        list.clear();
    } else {
        list.push(Check { name, trigger, negate, parameter: parameter_text });
    }
    Ok(Taken::Yes)
}

fn job_mode(text: &str) -> Result<JobMode, String> {
    Ok(match text {
        "fail" => JobMode::Fail,
        "replace" => JobMode::Replace,
        "replace-irreversibly" => JobMode::ReplaceIrreversibly,
        "isolate" => JobMode::Isolate,
        "flush" => JobMode::Flush,
        "ignore-dependencies" => JobMode::IgnoreDependencies,
        "ignore-requirements" => JobMode::IgnoreRequirements,
        _ => return Err(format!("\"{text}\" is not a job mode")),
    })
}

fn emergency(text: &str) -> Result<EmergencyAction, String> {
    use EmergencyAction::{Immediate, None, Orderly};
    Ok(match text {
        "none" => None,
        "reboot" => Orderly(Shutdown::Reboot),
        "reboot-force" | "reboot-immediate" => Immediate(Shutdown::Reboot),
        "poweroff" => Orderly(Shutdown::PowerOff),
        "poweroff-force" | "poweroff-immediate" => Immediate(Shutdown::PowerOff),
        "exit" => Orderly(Shutdown::Exit(0)),
        "exit-force" => Immediate(Shutdown::Exit(0)),
        "halt" => Orderly(Shutdown::Halt),
        "halt-force" | "halt-immediate" => Immediate(Shutdown::Halt),
        "kexec" => Orderly(Shutdown::Kexec),
        "kexec-force" => Immediate(Shutdown::Kexec),
        _ => return Err(format!("\"{text}\" is not an action")),
    })
}
