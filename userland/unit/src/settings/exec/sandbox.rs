//! What a unit's processes may see and do: the settings of systemd.exec(5)'s chapter "Sandboxing" and "System call
//! filtering".

use std::collections::{BTreeMap, BTreeSet};

/// ProtectSystem=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtectSystem {
    /// Nothing.
    #[default]
    No,
    /// /usr and the boot loader's folders are read-only.
    Yes,
    /// /etc too.
    Full,
    /// Everything but /dev, /proc and /sys.
    Strict,
}

/// ProtectHome=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtectHome {
    /// Nothing.
    #[default]
    No,
    /// /home, /root and /run/user are empty and out of reach.
    Yes,
    /// They are read-only.
    ReadOnly,
    /// They are empty.
    Tmpfs,
}

/// ProtectProc=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProtectProc {
    /// As the system has it.
    #[default]
    Default,
    /// Others' processes are there but closed.
    NoAccess,
    /// Others' processes are not there.
    Invisible,
    /// What may not be traced is not there.
    Ptraceable,
}

/// ProcSubset=
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProcSubset {
    /// All of /proc.
    #[default]
    All,
    /// The processes only.
    Pid,
}

/// KeyringMode=
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyringMode {
    /// PID 1's.
    Inherit,
    /// A fresh one.
    Private,
    /// A fresh one that leads to the user's.
    Shared,
}

/// A setting's words, as a table from word to value.
macro_rules! words {
    ($type:ty { $($word:literal => $value:path),+ $(,)? }) => {
        impl $type {
            /// By systemd's word.
            pub fn parse(word: &str) -> Option<Self> {
                match word {
                    $($word => Some($value),)+
                    _ => None,
                }
            }

            /// systemd's word for it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($value => $word,)+
                }
            }
        }
    };
}

words!(ProtectSystem {
    "no" => ProtectSystem::No,
    "yes" => ProtectSystem::Yes,
    "full" => ProtectSystem::Full,
    "strict" => ProtectSystem::Strict,
});
words!(ProtectHome {
    "no" => ProtectHome::No,
    "yes" => ProtectHome::Yes,
    "read-only" => ProtectHome::ReadOnly,
    "tmpfs" => ProtectHome::Tmpfs,
});
words!(ProtectProc {
    "default" => ProtectProc::Default,
    "noaccess" => ProtectProc::NoAccess,
    "invisible" => ProtectProc::Invisible,
    "ptraceable" => ProtectProc::Ptraceable,
});
words!(ProcSubset { "all" => ProcSubset::All, "pid" => ProcSubset::Pid });
words!(KeyringMode {
    "inherit" => KeyringMode::Inherit,
    "private" => KeyringMode::Private,
    "shared" => KeyringMode::Shared,
});

/// A path of ReadOnlyPaths= and its kin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathRule {
    /// Absolute.
    pub path: String,
    /// `-`: not there is fine.
    pub missing_ok: bool,
    /// `+`: below RootDirectory=, not on the host.
    pub in_root: bool,
}

impl PathRule {
    /// As it stands in a unit file.
    pub fn text(&self) -> String {
        let mark = |on: bool, mark: &'static str| if on { mark } else { "" };
        format!("{}{}{}", mark(self.missing_ok, "-"), mark(self.in_root, "+"), self.path)
    }
}

/// A mount of BindPaths=, BindReadOnlyPaths=.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// What the unit gets to see.
    pub source: String,
    /// Where it sees it.
    pub destination: String,
    /// `-`: not there is fine.
    pub missing_ok: bool,
    /// With what is mounted below it.
    pub recursive: bool,
    /// BindReadOnlyPaths=
    pub read_only: bool,
}

/// A list that allows what it names, or forbids it (`~`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameList {
    /// It names what is allowed.
    pub allow: bool,
    /// The names.
    pub names: BTreeSet<String>,
}

/// What a system call gets instead of being carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The process is killed.
    Kill,
    /// This error number.
    Error(i32),
}

/// SystemCallFilter=
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemCalls {
    /// It names what is allowed; otherwise what is forbidden.
    pub allow: bool,
    /// The calls; with a refusal of their own where `:errno` was written.
    pub calls: BTreeMap<String, Option<Refusal>>,
}

/// Capabilities that may be had: everything.
pub const ALL_CAPABILITIES: u64 = u64::MAX;
/// The namespaces of RestrictNamespaces=, by name and clone(2)'s flag.
pub const NAMESPACES: [(&str, u64); 7] = [
    ("cgroup", 0x0200_0000),
    ("ipc", 0x0800_0000),
    ("net", 0x4000_0000),
    ("mnt", 0x0002_0000),
    ("pid", 0x2000_0000),
    ("user", 0x1000_0000),
    ("uts", 0x0400_0000),
];

/// The sandbox of a unit's processes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sandbox {
    /// ProtectSystem=
    pub protect_system: ProtectSystem,
    /// ProtectHome=
    pub protect_home: ProtectHome,
    /// ProtectProc=
    pub protect_proc: ProtectProc,
    /// ProcSubset=
    pub proc_subset: ProcSubset,
    /// PrivateTmp=
    pub private_tmp: bool,
    /// PrivateDevices=
    pub private_devices: bool,
    /// PrivateNetwork=
    pub private_network: bool,
    /// PrivateUsers=
    pub private_users: bool,
    /// PrivateIPC=
    pub private_ipc: bool,
    /// PrivateMounts=; `None`: as the other settings need.
    pub private_mounts: Option<bool>,
    /// ProtectHostname=
    pub protect_hostname: bool,
    /// ProtectClock=
    pub protect_clock: bool,
    /// ProtectKernelTunables=
    pub protect_kernel_tunables: bool,
    /// ProtectKernelModules=
    pub protect_kernel_modules: bool,
    /// ProtectKernelLogs=
    pub protect_kernel_logs: bool,
    /// ProtectControlGroups=
    pub protect_control_groups: bool,
    /// ReadWritePaths=
    pub read_write: Vec<PathRule>,
    /// ReadOnlyPaths=
    pub read_only: Vec<PathRule>,
    /// InaccessiblePaths=
    pub inaccessible: Vec<PathRule>,
    /// ExecPaths=
    pub exec: Vec<PathRule>,
    /// NoExecPaths=
    pub no_exec: Vec<PathRule>,
    /// TemporaryFileSystem=: where, and mount(8)'s options.
    pub temporary: Vec<(String, String)>,
    /// BindPaths=, BindReadOnlyPaths=
    pub binds: Vec<Bind>,
    /// MountFlags=: `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, or 0 for the default.
    pub mount_flags: u64,
    /// MountAPIVFS=; `None`: where there is a root of its own.
    pub mount_api: Option<bool>,
    /// NetworkNamespacePath=
    pub network_namespace: Option<String>,
    /// IPCNamespacePath=
    pub ipc_namespace: Option<String>,
    /// NoNewPrivileges=
    pub no_new_privileges: bool,
    /// SystemCallFilter=
    pub system_calls: Option<SystemCalls>,
    /// SystemCallErrorNumber=; `None`: the process is killed.
    pub system_call_error: Option<i32>,
    /// SystemCallLog=
    pub system_call_log: Option<SystemCalls>,
    /// SystemCallArchitectures=
    pub architectures: BTreeSet<String>,
    /// RestrictAddressFamilies=
    pub address_families: Option<NameList>,
    /// RestrictFileSystems=
    pub file_systems: Option<NameList>,
    /// RestrictNamespaces=: the kinds that may be made, clone(2)'s flags; `None`: all.
    pub namespaces: Option<u64>,
    /// RestrictRealtime=
    pub restrict_realtime: bool,
    /// RestrictSUIDSGID=
    pub restrict_suid_sgid: bool,
    /// LockPersonality=
    pub lock_personality: bool,
    /// MemoryDenyWriteExecute=
    pub deny_write_execute: bool,
}

impl Sandbox {
    /// Whether a filter for system calls is wanted, which a process without privileges may only have when it can get
    /// none.
    pub fn filters(&self) -> bool {
        self.system_calls.is_some()
            || self.system_call_log.is_some()
            || !self.architectures.is_empty()
            || self.address_families.is_some()
            || self.namespaces.is_some()
            || self.protect_hostname
            || self.protect_clock
            || self.protect_kernel_tunables
            || self.protect_kernel_modules
            || self.protect_kernel_logs
            || self.private_devices
            || self.restrict_realtime
            || self.restrict_suid_sgid
            || self.lock_personality
            || self.deny_write_execute
    }
}
