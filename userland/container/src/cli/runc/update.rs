//! `runc update`: other limits for a running container. Only what is named changes.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::containers::Status;
use super::{Error, World, during};

/// Change the limits of a container
#[derive(Debug, clap::Args)]
pub struct Update {
    /// Take them from this file, or - for standard input: the resources of a configuration
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Weight of block I/O, 10 to 1000
    #[arg(long)]
    blkio_weight: Option<u16>,
    /// Length of a CPU period, in microseconds
    #[arg(long, allow_hyphen_values = true)]
    cpu_period: Option<i64>,
    /// CPU time in a period, in microseconds
    #[arg(long, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// CPU time beyond the quota that is saved up, in microseconds
    #[arg(long)]
    cpu_burst: Option<u64>,
    /// Weight of CPU time, 2 to 262144
    #[arg(long, alias = "cpu-shares")]
    cpu_share: Option<u64>,
    /// Real-time period, in microseconds
    #[arg(long)]
    cpu_rt_period: Option<u64>,
    /// Real-time runtime, in microseconds
    #[arg(long, allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// Run only when nobody else wants to: 0 or 1
    #[arg(long)]
    cpu_idle: Option<i64>,
    /// Processors, as 0-3,5
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// Memory nodes
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// Most memory, in bytes; -1: no limit
    #[arg(long, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory that is left alone, in bytes
    #[arg(long, allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// Most memory and swap together, in bytes; -1: no limit
    #[arg(long, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Most processes; -1: no limit
    #[arg(long, allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// The container's ID
    id: String,
}

impl Update {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let _folder = world.containers.folder(&self.id)?;
        let record = world.containers.load(&self.id)?;
        let status = world.containers.status(&record);
        if status == Status::Stopped {
            return Err(Error::State { id: self.id, is: status.word(), wanted: "running" });
        }
        let resources = match &self.resources {
            Some(path) => read(path)?,
            None => self.named()?,
        };
        during("update", record.cgroup.limit(&resources))?;
        if resources.devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
            during("update", record.cgroup.allow_devices(&resources))?;
        }
        Ok(0)
    }

    fn named(&self) -> Result<LinuxResources, Error> {
        let part = |pairs: &[(&str, Option<Value>)]| {
            let named = pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?)));
            let part: Map<String, Value> = named.collect();
            if part.is_empty() { Value::Null } else { Value::Object(part) }
        };
        let value = json!({
            "memory": part(&[
                ("limit", self.memory.map(Value::from)),
                ("reservation", self.memory_reservation.map(Value::from)),
                ("swap", self.memory_swap.map(Value::from)),
            ]),
            "cpu": part(&[
                ("shares", self.cpu_share.map(Value::from)),
                ("quota", self.cpu_quota.map(Value::from)),
                ("period", self.cpu_period.map(Value::from)),
                ("burst", self.cpu_burst.map(Value::from)),
                ("idle", self.cpu_idle.map(Value::from)),
                ("realtimePeriod", self.cpu_rt_period.map(Value::from)),
                ("realtimeRuntime", self.cpu_rt_runtime.map(Value::from)),
                ("cpus", self.cpuset_cpus.clone().map(Value::from)),
                ("mems", self.cpuset_mems.clone().map(Value::from)),
            ]),
            "pids": part(&[("limit", self.pids_limit.map(Value::from))]),
            "blockIO": part(&[("weight", self.blkio_weight.map(Value::from))]),
        });
        serde_json::from_value(value).map_err(|error| Error::Usage(error.to_string()))
    }
}

fn read(path: &PathBuf) -> Result<LinuxResources, Error> {
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        during("standard input", std::io::stdin().read_to_end(&mut text))?;
    } else {
        text = during(path.display().to_string(), fs::read(path))?;
    }
    serde_json::from_slice(&text).map_err(|source| Error::Config { path: path.clone(), source })
}
