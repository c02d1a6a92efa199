//! Nice=, CPUSchedulingPolicy=, CPUAffinity=, IOSchedulingClass= and their kin.

/// What the kernel is told about when and where a process runs. `None` leaves what PID 1 has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scheduling {
    /// Nice=
    pub nice: Option<i32>,
    /// OOMScoreAdjust=
    pub oom_score_adjust: Option<i32>,
    /// CoredumpFilter=, proc(5)'s bits.
    pub coredump_filter: Option<u64>,
    /// CPUSchedulingPolicy=, sched(7)'s number.
    pub cpu_policy: Option<i32>,
    /// CPUSchedulingPriority=, 1 to 99; of use with the real-time policies only.
    pub cpu_priority: Option<i32>,
    /// CPUSchedulingResetOnFork=
    pub reset_on_fork: bool,
    /// CPUAffinity=: the processors, sorted.
    pub cpu_affinity: Vec<u32>,
    /// CPUAffinity=numa
    pub cpu_affinity_from_numa: bool,
    /// NUMAPolicy=, set_mempolicy(2)'s number.
    pub numa_policy: Option<i32>,
    /// NUMAMask=: the nodes, sorted.
    pub numa_nodes: Vec<u32>,
    /// IOSchedulingClass=, ioprio_set(2)'s number.
    pub io_class: Option<i32>,
    /// IOSchedulingPriority=, 0 to 7.
    pub io_priority: Option<i32>,
    /// TimerSlackNSec=
    pub timer_slack_nsec: Option<u64>,
}

/// A LimitX= line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceLimit {
    /// `NOFILE`, `CORE`, …: what follows `Limit` or `RLIMIT_`.
    pub name: &'static str,
    /// The soft limit, in the unit of setrlimit(2); `u64::MAX` is infinity.
    pub soft: u64,
    /// The hard limit.
    pub hard: u64,
}
