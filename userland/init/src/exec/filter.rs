//! The child's system calls: what SystemCallFilter= and the settings that are filters underneath forbid (seccomp(2)).
//!
//! First the rules are collected, by what a refused call gets; then each answer becomes one program. The kernel runs
//! all of them and takes the strictest answer; the order matters only for who installs them. Every program also ends a process that
//! calls in another mode of the processor, for a filter cannot tell what its numbers mean.

use std::collections::BTreeMap;
use std::io;

use linux::syscall::number;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use unit::settings::{NAMESPACES, NameList, Refusal, Sandbox, SystemCalls, syscalls};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;
/// A call of x32, which shares the architecture of 64 bits but not the numbers.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const SHM_EXEC: u64 = 0o100_000;
const SET_ID_BITS: [u64; 2] = [0o4000, 0o2000];
const O_CREAT: u64 = 0o100;
const O_TMPFILE: u64 = 0o20_000_000;
/// sched(7): other, batch, idle.
const ORDINARY_POLICIES: [u64; 3] = [0, 3, 5];
const KILL: u32 = u32::MAX;

/// A condition on an argument: which, how, with what.
type Condition = (u8, SeccompCmpOp, u64);
/// What each call is refused for: one of these sets of conditions. None: always.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The programs for a unit, compiled.
pub struct Filters(Vec<BpfProgram>);

impl Filters {
    /// Compiles what the sandbox asks for; `personality` is the execution domain that is to stay.
    pub fn compile(sandbox: &Sandbox, personality: u64) -> io::Result<Filters> {
        let mut refused = Refused::default();
        restrictions(sandbox, personality, &mut refused).map_err(failed)?;
        let mut filters = Filters(Vec::new());
        if let Some(calls) = &sandbox.system_calls {
            let default = sandbox.system_call_error.map_or(KILL, i32::unsigned_abs);
            if calls.allow {
                filters.allow(calls, default).map_err(failed)?;
            }
            let named = calls.calls.iter().filter(|(_, refusal)| !calls.allow || refusal.is_some());
            for (call, refusal) in named {
                let answer = match refusal {
                    None => default,
                    Some(Refusal::Kill) => KILL,
                    Some(Refusal::Error(error)) => error.unsigned_abs(),
                };
                refused.always(answer, call);
            }
        }
        if let Some(calls) = &sandbox.system_call_log {
            filters.log(calls).map_err(failed)?;
        }
        for (answer, rules) in refused.0 {
            let action =
                if answer == KILL { SeccompAction::KillProcess } else { SeccompAction::Errno(answer) };
            filters.add(rules, SeccompAction::Allow, action).map_err(failed)?;
        }
        let native = sandbox.architectures.iter().all(|name| name == "native" || *name == own_architecture());
        if filters.0.is_empty() && native && !sandbox.architectures.is_empty() {
            // Any program ends what calls in another mode.
            let mut nothing = Refused::default();
            nothing.always(ENOSYS, "_sysctl");
            for (answer, rules) in nothing.0 {
                filters.add(rules, SeccompAction::Allow, SeccompAction::Errno(answer)).map_err(failed)?;
            }
        }
        Ok(filters)
    }

    /// Binds this process to them, for good.
    pub fn apply(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|program| {
            linux::seccomp::install(program.iter().map(|one| (one.code, one.jt, one.jf, one.k)))
        })
    }

    fn allow(&mut self, calls: &SystemCalls, default: u32) -> Result<(), BackendError> {
        let rules = calls.calls.keys().filter_map(|call| Some((number(call)?, Vec::new()))).collect();
        let otherwise =
            if default == KILL { SeccompAction::KillProcess } else { SeccompAction::Errno(default) };
        self.add(rules, otherwise, SeccompAction::Allow)
    }

    fn log(&mut self, calls: &SystemCalls) -> Result<(), BackendError> {
        let rules = calls.calls.keys().filter_map(|call| Some((number(call)?, Vec::new()))).collect();
        let (otherwise, named) = match calls.allow {
            true => (SeccompAction::Allow, SeccompAction::Log),
            false => (SeccompAction::Log, SeccompAction::Allow),
        };
        self.add(rules, otherwise, named)
    }

    fn add(
        &mut self,
        rules: Rules,
        otherwise: SeccompAction,
        named: SeccompAction,
    ) -> Result<(), BackendError> {
        let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
        // One that forbids to install further ones must be the last; a list of calls has at most one such program.
        let names_it = number("seccomp").is_some_and(|call| rules.contains_key(&call));
        let last = if names_it { named != SeccompAction::Allow } else { otherwise != SeccompAction::Allow };
        let program: BpfProgram = SeccompFilter::new(rules, otherwise, named, architecture)?.try_into()?;
        if last {
            self.0.push(program);
        } else {
            self.0.insert(0, program);
        }
        Ok(())
    }
}

fn failed(error: BackendError) -> io::Error {
    io::Error::other(error)
}

fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86-64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Refused calls by the answer that they get.
#[derive(Default)]
struct Refused(BTreeMap<u32, Rules>);

impl Refused {
    /// Refuses a call whatever its arguments.
    fn always(&mut self, answer: u32, call: &str) {
        let Some(number) = number(call) else { return };
        let rules = self.0.entry(answer).or_default();
        rules.insert(number, Vec::new());
        #[cfg(target_arch = "x86_64")]
        rules.insert(number | X32, Vec::new());
    }

    /// Refuses a call when all of these hold.
    fn when(&mut self, answer: u32, call: &str, conditions: &[Condition]) -> Result<(), BackendError> {
        let Some(number) = number(call) else { return Ok(()) };
        if conditions.is_empty() {
            self.always(answer, call);
            return Ok(());
        }
        let rule = |conditions: &[Condition]| {
            let all: Result<Vec<_>, _> = conditions
                .iter()
                .map(|(at, how, with)| {
                    SeccompCondition::new(*at, SeccompCmpArgLen::Dword, how.clone(), *with)
                })
                .collect();
            SeccompRule::new(all?)
        };
        let rules = self.0.entry(answer).or_default();
        let mut add = |number: i64| -> Result<(), BackendError> {
            match rules.entry(number) {
                // Refused already, whatever the arguments.
                std::collections::btree_map::Entry::Occupied(entry) if entry.get().is_empty() => {}
                entry => entry.or_default().push(rule(conditions)?),
            }
            Ok(())
        };
        add(number)?;
        #[cfg(target_arch = "x86_64")]
        add(number | X32)?;
        Ok(())
    }

    fn group(&mut self, answer: u32, name: &str) {
        for call in syscalls::group(name).into_iter().flatten() {
            self.always(answer, call);
        }
    }
}

/// The settings that are filters underneath.
fn restrictions(sandbox: &Sandbox, personality: u64, refused: &mut Refused) -> Result<(), BackendError> {
    let masked = |at: u8, bits: u64| (at, SeccompCmpOp::MaskedEq(bits), bits);
    if let Some(families) = &sandbox.address_families {
        address_families(families, refused)?;
    }
    if sandbox.deny_write_execute {
        let both = PROT_WRITE | PROT_EXEC;
        refused.when(EPERM, "mmap", &[masked(2, both)])?;
        for call in ["mprotect", "pkey_mprotect"] {
            refused.when(EPERM, call, &[masked(2, PROT_EXEC)])?;
        }
        refused.when(EPERM, "shmat", &[masked(2, SHM_EXEC)])?;
    }
    if sandbox.restrict_realtime {
        let others: Vec<Condition> =
            ORDINARY_POLICIES.iter().map(|policy| (1, SeccompCmpOp::Ne, *policy)).collect();
        refused.when(EPERM, "sched_setscheduler", &others)?;
        // Its policy lies in memory, where a filter cannot look.
        refused.always(EPERM, "sched_setattr");
    }
    if sandbox.restrict_suid_sgid {
        set_id(refused)?;
    }
    if let Some(allowed) = sandbox.namespaces {
        namespaces(allowed, refused)?;
    }
    if sandbox.lock_personality {
        // 0xffffffff asks and changes nothing.
        let other = [(0, SeccompCmpOp::Ne, personality), (0, SeccompCmpOp::Ne, 0xffff_ffff)];
        refused.when(EPERM, "personality", &other)?;
    }
    if sandbox.protect_hostname {
        refused.always(EPERM, "sethostname");
        refused.always(EPERM, "setdomainname");
    }
    for (on, group) in [
        (sandbox.protect_clock, "@clock"),
        (sandbox.protect_kernel_modules, "@module"),
        (sandbox.private_devices, "@raw-io"),
    ] {
        if on {
            refused.group(EPERM, group);
        }
    }
    if sandbox.protect_kernel_logs {
        refused.always(EPERM, "syslog");
    }
    if sandbox.protect_kernel_tunables {
        refused.always(EPERM, "_sysctl");
    }
    Ok(())
}

fn address_families(families: &NameList, refused: &mut Refused) -> Result<(), BackendError> {
    let numbers = families.names.iter().filter_map(|name| family(name));
    if families.allow {
        let none_of: Vec<Condition> = numbers.map(|number| (0, SeccompCmpOp::Ne, number)).collect();
        return refused.when(EAFNOSUPPORT, "socket", &none_of);
    }
    for number in numbers {
        refused.when(EAFNOSUPPORT, "socket", &[(0, SeccompCmpOp::Eq, number)])?;
    }
    Ok(())
}

/// Nobody may make a file that runs as its owner or group.
fn set_id(refused: &mut Refused) -> Result<(), BackendError> {
    for bit in SET_ID_BITS {
        let mode = |at: u8| (at, SeccompCmpOp::MaskedEq(bit), bit);
        let flag = |at: u8, flag: u64| (at, SeccompCmpOp::MaskedEq(flag), flag);
        for (call, at) in [
            ("chmod", 1),
            ("fchmod", 1),
            ("fchmodat", 2),
            ("fchmodat2", 2),
            ("mkdir", 1),
            ("mkdirat", 2),
            ("mknod", 1),
            ("mknodat", 2),
            ("creat", 1),
        ] {
            refused.when(EPERM, call, &[mode(at)])?;
        }
        for kind in [O_CREAT, O_TMPFILE] {
            refused.when(EPERM, "open", &[flag(1, kind), mode(2)])?;
            refused.when(EPERM, "openat", &[flag(2, kind), mode(3)])?;
        }
    }
    // Its mode lies in memory, where a filter cannot look; who uses it falls back to openat.
    refused.always(ENOSYS, "openat2");
    Ok(())
}

fn namespaces(allowed: u64, refused: &mut Refused) -> Result<(), BackendError> {
    let all = NAMESPACES.iter().fold(0, |all, (_, flag)| all | flag);
    if allowed & all == all {
        return Ok(());
    }
    // Its flags lie in memory, where a filter cannot look; libraries then use clone.
    refused.always(ENOSYS, "clone3");
    // Zero joins a namespace of any kind.
    refused.when(EPERM, "setns", &[(1, SeccompCmpOp::Eq, 0)])?;
    for (_, flag) in NAMESPACES.iter().filter(|(_, flag)| allowed & flag == 0) {
        for (call, at) in [("unshare", 0), ("clone", 0), ("setns", 1)] {
            refused.when(EPERM, call, &[(at, SeccompCmpOp::MaskedEq(*flag), *flag)])?;
        }
    }
    Ok(())
}

/// The number of an address family, socket(2).
fn family(name: &str) -> Option<u64> {
    Some(match name {
        "AF_UNIX" | "AF_LOCAL" => 1,
        "AF_INET" => 2,
        "AF_AX25" => 3,
        "AF_IPX" => 4,
        "AF_APPLETALK" => 5,
        "AF_NETROM" => 6,
        "AF_BRIDGE" => 7,
        "AF_ATMPVC" => 8,
        "AF_X25" => 9,
        "AF_INET6" => 10,
        "AF_ROSE" => 11,
        "AF_DECnet" => 12,
        "AF_NETBEUI" => 13,
        "AF_SECURITY" => 14,
        "AF_KEY" => 15,
        "AF_NETLINK" => 16,
        "AF_PACKET" => 17,
        "AF_ECONET" => 19,
        "AF_ATMSVC" => 20,
        "AF_RDS" => 21,
        "AF_IRDA" => 23,
        "AF_PPPOX" => 24,
        "AF_WANPIPE" => 25,
        "AF_LLC" => 26,
        "AF_IB" => 27,
        "AF_MPLS" => 28,
        "AF_CAN" => 29,
        "AF_TIPC" => 30,
        "AF_BLUETOOTH" => 31,
        "AF_IUCV" => 32,
        "AF_RXRPC" => 33,
        "AF_ISDN" => 34,
        "AF_PHONET" => 35,
        "AF_IEEE802154" => 36,
        "AF_CAIF" => 37,
        "AF_ALG" => 38,
        "AF_NFC" => 39,
        "AF_VSOCK" => 40,
        "AF_KCM" => 41,
        "AF_QIPCRTR" => 42,
        "AF_SMC" => 43,
        "AF_XDP" => 44,
        "AF_MCTP" => 45,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Sandbox {
        Sandbox {
            private_devices: true,
            protect_hostname: true,
            protect_clock: true,
            protect_kernel_tunables: true,
            protect_kernel_modules: true,
            protect_kernel_logs: true,
            restrict_realtime: true,
            restrict_suid_sgid: true,
            lock_personality: true,
            deny_write_execute: true,
            namespaces: Some(0),
            address_families: Some(NameList { allow: true, names: ["AF_UNIX".to_owned()].into() }),
            ..Sandbox::default()
        }
    }

    #[test]
    fn one_program_for_each_answer() {
        assert_eq!(Filters::compile(&Sandbox::default(), 0).unwrap().0.len(), 0);
        // EPERM, ENOSYS, EAFNOSUPPORT
        assert_eq!(Filters::compile(&everything(), 0).unwrap().0.len(), 3);
        let calls = |allow: bool, calls: &[(&str, Option<Refusal>)]| {
            let calls = calls.iter().map(|(name, refusal)| ((*name).to_owned(), *refusal)).collect();
            Sandbox { system_calls: Some(SystemCalls { allow, calls }), ..Sandbox::default() }
        };
        let allow = calls(true, &[("read", None), ("mount", Some(Refusal::Error(1))), ("chown32", None)]);
        assert_eq!(Filters::compile(&allow, 0).unwrap().0.len(), 2);
        let deny = calls(false, &[("mount", None), ("reboot", Some(Refusal::Error(1)))]);
        assert_eq!(Filters::compile(&deny, 0).unwrap().0.len(), 2);
        let native = Sandbox { architectures: ["native".to_owned()].into(), ..Sandbox::default() };
        assert_eq!(Filters::compile(&native, 0).unwrap().0.len(), 1);
        let wide =
            Sandbox { architectures: ["native".to_owned(), "x86".to_owned()].into(), ..Sandbox::default() };
        assert_eq!(Filters::compile(&wide, 0).unwrap().0.len(), 0);
    }

    #[test]
    fn the_longest_list_fits_into_a_program() {
        let known = syscalls::group("@known").unwrap();
        for allow in [true, false] {
            let calls = known.iter().map(|name| ((*name).to_owned(), None)).collect();
            let sandbox = Sandbox { system_calls: Some(SystemCalls { allow, calls }), ..everything() };
            let filters = Filters::compile(&sandbox, 0).unwrap();
            assert!(filters.0.iter().all(|program| program.len() <= 4096));
        }
    }
}
