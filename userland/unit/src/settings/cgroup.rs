//! Resource control, systemd.resource-control(5).

mod address;
mod device;
mod io;

pub use address::{AddressPrefix, SocketBind};
pub use device::{Device, DevicePolicy};
pub use io::{IoLimit, IoSettings};

use super::NameList;

/// A limit: so many bytes or tasks, a share of what there is, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Absolute(u64),
    /// Hundredths of a percent of the whole.
    Share(u32),
    /// No limit.
    Infinity,
}

/// What is counted. `None` is the default: everything that the kernel counts anyway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounting {
    /// CPUAccounting=
    pub cpu: Option<bool>,
    /// MemoryAccounting=
    pub memory: Option<bool>,
    /// TasksAccounting=
    pub tasks: Option<bool>,
    /// IOAccounting=
    pub io: Option<bool>,
    /// BlockIOAccounting=
    pub block_io: Option<bool>,
    /// IPAccounting=
    pub ip: Option<bool>,
}

/// ManagedOOMSwap= and its kin, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManagedOom {
    /// ManagedOOMSwap=
    pub swap: Option<String>,
    /// ManagedOOMMemoryPressure=
    pub memory_pressure: Option<String>,
    /// ManagedOOMMemoryPressureLimit=, of 2³²-1.
    pub memory_pressure_limit: u32,
    /// ManagedOOMPreference=
    pub preference: Option<String>,
}

/// What goes into a cgroup's files. `None` leaves the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupSettings {
    /// Slice=, or the default for the kind of unit.
    pub slice: Option<String>,
    /// Delegate=
    pub delegate: bool,
    /// The controllers named by Delegate=; empty: all.
    pub delegate_controllers: Vec<String>,
    /// DisableControllers=
    pub disable_controllers: Vec<String>,
    /// What is counted.
    pub accounting: Accounting,
    /// CPUWeight=, 1 to 10000; 0 is `idle`.
    pub cpu_weight: Option<u64>,
    /// StartupCPUWeight=
    pub startup_cpu_weight: Option<u64>,
    /// CPUShares=, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// StartupCPUShares=
    pub startup_cpu_shares: Option<u64>,
    /// CPUQuota=, µs of CPU time for each second.
    pub cpu_quota_per_second: Option<u64>,
    /// CPUQuotaPeriodSec=, µs.
    pub cpu_quota_period: Option<u64>,
    /// AllowedCPUs=, sorted.
    pub allowed_cpus: Vec<u32>,
    /// StartupAllowedCPUs=, sorted.
    pub startup_allowed_cpus: Vec<u32>,
    /// AllowedMemoryNodes=, sorted.
    pub allowed_memory_nodes: Vec<u32>,
    /// StartupAllowedMemoryNodes=, sorted.
    pub startup_allowed_memory_nodes: Vec<u32>,
    /// MemoryMin=
    pub memory_min: Option<Amount>,
    /// MemoryLow=
    pub memory_low: Option<Amount>,
    /// DefaultMemoryMin=: for the units in a slice.
    pub default_memory_min: Option<Amount>,
    /// DefaultMemoryLow=: for the units in a slice.
    pub default_memory_low: Option<Amount>,
    /// MemoryHigh=
    pub memory_high: Option<Amount>,
    /// MemoryMax=
    pub memory_max: Option<Amount>,
    /// MemoryLimit=, the old name of MemoryMax=.
    pub memory_limit: Option<Amount>,
    /// MemorySwapMax=
    pub memory_swap_max: Option<Amount>,
    /// TasksMax=; `None`: 15 %, slices no limit.
    pub tasks_max: Option<Amount>,
    /// IOWeight= and its kin.
    pub io: IoSettings,
    /// DevicePolicy=
    pub device_policy: DevicePolicy,
    /// DeviceAllow=, in order.
    pub device_allow: Vec<Device>,
    /// IPAddressAllow=
    pub ip_allow: Vec<AddressPrefix>,
    /// IPAddressDeny=
    pub ip_deny: Vec<AddressPrefix>,
    /// IPIngressFilterPath=
    pub ip_ingress_filters: Vec<String>,
    /// IPEgressFilterPath=
    pub ip_egress_filters: Vec<String>,
    /// SocketBindAllow=
    pub socket_bind_allow: Vec<SocketBind>,
    /// SocketBindDeny=
    pub socket_bind_deny: Vec<SocketBind>,
    /// RestrictNetworkInterfaces=
    pub network_interfaces: Option<NameList>,
    /// BPFProgram=: attach type and path.
    pub bpf_programs: Vec<(String, String)>,
    /// ManagedOOMSwap= and its kin.
    pub managed_oom: ManagedOom,
}

/// The time to which Startup*= is limited, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// The boot and the way down.
    #[default]
    Startup,
    /// In between.
    Regular,
}

impl Phase {
    /// The weight of this phase. Where only the other one has one, it is the kernel's.
    fn weight(self, regular: Option<u64>, startup: Option<u64>) -> Option<u64> {
        const NEUTRAL: u64 = 100;
        match self {
            Phase::Startup => startup.or(regular),
            Phase::Regular => regular.or(startup.map(|_| NEUTRAL)),
        }
    }

    /// The same for a list.
    fn numbers<'a>(self, regular: &'a [u32], startup: &'a [u32]) -> Option<&'a [u32]> {
        let given = !regular.is_empty() || !startup.is_empty();
        let now = if self == Phase::Startup && !startup.is_empty() { startup } else { regular };
        given.then_some(now)
    }
}

impl CgroupSettings {
    /// The weight for `cpu.weight`: CPUWeight=, or CPUShares= on its scale. 0 is `idle`.
    pub fn effective_cpu_weight(&self, phase: Phase) -> Option<u64> {
        const NEUTRAL_SHARES: u64 = 1024;
        let scaled = |shares: u64| (shares * 100 / NEUTRAL_SHARES).clamp(1, 10_000);
        let startup = self.startup_cpu_weight.or(self.startup_cpu_shares.map(scaled));
        phase.weight(self.cpu_weight.or(self.cpu_shares.map(scaled)), startup)
    }

    /// The processors for `cpuset.cpus`; none: all.
    pub fn effective_cpus(&self, phase: Phase) -> Option<&[u32]> {
        phase.numbers(&self.allowed_cpus, &self.startup_allowed_cpus)
    }

    /// The memory nodes for `cpuset.mems`; none: all.
    pub fn effective_memory_nodes(&self, phase: Phase) -> Option<&[u32]> {
        phase.numbers(&self.allowed_memory_nodes, &self.startup_allowed_memory_nodes)
    }

    /// Whether anything differs between the phases.
    pub fn has_phases(&self) -> bool {
        let weights = [
            self.startup_cpu_weight,
            self.startup_cpu_shares,
            self.io.startup_weight,
            self.io.startup_block_weight,
        ];
        weights.iter().any(Option::is_some)
            || !self.startup_allowed_cpus.is_empty()
            || !self.startup_allowed_memory_nodes.is_empty()
    }

    /// The limit for `memory.max`.
    pub fn effective_memory_max(&self) -> Option<Amount> {
        self.memory_max.or(self.memory_limit)
    }
}
