//! What a container uses, in the form that `runc events` prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Cgroup;

/// The statistics of now. What this machine does not count is zero or absent.
#[must_use]
pub fn read(cgroup: &Cgroup) -> Value {
    if cgroup.is_v2() {
        cgroup.paths().get("").map_or(Value::Null, |path| of_v2(path))
    } else {
        of_v1(cgroup)
    }
}

fn one(path: &Path, file: &str) -> u64 {
    let text = fs::read_to_string(path.join(file)).unwrap_or_default();
    // "max" is the largest number.
    if text.trim() == "max" { u64::MAX } else { text.trim().parse().unwrap_or(0) }
}

/// A file of `key value` lines.
fn table(path: &Path, file: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path.join(file)).unwrap_or_default();
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn of_v2(path: &Path) -> Value {
    let cpu = table(path, "cpu.stat");
    let of = |name: &str| cpu.get(name).copied().unwrap_or(0);
    let memory = |name: &str| json!({ "usage": one(path, &format!("memory.{name}current")), "limit": one(path, &format!("memory.{name}max")) });
    json!({
        "cpu": {
            "usage": { "total": of("usage_usec") * 1000, "kernel": of("system_usec") * 1000, "user": of("user_usec") * 1000 },
            "throttling": {
                "periods": of("nr_periods"), "throttledPeriods": of("nr_throttled"), "throttledTime": of("throttled_usec") * 1000,
            },
        },
        "memory": { "usage": memory(""), "swap": memory("swap."), "raw": table(path, "memory.stat") },
        "pids": { "current": one(path, "pids.current"), "limit": limit(one(path, "pids.max")) },
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn of_v1(cgroup: &Cgroup) -> Value {
    let nowhere = Path::new("/nonexistent").to_owned();
    let at = |controller: &str| cgroup.paths().get(controller).unwrap_or(&nowhere);
    let throttled = table(at("cpu"), "cpu.stat");
    let of = |name: &str| throttled.get(name).copied().unwrap_or(0);
    let ticks = table(at("cpuacct"), "cpuacct.stat");
    // Hundredths of a second.
    let time = |name: &str| ticks.get(name).copied().unwrap_or(0) * 10_000_000;
    let memory = |name: &str| {
        let file = |what: &str| one(at("memory"), &format!("memory.{name}{what}"));
        json!({ "usage": file("usage_in_bytes"), "max": file("max_usage_in_bytes"), "failcnt": file("failcnt"), "limit": file("limit_in_bytes") })
    };
    json!({
        "cpu": {
            "usage": { "total": one(at("cpuacct"), "cpuacct.usage"), "kernel": time("system"), "user": time("user") },
            "throttling": {
                "periods": of("nr_periods"), "throttledPeriods": of("nr_throttled"), "throttledTime": of("throttled_time"),
            },
        },
        "memory": {
            "usage": memory(""), "swap": memory("memsw."), "kernel": memory("kmem."), "kernelTCP": memory("kmem.tcp."),
            "raw": table(at("memory"), "memory.stat"),
        },
        "pids": { "current": one(at("pids"), "pids.current"), "limit": limit(one(at("pids"), "pids.max")) },
        "blkio": {},
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// No limit is 0 here.
fn limit(value: u64) -> u64 {
    if value == u64::MAX { 0 } else { value }
}
