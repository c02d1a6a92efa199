//! What a unit's processes may see and do, as properties: systemd.exec(5).

use unit::errno;
use unit::settings::{Bind, NAMESPACES, NameList, PathRule, Refusal, Sandbox, SystemCalls};
use zvariant::Value;

use crate::dbus::property::{Facts, array, strings, structure};

/// SystemCallErrorNumber where the process is killed instead.
const KILL: i32 = i32::MAX - 1;
const RECURSIVE: u64 = 0x4000;

pub(super) fn tell(sandbox: &Sandbox, facts: &mut Facts) {
    let switches = [
        ("PrivateTmp", sandbox.private_tmp),
        ("PrivateDevices", sandbox.private_devices),
        ("PrivateNetwork", sandbox.private_network),
        ("PrivateUsers", sandbox.private_users),
        ("PrivateIPC", sandbox.private_ipc),
        ("PrivateMounts", sandbox.private_mounts.unwrap_or(false)),
        ("ProtectHostname", sandbox.protect_hostname),
        ("ProtectClock", sandbox.protect_clock),
        ("ProtectKernelTunables", sandbox.protect_kernel_tunables),
        ("ProtectKernelModules", sandbox.protect_kernel_modules),
        ("ProtectKernelLogs", sandbox.protect_kernel_logs),
        ("ProtectControlGroups", sandbox.protect_control_groups),
        ("MountAPIVFS", sandbox.mount_api.unwrap_or(false)),
        ("NoNewPrivileges", sandbox.no_new_privileges),
        ("RestrictRealtime", sandbox.restrict_realtime),
        ("RestrictSUIDSGID", sandbox.restrict_suid_sgid),
        ("LockPersonality", sandbox.lock_personality),
        ("MemoryDenyWriteExecute", sandbox.deny_write_execute),
    ];
    facts.extend(switches.map(|(name, on)| (name, Value::from(on))));
    facts.extend([
        ("ProtectSystem", Value::from(sandbox.protect_system.as_str())),
        ("ProtectHome", sandbox.protect_home.as_str().into()),
        ("ProtectProc", sandbox.protect_proc.as_str().into()),
        ("ProcSubset", sandbox.proc_subset.as_str().into()),
        ("MountFlags", sandbox.mount_flags.into()),
        ("NetworkNamespacePath", sandbox.network_namespace.clone().unwrap_or_default().into()),
        ("IPCNamespacePath", sandbox.ipc_namespace.clone().unwrap_or_default().into()),
        ("ReadWritePaths", rules(&sandbox.read_write)),
        ("ReadOnlyPaths", rules(&sandbox.read_only)),
        ("InaccessiblePaths", rules(&sandbox.inaccessible)),
        ("ExecPaths", rules(&sandbox.exec)),
        ("NoExecPaths", rules(&sandbox.no_exec)),
        ("BindPaths", binds(sandbox.binds.iter().filter(|bind| !bind.read_only))),
        ("BindReadOnlyPaths", binds(sandbox.binds.iter().filter(|bind| bind.read_only))),
        ("SystemCallFilter", calls(sandbox.system_calls.as_ref())),
        ("SystemCallLog", calls(sandbox.system_call_log.as_ref())),
        ("SystemCallErrorNumber", sandbox.system_call_error.unwrap_or(KILL).into()),
        ("SystemCallArchitectures", strings(sandbox.architectures.iter().cloned())),
        ("RestrictAddressFamilies", names(sandbox.address_families.as_ref())),
        ("RestrictFileSystems", names(sandbox.file_systems.as_ref())),
        ("RestrictNamespaces", namespaces(sandbox.namespaces).into()),
    ]);
    let temporary = sandbox
        .temporary
        .iter()
        .map(|(path, options)| structure([path.clone().into(), options.clone().into()]));
    facts.insert("TemporaryFileSystem", array("(ss)", temporary));
}

fn rules(rules: &[PathRule]) -> Value<'static> {
    strings(rules.iter().map(PathRule::text))
}

fn binds<'a>(binds: impl Iterator<Item = &'a Bind>) -> Value<'static> {
    let one = |bind: &Bind| {
        let flags = if bind.recursive { RECURSIVE } else { 0 };
        structure([
            bind.source.clone().into(),
            bind.destination.clone().into(),
            bind.missing_ok.into(),
            flags.into(),
        ])
    };
    array("(ssbt)", binds.map(one))
}

fn calls(calls: Option<&SystemCalls>) -> Value<'static> {
    let text = |(name, refusal): (&String, &Option<Refusal>)| match refusal {
        None => name.clone(),
        Some(Refusal::Kill) => format!("{name}:kill"),
        Some(Refusal::Error(number)) => match errno::name(*number) {
            Some(error) => format!("{name}:{error}"),
            None => format!("{name}:{number}"),
        },
    };
    let allow = calls.is_some_and(|calls| calls.allow);
    let texts = calls.into_iter().flat_map(|calls| calls.calls.iter().map(text));
    structure([allow.into(), strings(texts)])
}

pub(super) fn names(list: Option<&NameList>) -> Value<'static> {
    let allow = list.is_some_and(|list| list.allow);
    structure([allow.into(), strings(list.into_iter().flat_map(|list| list.names.iter().cloned()))])
}

/// The kinds that may be made; all of them is told as every bit there is.
fn namespaces(flags: Option<u64>) -> u64 {
    let all = NAMESPACES.iter().fold(0, |all, (_, flag)| all | flag);
    flags.filter(|flags| *flags != all).unwrap_or(u64::MAX)
}
