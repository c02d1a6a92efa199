//! `containers/ID/stats`: what a container uses, from its cgroup, or where it has none of its own, its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::answer::{Answer, stream};
use super::request::blocking;
use super::{Api, processes, time};
use crate::state::{Container, Status};

/// `containers/ID/stats?stream=…&one-shot=…`
pub async fn stats(api: &Arc<Api>, name: &str, follow: bool, once: bool) -> Answer {
    let found = name.to_owned();
    let container = blocking(api, move |api| Ok(api.containers().find(&found)?)).await?;
    let (response, send) = stream("application/json");
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let mut before = json!({ "read": time::NEVER, "cpu_stats": {} });
        // Without a measurement before, no share of the processors can be told.
        let mut skip = !follow && !once;
        loop {
            let Ok(container) = api.containers().find(&container.record.id) else { return };
            let now = measure(&container, &before);
            if !skip && send.send(Bytes::from(format!("{now}\n"))).await.is_err() {
                return;
            }
            if !skip && !follow {
                return;
            }
            skip = false;
            before = now;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = send.closed() => return,
            }
        }
    });
    Ok(response)
}

fn measure(container: &Container, before: &Value) -> Value {
    let record = &container.record;
    let name = format!("/{}", record.name);
    let of_before = |field: &str| before.get(field).cloned().unwrap_or_default();
    if container.status != Status::Running {
        return json!({
            "read": time::NEVER, "preread": time::NEVER, "name": name, "id": record.id, "pids_stats": {},
            "blkio_stats": {}, "cpu_stats": { "cpu_usage": { "total_usage": 0 } },
            "precpu_stats": { "cpu_usage": { "total_usage": 0 } }, "memory_stats": {}, "num_procs": 0,
        });
    }
    let usage =
        own_cgroup(container).map_or_else(|| Usage::of_processes(container), |path| Usage::of_cgroup(&path));
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json!({
        "read": time::now(), "preread": of_before("read"), "name": name, "id": record.id,
        "pids_stats": { "current": usage.processes },
        "blkio_stats": { "io_service_bytes_recursive": usage.blocks, "io_serviced_recursive": null },
        "num_procs": 0, "storage_stats": {},
        "cpu_stats": {
            "cpu_usage": { "total_usage": usage.cpu, "usage_in_kernelmode": 0, "usage_in_usermode": usage.cpu },
            "system_cpu_usage": machine_cpu(), "online_cpus": processors,
            "throttling_data": { "periods": 0, "throttled_periods": 0, "throttled_time": 0 },
        },
        "precpu_stats": of_before("cpu_stats"),
        "memory_stats": { "usage": usage.memory, "stats": { "inactive_file": usage.inactive }, "limit": usage.limit },
        "networks": networks(container),
    })
}

struct Usage {
    cpu: u64,
    memory: u64,
    inactive: u64,
    limit: u64,
    processes: u64,
    blocks: Vec<Value>,
}

/// The v2 cgroup that is the container's own.
fn own_cgroup(container: &Container) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.state.pid?)).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = path
        .contains(&container.record.id)
        .then(|| Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')))?;
    path.join("memory.current").exists().then_some(path)
}

impl Usage {
    fn of_cgroup(path: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
        let number = |name: &str| text(name).trim().parse().ok();
        let mut blocks = Vec::new();
        for line in text("io.stat").lines() {
            let mut words = line.split_whitespace();
            let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else {
                continue;
            };
            for word in words {
                let operation = match word.split_once('=') {
                    Some(("rbytes", bytes)) => Some(("read", bytes)),
                    Some(("wbytes", bytes)) => Some(("write", bytes)),
                    _ => None,
                };
                if let Some((operation, bytes)) = operation {
                    blocks.push(json!({
                        "major": major.parse().unwrap_or(0_u64), "minor": minor.parse().unwrap_or(0_u64),
                        "op": operation, "value": bytes.parse().unwrap_or(0_u64),
                    }));
                }
            }
        }
        Self {
            cpu: field(&text("cpu.stat"), "usage_usec").saturating_mul(1000),
            memory: number("memory.current").unwrap_or(0),
            inactive: field(&text("memory.stat"), "inactive_file"),
            limit: number("memory.max").unwrap_or_else(machine_memory),
            processes: number("pids.current").unwrap_or(0),
            blocks,
        }
    }

    fn of_processes(container: &Container) -> Self {
        let mut usage = Self {
            cpu: 0,
            memory: 0,
            inactive: 0,
            limit: machine_memory(),
            processes: 0,
            blocks: Vec::new(),
        };
        for pid in processes::of(container) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
            let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
            // A tick is a hundredth of a second, a page 4 KiB.
            usage.cpu += (number(11) + number(12)) * 10_000_000;
            usage.memory += number(21) * 4096;
            usage.processes += number(17);
        }
        usage
    }
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn machine_memory() -> u64 {
    field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal:") * 1024
}

fn machine_cpu() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    first.split_whitespace().skip(1).take(8).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>()
        * 10_000_000
}

fn networks(container: &Container) -> Value {
    let text =
        fs::read_to_string(format!("/proc/{}/net/dev", container.state.pid.unwrap_or(0))).unwrap_or_default();
    let mut all = serde_json::Map::new();
    for line in text.lines() {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or(0);
        if name.trim() != "lo" {
            all.insert(
                name.trim().to_owned(),
                json!({
                    "rx_bytes": at(0), "rx_packets": at(1), "rx_errors": at(2), "rx_dropped": at(3),
                    "tx_bytes": at(8), "tx_packets": at(9), "tx_errors": at(10), "tx_dropped": at(11),
                }),
            );
        }
    }
    Value::Object(all)
}
