//! The [Service] section, systemd.service(5).

use super::value::{absolute, boolean, exit_set, number, span, timeout};
use super::{Draft, Outcome, Taken};
use crate::settings::{ExitType, NotifyAccess, OomPolicy, Restart, ServiceType, TimeoutMode};
use crate::{Dependency, INFINITY, LoadState, Role, UnitName, UnitType};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if let Some(role) = role(key) {
        return super::commands(&mut draft.service.commands, draft.context, &mut draft.fatal, role, value);
    }
    let context = draft.context;
    let service = &mut draft.service;
    match key {
        "Type" => {
            service.kind = match value {
                "simple" => ServiceType::Simple,
                "exec" => ServiceType::Exec,
                "forking" => ServiceType::Forking,
                "oneshot" => ServiceType::Oneshot,
                "dbus" => ServiceType::Dbus,
                // the latter came with 253
                "notify" | "notify-reload" => ServiceType::Notify,
                "idle" => ServiceType::Idle,
                _ => return Err(format!("\"{value}\" is not a service type")),
            };
            service.kind_known = true;
            draft.set.insert("Type");
        }
        "ExitType" => {
            service.exit_type = match value {
                "main" => ExitType::Main,
                "cgroup" => ExitType::Cgroup,
                _ => return Err(format!("\"{value}\" is neither main nor cgroup")),
            }
        }
        "Restart" => {
            service.restart = match value {
                "no" => Restart::No,
                "on-success" => Restart::OnSuccess,
                "on-failure" => Restart::OnFailure,
                "on-abnormal" => Restart::OnAbnormal,
                "on-watchdog" => Restart::OnWatchdog,
                "on-abort" => Restart::OnAbort,
                "always" => Restart::Always,
                _ => return Err(format!("\"{value}\" is not a restart policy")),
            }
        }
        "NotifyAccess" => {
            service.notify_access = match value {
                "none" => NotifyAccess::None,
                "main" => NotifyAccess::Main,
                "exec" => NotifyAccess::Exec,
                "all" => NotifyAccess::All,
                _ => return Err(format!("\"{value}\" is not none, main, exec or all")),
            }
        }
        "OOMPolicy" => service.oom_policy = Some(oom_policy(value)?),
        "RemainAfterExit" => service.remain_after_exit = boolean(value)?,
        "GuessMainPID" => service.guess_main_pid = boolean(value)?,
        "RootDirectoryStartOnly" => service.root_directory_start_only = boolean(value)?,
        "PermissionsStartOnly" => service.permissions_start_only = boolean(value)?,
        "PIDFile" if value.is_empty() => service.pid_file = None,
        "PIDFile" => {
            let given = context.resolve(value)?;
            let given = if given.starts_with('/') { given } else { format!("/run/{given}") };
            // the real one gives the whole unit up here
            let file = absolute(&given).inspect_err(|_| {
                draft.fatal = Some((LoadState::Error, "Invalid argument".into()));
            })?;
            // of old
            let file = file.strip_prefix("/var/run/").map_or(file.clone(), |rest| format!("/run/{rest}"));
            service.pid_file = Some(file);
        }
        "BusName" if value.is_empty() => service.bus_name = None,
        "BusName" => {
            let name = context.resolve(value)?;
            if !is_bus_name(&name) {
                return Err(format!("\"{name}\" is not a bus name"));
            }
            service.bus_name = Some(name);
        }
        "Sockets" => return sockets(draft, value),
        "FileDescriptorStoreMax" => service.descriptor_store_max = number(value)?,
        "USBFunctionDescriptors" => service.usb_descriptors = optional_path(&context.resolve(value)?)?,
        "USBFunctionStrings" => service.usb_strings = optional_path(&context.resolve(value)?)?,
        "RestartSec" => service.restart_usec = span(value)?,
        "TimeoutSec" => {
            let usec = timeout(value)?;
            service.timeout_start = usec;
            service.timeout_stop = usec;
            draft.set.insert("TimeoutStartSec");
        }
        "TimeoutStartSec" => {
            service.timeout_start = timeout(value)?;
            draft.set.insert("TimeoutStartSec");
        }
        "TimeoutStopSec" => service.timeout_stop = timeout(value)?,
        "TimeoutAbortSec" if value.is_empty() => service.timeout_abort = None,
        "TimeoutAbortSec" => service.timeout_abort = Some(span(value)?),
        "TimeoutStartFailureMode" => service.timeout_start_mode = timeout_mode(value)?,
        "TimeoutStopFailureMode" => service.timeout_stop_mode = timeout_mode(value)?,
        "RuntimeMaxSec" => service.runtime_max = span(value)?,
        "RuntimeRandomizedExtraSec" => service.runtime_extra = span(value)?,
        "WatchdogSec" => {
            let usec = span(value)?;
            service.watchdog = if usec == INFINITY { 0 } else { usec };
            if usec > 0 {
                draft.set.insert("WatchdogSec");
            } else {
                draft.set.remove("WatchdogSec");
            }
        }
        "SuccessExitStatus" => exit_set(value, &mut service.success)?,
        "RestartPreventExitStatus" => exit_set(value, &mut service.restart_prevent)?,
        "RestartForceExitStatus" => exit_set(value, &mut service.restart_force)?,
        // their place until systemd 230
        "StartLimitInterval" | "StartLimitBurst" | "StartLimitAction" | "FailureAction"
        | "RebootArgument" => {
            return super::unit::unit(draft, key, value);
        }
        // gone, and without a successor
        "SysVStartPriority" | "BusPolicy" => {}
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

pub(super) fn oom_policy(text: &str) -> Result<OomPolicy, String> {
    match text {
        "continue" => Ok(OomPolicy::Continue),
        "stop" => Ok(OomPolicy::Stop),
        "kill" => Ok(OomPolicy::Kill),
        _ => Err(format!("\"{text}\" is not continue, stop or kill")),
    }
}

fn role(key: &str) -> Option<Role> {
    Some(match key {
        "ExecCondition" => Role::Condition,
        "ExecStartPre" => Role::StartPre,
        "ExecStart" => Role::Start,
        "ExecStartPost" => Role::StartPost,
        "ExecReload" => Role::Reload,
        "ExecStop" => Role::Stop,
        "ExecStopPost" => Role::StopPost,
        _ => return None,
    })
}

/// The sockets that this service takes over; a unit of another kind is none.
fn sockets(draft: &mut Draft<'_>, value: &str) -> Outcome {
    let mut bad = Vec::new();
    for word in value.split_whitespace() {
        let name = UnitName::parse(&draft.context.resolve_name(word)?);
        match name.and_then(|name| name.filled_in_for(draft.context.unit)) {
            Ok(name) if name.unit_type() == UnitType::Socket => {
                for kind in [Dependency::Wants, Dependency::After, Dependency::TriggeredBy] {
                    draft.add(kind, name.clone());
                }
            }
            _ => bad.push(word),
        }
    }
    if bad.is_empty() { Ok(Taken::Yes) } else { Err(format!("not sockets: {}", bad.join(" "))) }
}

fn timeout_mode(text: &str) -> Result<TimeoutMode, String> {
    match text {
        "terminate" => Ok(TimeoutMode::Terminate),
        "abort" => Ok(TimeoutMode::Abort),
        "kill" => Ok(TimeoutMode::Kill),
        _ => Err(format!("\"{text}\" is not terminate, abort or kill")),
    }
}

fn optional_path(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() { Ok(None) } else { absolute(text).map(Some) }
}

/// D-Bus Specification, "Bus names": two elements or more, none begins with a digit.
fn is_bus_name(name: &str) -> bool {
    let element = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    };
    name.len() <= 255 && name.contains('.') && name.split('.').all(element)
}
