//! From a unit's settings to the files of its cgroup (Documentation/admin-guide/cgroup-v2.rst).

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, makedev, minor};
use unit::settings::{Amount, CgroupSettings, IoLimit, Phase};

/// The controllers that a delegated unit gets.
pub const DELEGATED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
/// µs: the kernel's usual period of CPU bandwidth control, and its shortest quota.
const CPU_PERIOD: u64 = 100_000;
const SHORTEST_QUOTA: u64 = 1000;
const SECOND: u64 = 1_000_000;

/// An amount of memory in bytes; no limit is `u64::MAX`.
#[must_use]
pub fn bytes(amount: Amount) -> u64 {
    absolute(amount, || {
        let info = rustix::system::sysinfo();
        info.totalram.saturating_mul(u64::from(info.mem_unit))
    })
}

/// A number of tasks; no limit is `u64::MAX`.
#[must_use]
pub fn tasks(amount: Amount) -> u64 {
    absolute(amount, || {
        let read = |name: &str| {
            fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).ok()?.trim().parse::<u64>().ok()
        };
        read("pid_max").into_iter().chain(read("threads-max")).min().unwrap_or(u64::from(u16::MAX) / 2)
    })
}

fn absolute(amount: Amount, whole: impl Fn() -> u64) -> u64 {
    match amount {
        Amount::Absolute(number) => number,
        Amount::Share(share) => {
            u64::try_from(u128::from(whole()) * u128::from(share) / 10_000).unwrap_or(u64::MAX)
        }
        Amount::Infinity => u64::MAX,
    }
}

/// The files to write for these settings in a phase, in order.
#[must_use]
pub fn files(settings: &CgroupSettings, phase: Phase) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    let memory = [
        ("memory.min", settings.memory_min),
        ("memory.low", settings.memory_low),
        ("memory.high", settings.memory_high),
        ("memory.max", settings.effective_memory_max()),
        ("memory.swap.max", settings.memory_swap_max),
    ];
    files.extend(memory.into_iter().filter_map(|(file, amount)| Some((file, most(bytes(amount?))))));
    files.extend(settings.tasks_max.map(|amount| ("pids.max", most(tasks(amount)))));
    match settings.effective_cpu_weight(phase) {
        Some(0) => files.push(("cpu.idle", "1".into())),
        Some(weight) => files.push(("cpu.weight", weight.to_string())),
        None => {}
    }
    if let Some(quota) = settings.cpu_quota_per_second {
        let period = settings.cpu_quota_period.unwrap_or(CPU_PERIOD);
        let share = (quota.saturating_mul(period) / SECOND).max(SHORTEST_QUOTA);
        files.push(("cpu.max", format!("{share} {period}")));
    }
    files.extend(settings.effective_cpus(phase).map(|cpus| ("cpuset.cpus", list(cpus))));
    files.extend(settings.effective_memory_nodes(phase).map(|nodes| ("cpuset.mems", list(nodes))));
    disks(settings, phase, &mut files);
    files
}

fn most(number: u64) -> String {
    if number == u64::MAX { "max".into() } else { number.to_string() }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn disks(settings: &CgroupSettings, phase: Phase, files: &mut Vec<(&'static str, String)>) {
    let io = &settings.io;
    files.extend(io.effective_weight(phase).map(|weight| ("io.weight", format!("default {weight}"))));
    for (path, weight) in io.effective_device_weights() {
        files.extend(device_of(&path).map(|device| ("io.weight", format!("{device} {weight}"))));
    }
    for limit in io.limits.iter().chain(&io.block_limits) {
        files.extend(device_of(&limit.path).map(|device| ("io.max", format!("{device} {}", maxima(limit)))));
    }
    for (path, usec) in &io.latency_targets {
        files.extend(device_of(path).map(|device| ("io.latency", format!("{device} target={usec}"))));
    }
}

fn maxima(limit: &IoLimit) -> String {
    let fields = [
        ("rbps", limit.read_bandwidth),
        ("wbps", limit.write_bandwidth),
        ("riops", limit.read_iops),
        ("wiops", limit.write_iops),
    ];
    let words = fields.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", most(value?))));
    words.collect::<Vec<_>>().join(" ")
}

/// `major:minor` of the whole disk that a path is, or lies on; the kernel limits no partitions.
fn device_of(path: &str) -> Option<String> {
    let data = fs::metadata(path).ok()?;
    let device = if data.file_type().is_block_device() { data.rdev() } else { data.dev() };
    let sys = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let whole = Path::new(&sys).join("partition").exists().then(|| sys.clone() + "/../dev");
    let text = whole.and_then(|path| fs::read_to_string(path).ok());
    let (major, minor) = match text.as_deref().and_then(|text| text.trim().split_once(':')) {
        Some((major_of, minor_of)) => (major_of.parse().ok()?, minor_of.parse().ok()?),
        None => (major(device), minor(device)),
    };
    (makedev(major, minor) != 0 && Path::new(&format!("/sys/dev/block/{major}:{minor}")).exists())
        .then(|| format!("{major}:{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unit::settings::IoSettings;

    #[test]
    fn settings_become_files() {
        let settings = CgroupSettings {
            cpu_weight: Some(200),
            cpu_quota_per_second: Some(500_000),
            memory_max: Some(Amount::Absolute(1 << 20)),
            tasks_max: Some(Amount::Infinity),
            allowed_cpus: vec![0, 2],
            io: IoSettings { block_weight: Some(1000), ..IoSettings::default() },
            ..CgroupSettings::default()
        };
        let want = [
            ("memory.max", "1048576"),
            ("pids.max", "max"),
            ("cpu.weight", "200"),
            ("cpu.max", "50000 100000"),
            ("cpuset.cpus", "0,2"),
            ("io.weight", "default 200"),
        ];
        assert_eq!(files(&settings, Phase::Regular), want.map(|(file, value)| (file, value.to_owned())));
        assert_eq!(files(&CgroupSettings::default(), Phase::Startup), []);
    }

    #[test]
    fn what_is_for_the_startup_ends_with_it() {
        let settings = CgroupSettings {
            startup_cpu_shares: Some(2048),
            startup_allowed_cpus: vec![1],
            allowed_memory_nodes: vec![0],
            startup_allowed_memory_nodes: vec![0, 1],
            io: IoSettings { weight: Some(7), startup_weight: Some(9), ..IoSettings::default() },
            ..CgroupSettings::default()
        };
        assert!(settings.has_phases() && !CgroupSettings::default().has_phases());
        let files =
            |phase| files(&settings, phase).into_iter().map(|(file, value)| format!("{file} {value}"));
        let startup = ["cpu.weight 200", "cpuset.cpus 1", "cpuset.mems 0,1", "io.weight default 9"];
        assert!(files(Phase::Startup).eq(startup));
        // The kernel takes an empty list for all processors.
        let regular = ["cpu.weight 100", "cpuset.cpus ", "cpuset.mems 0", "io.weight default 7"];
        assert!(files(Phase::Regular).eq(regular));
    }

    #[test]
    fn old_names_and_shares_count() {
        let settings = CgroupSettings {
            cpu_shares: Some(2048),
            memory_limit: Some(Amount::Share(5000)),
            cpu_quota_per_second: Some(1_000),
            cpu_quota_period: Some(10_000),
            ..CgroupSettings::default()
        };
        let half = bytes(Amount::Share(10_000)) / 2;
        let want = [
            ("memory.max", half.to_string()),
            ("cpu.weight", "200".into()),
            ("cpu.max", "1000 10000".into()),
        ];
        assert_eq!(files(&settings, Phase::Regular), want);
        let limit = IoLimit { read_bandwidth: Some(5), write_iops: Some(u64::MAX), ..IoLimit::default() };
        assert_eq!(maxima(&limit), "rbps=5 wiops=max");
        assert_eq!(device_of("/no/such/device"), None);
    }
}
