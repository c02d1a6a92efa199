//! The [Unit] and [Install] sections, systemd.unit(5).

use super::value::{absolute, boolean, number, span, timeout};
use super::{Draft, Outcome, Taken};
use crate::condition::{Check, KINDS};
use crate::{
    Dependency, EmergencyAction, JobMode, UnitName, UnitType,
    exec::{plain_words, words},
};

pub(super) fn unit(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
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
        "Description" => unit.description = context.resolve(value)?,
        "Documentation" if value.is_empty() => unit.documentation.clear(),
        "Documentation" => {
            let uris = words(&context.resolve(value)?).map_err(|error| error.to_string())?;
            let (good, bad): (Vec<String>, Vec<String>) =
                uris.into_iter().partition(|uri| is_documentation(uri));
            unit.documentation.extend(good);
            if !bad.is_empty() {
                return Err(format!("Invalid URL: {}", bad.join(" ")));
            }
        }
        "SourcePath" if value.is_empty() => unit.source_path = None,
        "SourcePath" => unit.source_path = Some(absolute(&context.resolve(value)?)?),
        "RequiresMountsFor" => {
            let mut bad = Vec::new();
            for word in plain_words(value).map_err(|error| error.to_string())? {
                let resolved = context.resolve(&word).map_err(|error| error.to_string());
                match resolved.and_then(|word| absolute(&word)) {
                    Ok(path) => _ = unit.mounts_for.insert(path),
                    Err(why) => bad.push(why),
                }
            }
            if !bad.is_empty() {
                return Err(bad.join("; "));
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
        "JobTimeoutSec" => {
            unit.job_timeout = timeout(value)?;
            if !draft.set.contains("JobRunningTimeoutSec") {
                unit.job_running_timeout = unit.job_timeout;
            }
        }
        "JobRunningTimeoutSec" => {
            unit.job_running_timeout = timeout(value)?;
            draft.set.insert("JobRunningTimeoutSec");
        }
        "JobTimeoutRebootArgument" => unit.job_timeout_reboot_argument = optional(context.resolve(value)?),
        "JobTimeoutAction" => unit.job_timeout_action = emergency(value)?,
        "StartLimitIntervalSec" | "StartLimitInterval" => unit.start_limit_interval = span(value)?,
        "StartLimitBurst" => unit.start_limit_burst = number(value)?,
        "StartLimitAction" => unit.start_limit_action = emergency(value)?,
        "FailureAction" => unit.failure_action = emergency(value)?,
        "SuccessAction" => unit.success_action = emergency(value)?,
        "FailureActionExitStatus" => unit.failure_exit_status = exit_status(value)?,
        "SuccessActionExitStatus" => unit.success_exit_status = exit_status(value)?,
        "RebootArgument" => unit.reboot_argument = optional(context.resolve(value)?),
        "CollectMode" => {
            unit.collect_failed = match value {
                "inactive" => false,
                "inactive-or-failed" => true,
                _ => return Err(format!("\"{value}\" is neither inactive nor inactive-or-failed")),
            }
        }
        // gone, or of no effect for us
        "IgnoreOnSnapshot" | "SurviveFinalKillSignal" => {}
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

/// What `systemctl enable` does is no part of the unit in memory: only what is wrong with it is told.
pub(super) fn install(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if !matches!(key, "Alias" | "WantedBy" | "RequiredBy" | "Also" | "DefaultInstance") {
        return Ok(Taken::Unknown);
    }
    draft.context.resolve(value)?;
    Ok(Taken::Yes)
}

/// An empty value does not reset: dependencies only add up. There is no quoting in names.
fn dependencies(draft: &mut Draft<'_>, kind: Dependency, value: &str) -> Outcome {
    let mut bad = Vec::new();
    for word in value.split_whitespace() {
        let resolved = draft.context.resolve_name(word).ok().and_then(|name| UnitName::parse(&name).ok());
        match resolved.and_then(|name| name.filled_in_for(draft.context.unit).ok()) {
            // what is not said of such units counts for nothing, as in systemd
            Some(name) if kind == Dependency::Before && name.unit_type() == UnitType::Device => {}
            Some(_) if kind == Dependency::OnFailure && !can_fail(draft.context.unit.unit_type()) => {}
            Some(name) => draft.add(kind, name),
            None => bad.push(word),
        }
    }
    if bad.is_empty() { Ok(Taken::Yes) } else { Err(format!("not unit names: {}", bad.join(" "))) }
}

/// Slices and devices only come and go.
fn can_fail(kind: UnitType) -> bool {
    !matches!(kind, UnitType::Slice | UnitType::Device)
}

/// An empty value forgets every check so far.
fn check(draft: &mut Draft<'_>, name: &'static str, asserts: bool, value: &str) -> Outcome {
    let list = if asserts { &mut draft.unit.asserts } else { &mut draft.unit.conditions };
    if value.is_empty() {
        list.clear();
        return Ok(Taken::Yes);
    }
    let mut rest = value;
    let trigger = rest.strip_prefix('|').map(|after| rest = after.trim_start()).is_some();
    let negate = rest.strip_prefix('!').map(|after| rest = after.trim_start()).is_some();
    let mut parameter = draft.context.resolve(rest)?;
    if ["Path", "Directory", "File", "NeedsUpdate"].iter().any(|prefix| name.starts_with(prefix)) {
        parameter = absolute(&parameter)?;
    }
    list.push(Check { name, trigger, negate, parameter });
    Ok(Taken::Yes)
}

/// A URI of the kinds that `systemctl status` shows.
fn is_documentation(uri: &str) -> bool {
    let rest = ["http://", "https://", "info:", "man:"].iter().find_map(|scheme| uri.strip_prefix(scheme));
    let file = uri.strip_prefix("file:").filter(|path| path.starts_with('/'));
    rest.or(file).is_some_and(|rest| !rest.is_empty() && rest.is_ascii())
}

fn optional(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Empty: whatever the program said.
fn exit_status(text: &str) -> Result<Option<u8>, String> {
    if text.is_empty() { Ok(None) } else { number(text).map(Some) }
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
    EmergencyAction::parse(text).ok_or_else(|| format!("\"{text}\" is not an action"))
}
