//! What is configured of the manager, as properties: systemd-system.conf(5).

use unit::settings::Defaults;
use zvariant::Value;

use super::exec;
use crate::configuration::Configuration;
use crate::dbus::property::Facts;
use crate::resources::tasks;

const LIMITS: [(&str, &str, &str); 16] = [
    ("CPU", "DefaultLimitCPU", "DefaultLimitCPUSoft"),
    ("FSIZE", "DefaultLimitFSIZE", "DefaultLimitFSIZESoft"),
    ("DATA", "DefaultLimitDATA", "DefaultLimitDATASoft"),
    ("STACK", "DefaultLimitSTACK", "DefaultLimitSTACKSoft"),
    ("CORE", "DefaultLimitCORE", "DefaultLimitCORESoft"),
    ("RSS", "DefaultLimitRSS", "DefaultLimitRSSSoft"),
    ("NOFILE", "DefaultLimitNOFILE", "DefaultLimitNOFILESoft"),
    ("AS", "DefaultLimitAS", "DefaultLimitASSoft"),
    ("NPROC", "DefaultLimitNPROC", "DefaultLimitNPROCSoft"),
    ("MEMLOCK", "DefaultLimitMEMLOCK", "DefaultLimitMEMLOCKSoft"),
    ("LOCKS", "DefaultLimitLOCKS", "DefaultLimitLOCKSSoft"),
    ("SIGPENDING", "DefaultLimitSIGPENDING", "DefaultLimitSIGPENDINGSoft"),
    ("MSGQUEUE", "DefaultLimitMSGQUEUE", "DefaultLimitMSGQUEUESoft"),
    ("NICE", "DefaultLimitNICE", "DefaultLimitNICESoft"),
    ("RTPRIO", "DefaultLimitRTPRIO", "DefaultLimitRTPRIOSoft"),
    ("RTTIME", "DefaultLimitRTTIME", "DefaultLimitRTTIMESoft"),
];

/// What units have that say nothing else, and the hardware watchdog's times.
pub fn of_configuration(configuration: &Configuration, facts: &mut Facts) {
    let Defaults {
        timeout_start,
        timeout_stop,
        timeout_abort,
        restart,
        device_timeout,
        timer_accuracy,
        start_limit_interval,
        start_limit_burst,
        tasks_max,
        oom_policy,
        oom_score_adjust,
        output,
        error,
        limits,
        environment: _,
    } = &configuration.defaults;
    let watchdog = &configuration.watchdog;
    facts.extend([
        ("DefaultTimeoutStartUSec", Value::from(*timeout_start)),
        ("DefaultTimeoutStopUSec", (*timeout_stop).into()),
        ("DefaultTimeoutAbortUSec", timeout_abort.unwrap_or(*timeout_stop).into()),
        ("DefaultRestartUSec", (*restart).into()),
        ("DefaultDeviceTimeoutUSec", (*device_timeout).into()),
        ("DefaultTimerAccuracyUSec", (*timer_accuracy).into()),
        ("DefaultStartLimitIntervalUSec", (*start_limit_interval).into()),
        ("DefaultStartLimitBurst", (*start_limit_burst).into()),
        ("DefaultTasksMax", tasks(*tasks_max).into()),
        ("DefaultOOMPolicy", oom_policy.as_str().into()),
        ("DefaultOOMScoreAdjust", oom_score_adjust.unwrap_or(0).into()),
        ("DefaultStandardOutput", exec::output(output).into()),
        ("DefaultStandardError", exec::output(error).into()),
        ("WatchdogDevice", watchdog.device.display().to_string().into()),
        ("RuntimeWatchdogUSec", watchdog.runtime.into()),
        ("RebootWatchdogUSec", watchdog.reboot.unwrap_or(watchdog.runtime).into()),
        ("KExecWatchdogUSec", watchdog.kexec.unwrap_or(watchdog.runtime).into()),
    ]);
    for limit in limits {
        if let Some((_, hard, soft)) = LIMITS.iter().find(|(name, ..)| *name == limit.name) {
            facts.extend([(*hard, Value::from(limit.hard)), (*soft, limit.soft.into())]);
        }
    }
}
