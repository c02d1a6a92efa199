//! Options of `docker run` that limit a container, or give it more.

use serde_json::{Value, json};

use super::values;

/// What it may use.
#[derive(Debug, clap::Args)]
pub(super) struct Resources {
    /// Most memory: bytes, or with k, m, g
    #[arg(short, long, value_parser = values::bytes)]
    memory: Option<i64>,
    /// Most memory and swap together; -1: as much swap as there is
    #[arg(long, value_parser = values::bytes_or_all)]
    memory_swap: Option<i64>,
    /// Memory that is left to it when others need some
    #[arg(long, value_parser = values::bytes)]
    memory_reservation: Option<i64>,
    /// Most processor time, as a number of processors
    #[arg(long)]
    pub cpus: Option<f64>,
    /// Its part of processor time when others want some, too; others have 1024
    #[arg(short, long)]
    cpu_shares: Option<u64>,
    /// Most processor time in a period, in microseconds
    #[arg(long)]
    cpu_quota: Option<i64>,
    /// That period, in microseconds
    #[arg(long)]
    cpu_period: Option<i64>,
    /// The processors it may run on, as 0-2,7
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// The memory nodes it may use, as 0-1
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Its part of disks' time, 10 to 1000
    #[arg(long)]
    blkio_weight: Option<u16>,
    /// Most processes
    #[arg(long)]
    pids_limit: Option<i64>,
    /// Limit of each process: NAME=SOFT[:HARD]
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit)]
    ulimit: Vec<values::Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_parser = values::bytes)]
    shm_size: Option<i64>,
    /// How gladly the kernel ends it when memory runs out, -1000 to 1000
    #[arg(long)]
    oom_score_adj: Option<i32>,
}

impl Resources {
    /// Its fields of `HostConfig`.
    pub(super) fn told(&self) -> Value {
        #[expect(clippy::cast_possible_truncation, reason = "the caller bounds it to what fits")]
        let nano_cpus = self.cpus.map_or(0, |cpus| (cpus * 1e9) as i64);
        json!({
            "Memory": self.memory.unwrap_or(0), "MemorySwap": self.memory_swap.unwrap_or(0),
            "MemoryReservation": self.memory_reservation.unwrap_or(0), "NanoCpus": nano_cpus,
            "CpuShares": self.cpu_shares.unwrap_or(0), "CpuQuota": self.cpu_quota.unwrap_or(0),
            "CpuPeriod": self.cpu_period.unwrap_or(0), "CpusetCpus": self.cpuset_cpus.as_deref().unwrap_or_default(),
            "CpusetMems": self.cpuset_mems.as_deref().unwrap_or_default(),
            "BlkioWeight": self.blkio_weight.unwrap_or(0), "PidsLimit": self.pids_limit,
            "Ulimits": self.ulimit.iter().map(values::Ulimit::told).collect::<Vec<_>>(),
            "ShmSize": self.shm_size.unwrap_or(0), "OomScoreAdj": self.oom_score_adj.unwrap_or(0),
        })
    }
}
