//! The sandbox, and what one of its settings implies for others.

use siphasher::sip::SipHasher24;

use super::super::value::{boolean, capability};
use super::path::word_or_boolean;
use super::{Draft, Outcome, Taken, absolute, system_call};
use crate::errno;
use crate::settings::{
    ALL_CAPABILITIES, Device, DevicePolicy, NAMESPACES, NameList, ProcSubset, ProtectHome, ProtectProc,
    ProtectSystem,
};

/// Address families by name, socket(2).
const FAMILIES: &[&str] = &[
    "AF_UNIX",
    "AF_LOCAL",
    "AF_INET",
    "AF_AX25",
    "AF_IPX",
    "AF_APPLETALK",
    "AF_NETROM",
    "AF_BRIDGE",
    "AF_ATMPVC",
    "AF_X25",
    "AF_INET6",
    "AF_ROSE",
    "AF_DECnet",
    "AF_NETBEUI",
    "AF_SECURITY",
    "AF_KEY",
    "AF_NETLINK",
    "AF_PACKET",
    "AF_ECONET",
    "AF_ATMSVC",
    "AF_RDS",
    "AF_IRDA",
    "AF_PPPOX",
    "AF_WANPIPE",
    "AF_LLC",
    "AF_IB",
    "AF_MPLS",
    "AF_CAN",
    "AF_TIPC",
    "AF_BLUETOOTH",
    "AF_IUCV",
    "AF_RXRPC",
    "AF_ISDN",
    "AF_PHONET",
    "AF_IEEE802154",
    "AF_CAIF",
    "AF_ALG",
    "AF_NFC",
    "AF_VSOCK",
    "AF_KCM",
    "AF_QIPCRTR",
    "AF_SMC",
    "AF_XDP",
    "AF_MCTP",
];
const ARCHITECTURES: &[&str] = &[
    "native",
    "x86",
    "x86-64",
    "x32",
    "arm",
    "arm64",
    "loongarch64",
    "mips",
    "mips64",
    "mips64-n32",
    "mips-le",
    "mips64-le",
    "mips64-le-n32",
    "parisc",
    "parisc64",
    "ppc",
    "ppc64",
    "ppc64-le",
    "riscv64",
    "s390",
    "s390x",
];
const SHARED: u64 = 1 << 20;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let context = draft.context;
    let to = &mut draft.exec.sandbox;
    let empty = value.is_empty();
    let path = || match context.resolve(value)? {
        path if path.is_empty() => Ok(None),
        path => absolute(&path).map(Some),
    };
    match key {
        "ProtectSystem" => to.protect_system = word_or_boolean(value, ProtectSystem::parse)?,
        "ProtectHome" => to.protect_home = word_or_boolean(value, ProtectHome::parse)?,
        "ProtectProc" => {
            let word = ProtectProc::parse(value);
            to.protect_proc = word.ok_or_else(|| format!("\"{value}\" is not a value that we know"))?;
        }
        "ProcSubset" => {
            let word = ProcSubset::parse(value);
            to.proc_subset = word.ok_or_else(|| format!("\"{value}\" is neither all nor pid"))?;
        }
        "PrivateTmp" => to.private_tmp = boolean(value)?,
        "PrivateDevices" => to.private_devices = boolean(value)?,
        "PrivateNetwork" => to.private_network = boolean(value)?,
        "PrivateUsers" => to.private_users = boolean(value)?,
        "PrivateIPC" => to.private_ipc = boolean(value)?,
        "PrivateMounts" => to.private_mounts = Some(boolean(value)?),
        "ProtectHostname" => to.protect_hostname = boolean(value)?,
        "ProtectClock" => to.protect_clock = boolean(value)?,
        "ProtectKernelTunables" => to.protect_kernel_tunables = boolean(value)?,
        "ProtectKernelModules" => to.protect_kernel_modules = boolean(value)?,
        "ProtectKernelLogs" => to.protect_kernel_logs = boolean(value)?,
        "ProtectControlGroups" => to.protect_control_groups = boolean(value)?,
        "NoNewPrivileges" => to.no_new_privileges = boolean(value)?,
        "RestrictRealtime" => to.restrict_realtime = boolean(value)?,
        "RestrictSUIDSGID" => to.restrict_suid_sgid = boolean(value)?,
        "LockPersonality" => to.lock_personality = boolean(value)?,
        "MemoryDenyWriteExecute" => to.deny_write_execute = boolean(value)?,
        "MountAPIVFS" => to.mount_api = Some(boolean(value)?),
        "MountFlags" => {
            to.mount_flags = match value {
                "" => 0,
                "shared" => SHARED,
                "slave" => SLAVE,
                "private" => PRIVATE,
                _ => return Err(format!("\"{value}\" is not shared, slave or private")),
            }
        }
        "NetworkNamespacePath" => to.network_namespace = path()?,
        "IPCNamespacePath" => to.ipc_namespace = path()?,
        "SystemCallFilter" => {
            return system_call::set(draft, value, |sandbox| &mut sandbox.system_calls, true);
        }
        "SystemCallLog" => {
            return system_call::set(draft, value, |sandbox| &mut sandbox.system_call_log, false);
        }
        "SystemCallErrorNumber" if empty || value == "kill" => to.system_call_error = None,
        "SystemCallErrorNumber" => {
            let number = errno::number(value).filter(|number| *number > 0);
            to.system_call_error = Some(number.ok_or_else(|| format!("\"{value}\" is not an error"))?);
        }
        "SystemCallArchitectures" if empty => to.architectures.clear(),
        "SystemCallArchitectures" => {
            for word in value.split_whitespace() {
                if !ARCHITECTURES.contains(&word) {
                    return Err(format!("\"{word}\" is not an architecture"));
                }
                to.architectures.insert(word.into());
            }
        }
        "RestrictAddressFamilies" => {
            merge(&mut to.address_families, value, true, |name| FAMILIES.contains(&name))?
        }
        "RestrictFileSystems" => merge(&mut to.file_systems, value, false, |name| !name.is_empty())?,
        "RestrictNamespaces" => to.namespaces = namespaces(to.namespaces, value)?,
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

/// Merges `[~]NAME…`: the first line says whether the list allows or forbids; a later one of the other kind takes
/// away. With `none`, that word is an empty list that allows.
fn merge(
    list: &mut Option<NameList>,
    value: &str,
    none: bool,
    known: fn(&str) -> bool,
) -> Result<(), String> {
    if value.is_empty() {
        *list = None;
        return Ok(());
    }
    if none && value == "none" {
        *list = Some(NameList { allow: true, ..NameList::default() });
        return Ok(());
    }
    let (invert, names) = value.strip_prefix('~').map_or((false, value), |names| (true, names));
    let list = list.get_or_insert_with(|| NameList { allow: !invert, ..NameList::default() });
    let mut bad = Vec::new();
    for name in names.split_whitespace() {
        if !known(name) {
            bad.push(name);
        } else if list.allow != invert {
            list.names.insert(if name == "AF_LOCAL" { "AF_UNIX" } else { name }.to_string());
        } else {
            list.names.remove(name);
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(format!("not known: {}", bad.join(" "))) }
}

fn namespaces(current: Option<u64>, value: &str) -> Result<Option<u64>, String> {
    let all = NAMESPACES.iter().fold(0, |all, (_, flag)| all | flag);
    if value.is_empty() {
        return Ok(None);
    }
    match boolean(value) {
        Ok(true) => return Ok(Some(0)),
        Ok(false) => return Ok(None),
        Err(_) => {}
    }
    let (invert, names) = value.strip_prefix('~').map_or((false, value), |names| (true, names));
    let mut flags = 0;
    for name in names.split_whitespace() {
        let known = NAMESPACES.iter().find(|(known, _)| *known == name);
        flags |= known.ok_or_else(|| format!("\"{name}\" is not a kind of namespace"))?.1;
    }
    Ok(Some(match (current, invert) {
        (None, true) => all & !flags,
        (None, false) => flags,
        (Some(current), true) => current & !flags,
        (Some(current), false) => current | flags,
    }))
}

/// What settings imply for others, once all lines are read.
pub(in crate::load) fn implied(draft: &mut Draft<'_>) {
    let exec = &mut draft.exec;
    // a unit that cannot be used has no default here
    let output = exec.stdout();
    exec.output.get_or_insert(output);
    let sandbox = &mut exec.sandbox;
    let without = [
        (sandbox.private_devices, ["MKNOD", "SYS_RAWIO"].as_slice()),
        (sandbox.protect_kernel_modules, &["SYS_MODULE"]),
        (sandbox.protect_kernel_logs, &["SYSLOG"]),
        (sandbox.protect_clock, &["SYS_TIME", "WAKE_ALARM"]),
    ];
    for name in without.iter().filter(|(on, _)| *on).flat_map(|(_, names)| *names) {
        if let Some(bit) = capability(name) {
            let set = exec.capability_bounding_set.get_or_insert(ALL_CAPABILITIES);
            *set &= !(1 << bit);
        }
    }
    if exec.dynamic_user {
        let user = exec.user.get_or_insert_with(|| dynamic_name(&draft.unit.name)).clone();
        exec.group.get_or_insert(user);
        exec.remove_ipc = true;
        sandbox.private_tmp = true;
        sandbox.protect_system = ProtectSystem::Strict;
        if sandbox.protect_home == ProtectHome::No {
            sandbox.protect_home = ProtectHome::ReadOnly;
        }
        sandbox.no_new_privileges = true;
        sandbox.restrict_suid_sgid = true;
    }
    let cgroup = &mut draft.cgroup;
    if sandbox.private_devices && cgroup.device_policy == DevicePolicy::Auto {
        cgroup.device_policy = DevicePolicy::Closed;
    }
    if sandbox.protect_clock {
        let device = Device { path: "char-rtc".into(), read: true, write: false, make: false };
        cgroup.device_allow.push(device);
    }
}

/// The name of a dynamic user where the unit gives none: what its name has before `@`, if that can be one, else the hash
/// that systemd makes of it. All instances have one name, so that they can share what they keep.
fn dynamic_name(unit: &crate::UnitName) -> String {
    const LONGEST: usize = 31;
    const KEY: [u8; 16] = 0x581a_afe6_2858_4e96_b44e_f53b_8c92_07ec_u128.to_be_bytes();
    let prefix = unit.prefix();
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let begins = prefix.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && prefix.len() <= LONGEST && prefix.chars().all(fine) {
        return prefix.into();
    }
    format!("_du{:016x}", SipHasher24::new_with_key(&KEY).hash(prefix.as_bytes()))
}
