//! Capabilities by name, and which a container has.
//!
//! The default is Docker's fourteen. Source: capabilities(7).

use oci_spec::runtime::{Capabilities, Capability};
use rustix::thread::CapabilitySet;

/// Every capability of Linux 6.12, in the order of their numbers.
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::NetRaw,
    Capability::SysChroot,
    Capability::Mknod,
    Capability::AuditWrite,
    Capability::Setfcap,
];

/// A name that is no capability.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid capability {0:?}: capabilities(7) lists their names, with or without CAP_")]
pub struct BadCapability(String);

/// The default, plus `add`, minus `drop`; `ALL` stands for every one of them.
///
/// # Errors
/// When a name is no capability.
pub fn choose(add: &[String], drop: &[String], privileged: bool) -> Result<Capabilities, BadCapability> {
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let named = |names: &[String]| {
        names.iter().filter(|name| !name.eq_ignore_ascii_case("all")).map(|name| by_name(name)).collect()
    };
    let (added, dropped): (Result<Vec<_>, _>, Result<Vec<_>, _>) = (named(add), named(drop));
    let (added, dropped) = (added?, dropped?);
    if privileged {
        return Ok(ALL.into_iter().collect());
    }
    let mut chosen: Capabilities = match (all(add), all(drop)) {
        (true, _) => ALL.into_iter().collect(),
        (false, true) => Capabilities::new(),
        (false, false) => DEFAULT.into_iter().collect(),
    };
    chosen.extend(added);
    chosen.retain(|capability| !dropped.contains(capability));
    Ok(chosen)
}

fn by_name(name: &str) -> Result<Capability, BadCapability> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    bare.parse().map_err(|_| BadCapability(name.to_owned()))
}

/// Every capability, by the kernel's name.
#[must_use]
pub fn names() -> Vec<String> {
    ALL.iter().map(|one| format!("CAP_{one}")).collect()
}

/// The same as the kernel has it: one bit each.
#[must_use]
pub fn bits(capabilities: &Capabilities) -> CapabilitySet {
    let bit = |capability: &Capability| ALL.iter().position(|one| one == capability);
    let bits = capabilities.iter().filter_map(bit).fold(0_u64, |bits, at| bits | 1 << at);
    CapabilitySet::from_bits_retain(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits_of(add: &[&str], drop: &[&str]) -> u64 {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        bits(&choose(&owned(add), &owned(drop), false).unwrap()).bits()
    }

    #[test]
    fn the_default_is_dockers() {
        assert_eq!(bits_of(&[], &[]), 0xa804_25fb);
    }

    #[test]
    fn names_add_and_drop() {
        assert_eq!(bits_of(&["NET_ADMIN"], &[]), 0xa804_25fb | 1 << 12);
        assert_eq!(bits_of(&["cap_sys_admin"], &["ALL"]), 1 << 21);
        assert_eq!(bits_of(&["ALL"], &["CAP_SYS_ADMIN"]), ((1 << 41) - 1) & !(1 << 21));
        assert_eq!(choose(&["SYS_ADMlN".to_owned()], &[], false), Err(BadCapability("SYS_ADMlN".to_owned())));
    }

    #[test]
    fn privileged_has_them_all() {
        assert_eq!(bits(&choose(&[], &["ALL".to_owned()], true).unwrap()).bits(), (1 << 41) - 1);
    }
}
