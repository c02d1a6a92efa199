//! A service's settings, as properties: systemd.service(5).

use unit::settings::{ExitSet, ServiceSettings};
use zvariant::Value;

use crate::dbus::property::{Facts, array, structure};

/// `ran`: it was started since it was loaded.
pub(super) fn tell(service: &ServiceSettings, ran: bool, facts: &mut Facts) {
    facts.extend([
        ("Type", Value::from(if service.kind_known { service.kind.as_str() } else { "" })),
        ("Restart", service.restart.as_str().into()),
        ("PIDFile", service.pid_file.clone().unwrap_or_default().into()),
        ("NotifyAccess", service.notify_access.as_str().into()),
        ("RestartUSec", service.restart_usec.into()),
        ("TimeoutStartUSec", service.timeout_start.into()),
        ("TimeoutStopUSec", service.timeout_stop.into()),
        ("TimeoutAbortUSec", service.timeout_abort.unwrap_or(service.timeout_stop).into()),
        ("RuntimeMaxUSec", service.runtime_max.into()),
        ("RuntimeRandomizedExtraUSec", service.runtime_extra.into()),
        ("TimeoutStartFailureMode", service.timeout_start_mode.as_str().into()),
        ("TimeoutStopFailureMode", service.timeout_stop_mode.as_str().into()),
        ("ExitType", service.exit_type.as_str().into()),
        ("OOMPolicy", service.oom_policy.map_or("", |policy| policy.as_str()).into()),
        ("FileDescriptorStoreMax", service.descriptor_store_max.into()),
        ("USBFunctionDescriptors", service.usb_descriptors.clone().unwrap_or_default().into()),
        ("USBFunctionStrings", service.usb_strings.clone().unwrap_or_default().into()),
        ("WatchdogUSec", watchdog(service, ran).into()),
        ("RootDirectoryStartOnly", service.root_directory_start_only.into()),
        ("RemainAfterExit", service.remain_after_exit.into()),
        ("GuessMainPID", service.guess_main_pid.into()),
        ("SuccessExitStatus", exit_set(&service.success)),
        ("RestartPreventExitStatus", exit_set(&service.restart_prevent)),
        ("RestartForceExitStatus", exit_set(&service.restart_force)),
        ("BusName", service.bus_name.clone().unwrap_or_default().into()),
    ]);
}

/// It is told as no limit until the first start, whatever the file says.
fn watchdog(service: &ServiceSettings, ran: bool) -> u64 {
    if ran { service.watchdog } else { unit::INFINITY }
}

fn exit_set(set: &ExitSet) -> Value<'static> {
    let numbers =
        |numbers: &std::collections::BTreeSet<i32>| array("i", numbers.iter().map(|number| (*number).into()));
    structure([numbers(&set.codes), numbers(&set.signals)])
}
