//! Resource control, systemd.resource-control(5).

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

/// What goes into a cgroup's files. `None` leaves the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupSettings {
    /// Slice=, or the default for the kind of unit.
    pub slice: Option<String>,
    /// Delegate=
    pub delegate: bool,
    /// The controllers named by Delegate=; empty: all.
    pub delegate_controllers: Vec<String>,
    /// CPUWeight= (1..10000), or CPUShares= translated.
    pub cpu_weight: Option<u64>,
    /// CPUQuota=, µs of CPU time for each second.
    pub cpu_quota_per_second: Option<u64>,
    /// AllowedCPUs=, as written.
    pub allowed_cpus: Option<String>,
    /// AllowedMemoryNodes=, as written.
    pub allowed_memory_nodes: Option<String>,
    /// MemoryMin=
    pub memory_min: Option<Amount>,
    /// MemoryLow=
    pub memory_low: Option<Amount>,
    /// MemoryHigh=
    pub memory_high: Option<Amount>,
    /// MemoryMax= or MemoryLimit=
    pub memory_max: Option<Amount>,
    /// MemorySwapMax=
    pub memory_swap_max: Option<Amount>,
    /// TasksMax=; systemd's default is 15%.
    pub tasks_max: Option<Amount>,
    /// IOWeight= (1..10000), or BlockIOWeight= translated.
    pub io_weight: Option<u64>,
}
