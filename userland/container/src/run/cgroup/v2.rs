//! The v2 tree: one directory a container; controllers are switched on from the top down.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxBlockIo, LinuxMemory, LinuxResources};

use super::{Cgroup, ROOT, number, set};

const CONTROLLERS: [&str; 7] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"];

/// Makes the directory; `wanted` is below the root if absolute, else below our own cgroup.
pub(super) fn create(wanted: &Path, resources: &LinuxResources) -> io::Result<Cgroup> {
    let below = wanted.strip_prefix("/").unwrap_or(wanted);
    let mut path = PathBuf::from(ROOT);
    if !wanted.is_absolute()
        && let Some(own) = super::unit::own_path()
    {
        path.push(own.trim_start_matches('/'));
    }
    let limited = !settings(resources).is_empty();
    let parts: Vec<_> = below.components().collect();
    for part in parts {
        if limited || path == Path::new(ROOT) {
            enable_controllers(&path);
        }
        path.push(part);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
            }
            _ => {}
        }
    }
    Ok(Cgroup::of_v2(path))
}

/// What can be had; a limit whose controller is missing fails by its own name.
fn enable_controllers(path: &Path) {
    let read = |file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
    let (available, enabled) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let has = |text: &str, name: &str| text.split_whitespace().any(|one| one == name);
    let wanted: Vec<String> = CONTROLLERS
        .iter()
        .filter(|name| has(&available, name) && !has(&enabled, name))
        .map(|name| format!("+{name}"))
        .collect();
    if !wanted.is_empty() && fs::write(path.join("cgroup.subtree_control"), wanted.join(" ")).is_err() {
        for one in wanted {
            let _ = fs::write(path.join("cgroup.subtree_control"), one);
        }
    }
}

pub(super) fn limit(path: &Path, resources: &LinuxResources) -> io::Result<()> {
    settings(resources).iter().try_for_each(|(file, value)| set(path, file, value))
}

/// Whether anything is to be limited.
#[must_use]
pub fn wants_limits(resources: &LinuxResources) -> bool {
    !settings(resources).is_empty()
}

/// The files of a v2 cgroup and what to write into them, in order.
fn settings(resources: &LinuxResources) -> Vec<(String, String)> {
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut add = |file: &str, value: String| settings.push((file.to_owned(), value));
    if let Some(memory) = resources.memory() {
        memory_settings(memory, &mut add);
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(idle) = cpu.idle() {
            add("cpu.idle", idle.to_string());
        }
        if let Some(shares) = cpu.shares().filter(|shares| *shares > 0 && cpu.idle() != Some(1)) {
            add("cpu.weight", weight_of_shares(shares).to_string());
        }
        let quota = cpu.quota().filter(|quota| *quota != 0);
        let period = cpu.period().filter(|period| *period > 0);
        match (quota, period) {
            (None, None) => {}
            (quota, None) => add("cpu.max", number(quota.unwrap_or(-1))),
            (quota, Some(period)) => add("cpu.max", format!("{} {period}", number(quota.unwrap_or(-1)))),
        }
        if let Some(burst) = cpu.burst() {
            add("cpu.max.burst", burst.to_string());
        }
        let named = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
        if let Some(cpus) = named(cpu.cpus()) {
            add("cpuset.cpus", cpus);
        }
        if let Some(mems) = named(cpu.mems()) {
            add("cpuset.mems", mems);
        }
    }
    if let Some(pids) = resources.pids().filter(|pids| pids.limit() != 0) {
        add("pids.max", number(pids.limit()));
    }
    if let Some(io) = resources.block_io() {
        io_settings(io, &mut add);
    }
    for page in resources.hugepage_limits().iter().flatten() {
        add(&format!("hugetlb.{}.max", page.page_size()), page.limit().to_string());
    }
    for (device, limit) in resources.rdma().iter().flatten() {
        let part = |name: &str, value: Option<u32>| {
            value.map(|value| format!(" {name}={value}")).unwrap_or_default()
        };
        let handles = part("hca_handle", limit.hca_handles());
        add("rdma.max", format!("{device}{handles}{}", part("hca_object", limit.hca_objects())));
    }
    // What the configuration says in the kernel's own words comes last and wins.
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        add(file, value.clone());
    }
    settings
}

fn memory_settings(memory: &LinuxMemory, add: &mut impl FnMut(&str, String)) {
    // In v1 the limit of swap counts memory too.
    match (memory.limit().filter(|limit| *limit != 0), memory.swap().filter(|swap| *swap != 0)) {
        (_, Some(swap)) if swap < 0 => add("memory.swap.max", "max".to_owned()),
        (Some(limit), Some(swap)) if limit > 0 => add("memory.swap.max", (swap - limit).max(0).to_string()),
        _ => {}
    }
    if let Some(limit) = memory.limit().filter(|limit| *limit != 0) {
        add("memory.max", number(limit));
    }
    if let Some(low) = memory.reservation().filter(|low| *low != 0) {
        add("memory.low", number(low));
    }
}

fn io_settings(io: &LinuxBlockIo, add: &mut impl FnMut(&str, String)) {
    // The range 10..=1000 of v1's weights onto the range 1..=10000 of v2's.
    let scaled = |weight: u16| 1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990;
    if let Some(weight) = io.weight().filter(|weight| *weight > 0) {
        add("io.weight", format!("default {}", scaled(weight)));
    }
    for device in io.weight_device().iter().flatten() {
        if let Some(weight) = device.weight() {
            add("io.weight", format!("{}:{} {}", device.major(), device.minor(), scaled(weight)));
        }
    }
    let throttles = [
        ("rbps", io.throttle_read_bps_device()),
        ("wbps", io.throttle_write_bps_device()),
        ("riops", io.throttle_read_iops_device()),
        ("wiops", io.throttle_write_iops_device()),
    ];
    for (what, devices) in throttles {
        for device in devices.iter().flatten() {
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            add("io.max", format!("{}:{} {what}={rate}", device.major(), device.minor()));
        }
    }
}

/// The range 2..=262144 of shares onto the range 1..=10000 of weights.
fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(json: &str) -> Vec<(String, String)> {
        settings(&serde_json::from_str(json).unwrap())
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(file, value)| ((*file).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn resources_become_files() {
        assert_eq!(
            files(
                r#"{"memory":{"limit":1048576,"swap":2097152,"reservation":4096},
                "cpu":{"quota":50000,"period":100000,"shares":1024,"cpus":"0-1","burst":7},"pids":{"limit":-1},
                "blockIO":{"weight":500,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":4096}]},
                "hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"unified":{"memory.high":"9"}}"#
            ),
            pairs(&[
                ("memory.swap.max", "1048576"),
                ("memory.max", "1048576"),
                ("memory.low", "4096"),
                ("cpu.weight", "39"),
                ("cpu.max", "50000 100000"),
                ("cpu.max.burst", "7"),
                ("cpuset.cpus", "0-1"),
                ("pids.max", "max"),
                ("io.weight", "default 4950"),
                ("io.max", "8:0 rbps=4096"),
                ("hugetlb.2MB.max", "4194304"),
                ("memory.high", "9"),
            ])
        );
        assert!(!wants_limits(&LinuxResources::default()) || LinuxResources::default().pids().is_some());
    }

    #[test]
    fn half_a_setting_leaves_the_other_half() {
        assert_eq!(files(r#"{"cpu":{"quota":-1}}"#), pairs(&[("cpu.max", "max")]));
        assert_eq!(files(r#"{"cpu":{"period":5000}}"#), pairs(&[("cpu.max", "max 5000")]));
        assert_eq!(files(r#"{"memory":{"swap":-1}}"#), pairs(&[("memory.swap.max", "max")]));
    }
}
