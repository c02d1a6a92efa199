//! How a unit's processes are set up, as properties: systemd.exec(5).

use rustix::process::{Resource, getrlimit};
use unit::settings::{
    Credentials, Directories, DirectoryKind, ExecSettings, Input, KeyringMode, Output, Told,
};
use unit::{Unit, UnitType};
use zvariant::Value;

use super::sandbox;
use crate::dbus::property::{Facts, array, strings, structure};

pub(super) fn tell(unit: &Unit, facts: &mut Facts) {
    let exec: &ExecSettings = &unit.exec;
    let assignments = exec.environment.iter().map(|(name, value)| format!("{name}={value}"));
    let files = exec
        .environment_files
        .iter()
        .map(|(path, optional)| structure([path.clone().into(), (*optional).into()]));
    let keyring = exec.keyring.unwrap_or(match unit.unit_type() {
        UnitType::Service => KeyringMode::Private,
        _ => KeyringMode::Shared,
    });
    // They are let through while they trip their own automount.
    let same_group = unit.unit_type() == UnitType::Mount;
    facts.extend([
        ("SameProcessGroup", Value::from(same_group)),
        ("Environment", strings(assignments)),
        ("EnvironmentFiles", array("(sb)", files)),
        ("PassEnvironment", strings(exec.pass_environment.iter().cloned())),
        ("UnsetEnvironment", strings(exec.unset_environment.iter().cloned())),
        ("ExecSearchPath", strings(exec.search_path.iter().cloned())),
        ("User", text(&exec.user)),
        ("Group", text(&exec.group)),
        ("SupplementaryGroups", strings(exec.supplementary_groups.iter().cloned())),
        ("DynamicUser", exec.dynamic_user.into()),
        ("RemoveIPC", exec.remove_ipc.into()),
        ("PAMName", text(&exec.pam_name)),
        ("RootDirectory", text(&exec.root_directory)),
        ("UMask", exec.umask.unwrap_or(0o022).into()),
        ("CapabilityBoundingSet", exec.capability_bounding_set.unwrap_or(u64::MAX).into()),
        ("AmbientCapabilities", exec.ambient_capabilities.into()),
        ("SecureBits", i32::try_from(exec.secure_bits).unwrap_or(0).into()),
        ("KeyringMode", keyring.as_str().into()),
        ("Personality", text(&exec.personality)),
        ("UtmpIdentifier", text(&exec.utmp_identifier)),
        ("UtmpMode", exec.utmp_mode.clone().unwrap_or_else(|| "init".into()).into()),
        ("IgnoreSIGPIPE", (!exec.keep_sigpipe).into()),
        ("TimeoutCleanUSec", exec.timeout_clean.unwrap_or(u64::MAX).into()),
    ]);
    for (name, label) in
        ["SELinuxContext", "AppArmorProfile", "SmackProcessLabel"].into_iter().zip(&exec.labels)
    {
        let (may_fail, label) = label.clone().unwrap_or_default();
        facts.insert(name, structure([may_fail.into(), label.into()]));
    }
    for (name, told) in &exec.told {
        match told {
            Told::Text(text) => _ = facts.insert(name, text.clone().into()),
            Told::Texts(texts) => _ = facts.insert(name, strings(texts.iter().cloned())),
        }
    }
    if let Some(directory) = &exec.working_directory {
        let mark = if directory.missing_ok { "!" } else { "" };
        let path = directory.path.clone().unwrap_or_else(|| "~".into());
        facts.insert("WorkingDirectory", format!("{mark}{path}").into());
    }
    limits(exec, facts);
    scheduling(exec, facts);
    streams(exec, facts);
    exec.directories.iter().for_each(|set| directories(set, facts));
    facts.insert("RuntimeDirectoryPreserve", exec.runtime_preserve.as_str().into());
    credentials(&exec.credentials, facts);
    sandbox::tell(&exec.sandbox, facts);
}

fn text(value: &Option<String>) -> Value<'static> {
    value.clone().unwrap_or_default().into()
}

/// The unit's own limits; where the kernel sets one by the machine's size, PID 1's.
fn limits(exec: &ExecSettings, facts: &mut Facts) {
    let of_machine = [
        ("LimitNPROC", "LimitNPROCSoft", Resource::Nproc),
        ("LimitSIGPENDING", "LimitSIGPENDINGSoft", Resource::Sigpending),
    ];
    for (hard, soft, resource) in of_machine {
        let have = getrlimit(resource);
        facts.insert(hard, have.maximum.unwrap_or(u64::MAX).into());
        facts.insert(soft, have.current.unwrap_or(u64::MAX).into());
    }
    const NAMES: [(&str, &str, &str); 16] = [
        ("CPU", "LimitCPU", "LimitCPUSoft"),
        ("FSIZE", "LimitFSIZE", "LimitFSIZESoft"),
        ("DATA", "LimitDATA", "LimitDATASoft"),
        ("STACK", "LimitSTACK", "LimitSTACKSoft"),
        ("CORE", "LimitCORE", "LimitCORESoft"),
        ("RSS", "LimitRSS", "LimitRSSSoft"),
        ("NOFILE", "LimitNOFILE", "LimitNOFILESoft"),
        ("AS", "LimitAS", "LimitASSoft"),
        ("NPROC", "LimitNPROC", "LimitNPROCSoft"),
        ("MEMLOCK", "LimitMEMLOCK", "LimitMEMLOCKSoft"),
        ("LOCKS", "LimitLOCKS", "LimitLOCKSSoft"),
        ("SIGPENDING", "LimitSIGPENDING", "LimitSIGPENDINGSoft"),
        ("MSGQUEUE", "LimitMSGQUEUE", "LimitMSGQUEUESoft"),
        ("NICE", "LimitNICE", "LimitNICESoft"),
        ("RTPRIO", "LimitRTPRIO", "LimitRTPRIOSoft"),
        ("RTTIME", "LimitRTTIME", "LimitRTTIMESoft"),
    ];
    for limit in &exec.limits {
        if let Some((_, hard, soft)) = NAMES.iter().find(|(name, ..)| *name == limit.name) {
            facts.insert(hard, limit.hard.into());
            facts.insert(soft, limit.soft.into());
        }
    }
}

fn scheduling(exec: &ExecSettings, facts: &mut Facts) {
    const BEST_EFFORT: i32 = 2;
    const MIDDLE: i32 = 4;
    let of = &exec.scheduling;
    facts.extend([
        ("Nice", Value::from(of.nice.unwrap_or(0))),
        ("OOMScoreAdjust", of.oom_score_adjust.unwrap_or(0).into()),
        ("CPUSchedulingPolicy", of.cpu_policy.unwrap_or(0).into()),
        ("CPUSchedulingPriority", of.cpu_priority.unwrap_or(0).into()),
        ("CPUSchedulingResetOnFork", of.reset_on_fork.into()),
        ("CPUAffinity", bits(&of.cpu_affinity)),
        ("CPUAffinityFromNUMA", of.cpu_affinity_from_numa.into()),
        ("NUMAPolicy", of.numa_policy.unwrap_or(-1).into()),
        ("NUMAMask", bits(&of.numa_nodes)),
        ("IOSchedulingClass", of.io_class.unwrap_or(BEST_EFFORT).into()),
        ("IOSchedulingPriority", of.io_priority.unwrap_or(MIDDLE).into()),
    ]);
    facts.extend(of.coredump_filter.map(|filter| ("CoredumpFilter", filter.into())));
    facts.extend(of.timer_slack_nsec.map(|slack| ("TimerSlackNSec", slack.into())));
}

/// A set as systemd sends it: a bit for each number, the lowest in the first byte.
pub(super) fn bits(numbers: &[u32]) -> Value<'static> {
    let mut bytes: Vec<u8> = Vec::new();
    for number in numbers {
        let at = usize::try_from(number / 8).unwrap_or(0);
        if bytes.len() <= at {
            bytes.resize(at + 1, 0);
        }
        if let Some(byte) = bytes.get_mut(at) {
            *byte |= 1 << (number % 8);
        }
    }
    Value::Array(bytes.into())
}

fn streams(exec: &ExecSettings, facts: &mut Facts) {
    let logging = &exec.logging;
    let terminal = &exec.terminal;
    facts.extend([
        ("NonBlocking", Value::from(exec.non_blocking)),
        ("StandardInput", exec.input.as_str().into()),
        ("StandardInputData", Value::Array(exec.input_data.clone().into())),
        ("StandardOutput", output(exec.output.as_ref().unwrap_or(&Output::Inherit)).into()),
        ("StandardError", output(&exec.stderr()).into()),
        ("TTYPath", text(&terminal.path)),
        ("TTYReset", terminal.reset.into()),
        ("TTYVHangup", terminal.hang_up.into()),
        ("TTYVTDisallocate", terminal.disallocate.into()),
        ("TTYRows", terminal.rows.unwrap_or(u16::MAX).into()),
        ("TTYColumns", terminal.columns.unwrap_or(u16::MAX).into()),
        ("SyslogPriority", i32::from(logging.priority()).into()),
        ("SyslogIdentifier", text(&logging.identifier)),
        ("SyslogLevelPrefix", logging.level_prefix.unwrap_or(true).into()),
        ("SyslogLevel", i32::from(logging.priority() & 7).into()),
        ("SyslogFacility", i32::from(logging.priority() >> 3).into()),
        ("LogLevelMax", logging.level_max.map_or(-1, i32::from).into()),
        ("LogRateLimitIntervalUSec", logging.rate_limit_interval.unwrap_or(0).into()),
        ("LogRateLimitBurst", logging.rate_limit_burst.unwrap_or(0).into()),
        ("LogNamespace", text(&logging.namespace)),
    ]);
    let fields = logging.extra_fields.iter().map(|field| Value::Array(field.as_bytes().to_vec().into()));
    facts.insert("LogExtraFields", array("ay", fields));
    let names = [
        ("StandardOutputFileDescriptorName", &exec.output),
        ("StandardErrorFileDescriptorName", &exec.error),
    ];
    for (property, stream) in names {
        if let Some(Output::Named(name)) = stream {
            facts.insert(property, name.clone().into());
        }
    }
    if let Input::Named(name) = &exec.input {
        facts.insert("StandardInputFileDescriptorName", name.clone().into());
    }
}

/// Where output goes. systemd does not tell the paths.
pub(super) fn output(output: &Output) -> &'static str {
    match output {
        Output::Inherit => "inherit",
        Output::Null => "null",
        Output::Tty => "tty",
        Output::Journal => "journal",
        Output::JournalConsole => "journal+console",
        Output::Kmsg => "kmsg",
        Output::KmsgConsole => "kmsg+console",
        Output::Socket => "socket",
        Output::File(_) => "file",
        Output::Append(_) => "append",
        Output::Truncate(_) => "truncate",
        Output::Named(_) => "fd",
    }
}

fn directories(set: &Directories, facts: &mut Facts) {
    use DirectoryKind::*;
    let (names, mode, links) = match set.kind {
        Runtime => ("RuntimeDirectory", "RuntimeDirectoryMode", Some("RuntimeDirectorySymlink")),
        State => ("StateDirectory", "StateDirectoryMode", Some("StateDirectorySymlink")),
        Cache => ("CacheDirectory", "CacheDirectoryMode", Some("CacheDirectorySymlink")),
        Logs => ("LogsDirectory", "LogsDirectoryMode", Some("LogsDirectorySymlink")),
        Configuration => ("ConfigurationDirectory", "ConfigurationDirectoryMode", None),
    };
    facts.insert(names, strings(set.names.iter().cloned()));
    facts.insert(mode, set.mode.into());
    if let Some(property) = links {
        let link = |(name, link): &(String, String)| {
            structure([name.clone().into(), link.clone().into(), 0u64.into()])
        };
        facts.insert(property, array("(sst)", set.links.iter().map(link)));
    }
}

/// What is loaded by name; of what is set, the name and its bytes, as systemd tells them too.
fn credentials(credentials: &Credentials, facts: &mut Facts) {
    for (property, list) in
        [("LoadCredential", &credentials.load), ("LoadCredentialEncrypted", &credentials.load_encrypted)]
    {
        let one =
            list.iter().map(|loaded| structure([loaded.name.clone().into(), loaded.path.clone().into()]));
        facts.insert(property, array("(ss)", one));
    }
    for (property, list) in
        [("SetCredential", &credentials.set), ("SetCredentialEncrypted", &credentials.set_encrypted)]
    {
        let one = list
            .iter()
            .map(|set| structure([set.name.clone().into(), Value::Array(set.value.clone().into())]));
        facts.insert(property, array("(say)", one));
    }
}
