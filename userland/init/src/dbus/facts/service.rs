//! A service's settings, as properties: systemd.service(5).

use unit::settings::{ExitSet, ServiceSettings};
use zvariant::Value;

use crate::dbus::property::{Facts, array, structure};

pub(super) fn tell(service: &ServiceSettings, facts: &mut Facts) {
    facts.extend([
        ("Type", Value::from(service.kind.as_str())),
        ("Restart", service.restart.as_str().into()),
        ("PIDFile", service.pid_file.clone().unwrap_or_default().into()),
        ("NotifyAccess", service.notify_access.as_str().into()),
        ("RestartUSec", service.restart_usec.into()),
        ("TimeoutStartUSec", service.timeout_start.into()),
        ("TimeoutStopUSec", service.timeout_stop.into()),
        ("TimeoutAbortUSec", service.timeout_abort.unwrap_or(service.timeout_stop).into()),
        ("RuntimeMaxUSec", service.runtime_max.into()),
        ("WatchdogUSec", service.watchdog.into()),
        ("RootDirectoryStartOnly", service.root_directory_start_only.into()),
        ("RemainAfterExit", service.remain_after_exit.into()),
        ("GuessMainPID", service.guess_main_pid.into()),
        ("SuccessExitStatus", exit_set(&service.success)),
        ("RestartPreventExitStatus", exit_set(&service.restart_prevent)),
        ("RestartForceExitStatus", exit_set(&service.restart_force)),
        ("BusName", service.bus_name.clone().unwrap_or_default().into()),
    ]);
}

fn exit_set(set: &ExitSet) -> Value<'static> {
    let numbers =
        |numbers: &std::collections::BTreeSet<i32>| array("i", numbers.iter().map(|number| (*number).into()));
    structure([numbers(&set.codes), numbers(&set.signals)])
}
