//! The [Service] section, systemd.service(5).

use super::value::{boolean, exit_set, number, span, timeout};
use super::{Draft, Outcome, Taken};
use crate::settings::{NotifyAccess, Restart, ServiceType};
use crate::{Dependency, INFINITY, Role, UnitName, UnitType};

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    if let Some(role) = role(key) {
        return super::commands(&mut draft.service.commands, draft.context, role, value);
    }
    let service = &mut draft.service;
    match key {
        "Type" => {
            service.kind = match value {
                "simple" => ServiceType::Simple,
                "exec" => ServiceType::Exec,
                "forking" => ServiceType::Forking,
                "oneshot" => ServiceType::Oneshot,
                "dbus" => ServiceType::Dbus,
                "notify" | "notify-reload" => ServiceType::Notify,
                "idle" => ServiceType::Idle,
                _ => return Err(format!("\"{value}\" is not a service type")),
            };
            draft.set.insert("Type");
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
        "RemainAfterExit" => service.remain_after_exit = boolean(value)?,
        "GuessMainPID" => service.guess_main_pid = boolean(value)?,
        "PIDFile" if value.is_empty() => service.pid_file = None,
        "PIDFile" => {
            let path = draft.context.expand(value);
            service.pid_file = Some(if path.starts_with('/') { path } else { format!("/run/{path}") });
        }
        "BusName" => service.bus_name = Some(draft.context.expand(value)),
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
        "TimeoutAbortSec" => service.timeout_abort = Some(timeout(value)?),
        "RuntimeMaxSec" => service.runtime_max = timeout(value)?,
        "WatchdogSec" => {
            let usec = span(value)?;
            service.watchdog = if usec == INFINITY { 0 } else { usec };
        }
        "SuccessExitStatus" => exit_set(value, &mut service.success)?,
        "RestartPreventExitStatus" => exit_set(value, &mut service.restart_prevent)?,
        "RestartForceExitStatus" => exit_set(value, &mut service.restart_force)?,
        "RootDirectoryStartOnly" => service.root_directory_start_only = boolean(value)?,
        "FileDescriptorStoreMax" => service.descriptor_store_max = number(value)?,
        "Sockets" => {
            for word in crate::exec::words(value).map_err(|error| error.to_string())? {
                match UnitName::parse(&draft.context.expand(&word)) {
                    Ok(name) if name.unit_type() == UnitType::Socket && !name.is_template() => {
                        for kind in [Dependency::Wants, Dependency::After, Dependency::TriggeredBy] {
                            draft.add(kind, name.clone());
                        }
                    }
                    _ => return Err(format!("{word} is not a socket")),
                }
            }
        }
        // their place until systemd 230
        "StartLimitInterval" => draft.unit.start_limit_interval = span(value)?,
        "StartLimitBurst" => draft.unit.start_limit_burst = number(value)?,
        "StartLimitAction" | "FailureAction" | "RebootArgument" => {
            return super::unit::unit(draft, key, value);
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
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
