//! The v1 hierarchies, and the hybrid tree, where a v2 one without controllers stands beside them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

use super::{Cgroup, ROOT, set};

/// A hierarchy: the name of its directory below the root, its controllers, and where we stand in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub directory: PathBuf,
    pub controllers: Vec<String>,
    pub own: PathBuf,
}

/// The hierarchies that are mounted where they are expected.
pub(super) fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    let mut all = parse(&fs::read_to_string("/proc/self/cgroup")?);
    all.retain(|hierarchy| hierarchy.directory.is_dir());
    Ok(all)
}

/// proc(5): `ID:CONTROLLERS:PATH`.
fn parse(text: &str) -> Vec<Hierarchy> {
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, own) = (fields.next()?, fields.next()?);
        let name = controllers.strip_prefix("name=").unwrap_or(controllers);
        let directory = Path::new(ROOT).join(if name.is_empty() { "unified" } else { name });
        let controllers = name.split(',').map(str::to_owned).collect();
        Some(Hierarchy { directory, controllers, own: own.trim_start_matches('/').into() })
    };
    text.lines().filter_map(line).collect()
}

pub(super) fn create(wanted: &Path) -> io::Result<Cgroup> {
    let mut paths = BTreeMap::new();
    for hierarchy in hierarchies()? {
        let mut path = hierarchy.directory.clone();
        if !wanted.is_absolute() {
            path.push(&hierarchy.own);
        }
        let is_cpuset = hierarchy.controllers.iter().any(|name| name == "cpuset");
        for part in wanted.strip_prefix("/").unwrap_or(wanted).components() {
            let parent = path.clone();
            path.push(part);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(super::at(&path, error));
                }
                _ => {}
            }
            if is_cpuset {
                inherit_cpuset(&parent, &path)?;
            }
        }
        for controller in hierarchy.controllers {
            paths.insert(controller, path.clone());
        }
    }
    Ok(Cgroup { paths })
}

/// A new cpuset has neither processors nor memory: no process can be in it.
fn inherit_cpuset(parent: &Path, path: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(path.join(file))?.trim().is_empty() {
            let inherited = fs::read_to_string(parent.join(file))?;
            set(path, file, inherited.trim())?;
        }
    }
    Ok(())
}

pub(super) fn limit(paths: &BTreeMap<String, PathBuf>, resources: &LinuxResources) -> io::Result<()> {
    for (controller, file, value) in settings(resources) {
        match paths.get(controller) {
            Some(path) if path.join(&file).exists() => set(path, &file, &value)?,
            _ => {
                let text = format!("{file} = {value}: this machine has no such cgroup controller");
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
        }
    }
    memory(paths, resources)
}

/// Memory and swap bound each other: which is written first depends on which grows.
fn memory(paths: &BTreeMap<String, PathBuf>, resources: &LinuxResources) -> io::Result<()> {
    let (Some(path), Some(memory)) = (paths.get("memory"), resources.memory()) else { return Ok(()) };
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    let swaps = path.join("memory.memsw.limit_in_bytes").exists();
    let mut order = Vec::new();
    order.extend(limit.map(|limit| ("memory.limit_in_bytes", limit)));
    order.extend(swap.filter(|_| swaps).map(|swap| ("memory.memsw.limit_in_bytes", swap)));
    if order.iter().try_for_each(|(file, value)| set(path, file, &value.to_string())).is_err() {
        order.iter().rev().try_for_each(|(file, value)| set(path, file, &value.to_string()))?;
    }
    Ok(())
}

/// Controllers, their files and what to write into them, in order.
fn settings(resources: &LinuxResources) -> Vec<(&'static str, String, String)> {
    let mut settings = Vec::new();
    let mut add = |controller, file: &str, value: Option<String>| {
        settings.extend(value.map(|value| (controller, file.to_owned(), value)));
    };
    let positive = |value: Option<u64>| value.filter(|value| *value > 0).map(|value| value.to_string());
    if let Some(memory) = resources.memory() {
        let low = memory.reservation().filter(|low| *low != 0);
        add("memory", "memory.soft_limit_in_bytes", low.map(|low| low.to_string()));
        add("memory", "memory.swappiness", memory.swappiness().map(|value| value.to_string()));
        let disabled = memory.disable_oom_killer().filter(|disabled| *disabled);
        add("memory", "memory.oom_control", disabled.map(|_| "1".to_owned()));
    }
    if let Some(cpu) = resources.cpu() {
        add("cpu", "cpu.idle", cpu.idle().map(|idle| idle.to_string()));
        add("cpu", "cpu.shares", positive(cpu.shares()));
        add("cpu", "cpu.cfs_period_us", positive(cpu.period()));
        add(
            "cpu",
            "cpu.cfs_quota_us",
            cpu.quota().filter(|quota| *quota != 0).map(|quota| quota.to_string()),
        );
        add("cpu", "cpu.cfs_burst_us", cpu.burst().map(|burst| burst.to_string()));
        add("cpu", "cpu.rt_period_us", positive(cpu.realtime_period()));
        let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
        add("cpu", "cpu.rt_runtime_us", runtime.map(|runtime| runtime.to_string()));
        add("cpuset", "cpuset.cpus", cpu.cpus().clone().filter(|list| !list.is_empty()));
        add("cpuset", "cpuset.mems", cpu.mems().clone().filter(|list| !list.is_empty()));
    }
    if let Some(pids) = resources.pids().filter(|pids| pids.limit() != 0) {
        add("pids", "pids.max", Some(super::number(pids.limit())));
    }
    if let Some(io) = resources.block_io() {
        let weight = io.weight().filter(|weight| *weight > 0);
        // The scheduler names the file.
        let file = if Path::new(ROOT).join("blkio/blkio.weight").exists() {
            "blkio.weight"
        } else {
            "blkio.bfq.weight"
        };
        add("blkio", file, weight.map(|weight| weight.to_string()));
        let throttles = [
            ("blkio.throttle.read_bps_device", io.throttle_read_bps_device()),
            ("blkio.throttle.write_bps_device", io.throttle_write_bps_device()),
            ("blkio.throttle.read_iops_device", io.throttle_read_iops_device()),
            ("blkio.throttle.write_iops_device", io.throttle_write_iops_device()),
        ];
        for (file, devices) in throttles {
            for device in devices.iter().flatten() {
                add("blkio", file, Some(format!("{}:{} {}", device.major(), device.minor(), device.rate())));
            }
        }
    }
    for page in resources.hugepage_limits().iter().flatten() {
        let file = format!("hugetlb.{}.limit_in_bytes", page.page_size());
        add("hugetlb", &file, Some(page.limit().to_string()));
    }
    if let Some(network) = resources.network() {
        add("net_cls", "net_cls.classid", network.class_id().map(|class| class.to_string()));
        for priority in network.priorities().iter().flatten() {
            add(
                "net_prio",
                "net_prio.ifpriomap",
                Some(format!("{} {}", priority.name(), priority.priority())),
            );
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_hierarchies() {
        let all = parse("4:cpu,cpuacct:/a/b\n1:name=systemd:/\n0::/c\nrubbish\n");
        assert_eq!(all.len(), 3);
        assert_eq!(all[0].directory, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!((all[0].controllers.len(), all[0].own.as_path()), (2, Path::new("a/b")));
        assert_eq!(all[1].directory, Path::new("/sys/fs/cgroup/systemd"));
        assert_eq!(
            (all[2].directory.as_path(), all[2].controllers[0].as_str()),
            (Path::new("/sys/fs/cgroup/unified"), "")
        );
    }

    #[test]
    fn resources_become_files() {
        let resources =
            serde_json::from_str(r#"{"cpu":{"shares":512,"quota":-1},"pids":{"limit":7}}"#).unwrap();
        let told: Vec<String> =
            settings(&resources).iter().map(|(_, file, value)| format!("{file}={value}")).collect();
        assert_eq!(told, ["cpu.shares=512", "cpu.cfs_quota_us=-1", "pids.max=7"]);
    }
}
