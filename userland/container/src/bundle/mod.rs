//! From an image's configuration and the caller's options to an OCI runtime configuration.
//!
//! The result is the one thing that [`crate::run`] works from, whichever face it came from. One field is
//! used beyond its meaning in the specification: `process.user.username` holds a user as the image
//! names it, to be looked up in the image's own files once they can be read ([`user`]).
//! Sources: OCI runtime specification 1.2, Docker's defaults.

pub mod capability;
pub mod image;
pub mod limits;
pub mod namespaces;
pub mod seccomp;
pub mod user;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use image::ImageConfig;
use namespaces::{Namespaces, Origin};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What nobody in a container needs to see, since it tells about the machine or can hurt it.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Which network a container is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Its own; until bridges come, with loopback alone.
    #[default]
    Bridge,
    /// Its own, with loopback alone.
    None,
    /// The machine's.
    Host,
}

impl Network {
    /// Its name on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::None => "none",
            Self::Host => "host",
        }
    }
}

/// A directory or file of the machine, shown in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// On the machine.
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    /// Whether it may only be read.
    pub read_only: bool,
}

/// What the caller asked for. Empty means: as the image says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Arguments in place of the image's.
    pub command: Vec<String>,
    /// Program in place of the image's; an empty text means none.
    pub entrypoint: Option<String>,
    /// `NAME=VALUE`, or `NAME` to pass our own on.
    pub env: Vec<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// `USER[:GROUP]`.
    pub user: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Directories and files of the machine.
    pub volumes: Vec<Volume>,
    /// `PATH[:OPTIONS]` of further memory file systems.
    pub tmpfs: Vec<String>,
    /// Whether the root file system may only be read.
    pub read_only: bool,
    /// Network.
    pub network: Network,
    /// Capabilities beyond the default.
    pub cap_add: Vec<String>,
    /// Capabilities of the default to go without.
    pub cap_drop: Vec<String>,
    /// All capabilities and devices, nothing masked, no filter.
    pub privileged: bool,
    /// Limits of all its processes together.
    pub limits: limits::Limits,
    /// Limits of each process.
    pub ulimits: Vec<Ulimit>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: Option<i64>,
    /// Which namespaces are not its own.
    pub namespaces: Namespaces,
    /// Further groups of its first process.
    pub groups: Vec<u32>,
    /// Kernel settings of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// How gladly the kernel ends it when memory runs out: -1000 to 1000.
    pub oom_score: Option<i32>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Whether system calls are not filtered.
    pub unconfined: bool,
    /// Devices of the machine.
    pub devices: Vec<Device>,
}

/// A device of the machine, shown in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// In the container.
    pub target: PathBuf,
    /// Whether it is a block device, not a character device.
    pub block: bool,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Permissions, and owner's user and group.
    pub access: (u32, u32, u32),
}

impl Device {
    /// The machine's device of this path, to be shown at another.
    ///
    /// # Errors
    /// When it is no device.
    pub fn of(source: &Path, target: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let file = std::fs::metadata(source)?;
        let kind = file.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            return Err(std::io::Error::other("not a device node"));
        }
        let number = (rustix::fs::major(file.rdev()), rustix::fs::minor(file.rdev()));
        let access = (file.mode() & 0o777, file.uid(), file.gid());
        Ok(Self { target: target.to_owned(), block: kind.is_block_device(), number, access })
    }
}

/// A limit of each process (setrlimit(2)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// As `RLIMIT_NOFILE`.
    pub name: String,
    /// What applies.
    pub soft: u64,
    /// Up to what it may be raised.
    pub hard: u64,
}

/// Options and image do not make a container.
#[derive(Debug, thiserror::Error)]
pub enum BadOptions {
    /// Nothing to run.
    #[error("No command specified: the image names none, give one after its name")]
    NoCommand,
    /// A path that is none.
    #[error("{what} {path:?} must be an absolute path without '..'")]
    Path {
        /// Which option.
        what: &'static str,
        /// What it said.
        path: String,
    },
    /// A capability that is none.
    #[error(transparent)]
    Capability(#[from] capability::BadCapability),
    /// An option in a form that the specification does not know.
    #[error("the options make no valid configuration: {0}")]
    Spec(#[from] serde_json::Error),
}

/// The configuration of a container with this id.
///
/// # Errors
/// When the options contradict themselves or the image.
pub fn spec(image: &ImageConfig, options: &Options, id: &str) -> Result<Spec, BadOptions> {
    let defaults = image.defaults();
    let args = command(&defaults, options)?;
    let workdir = options.workdir.clone().or(defaults.working_dir.clone()).filter(|dir| !dir.is_empty());
    let workdir = workdir.unwrap_or_else(|| "/".to_owned());
    check_path("working directory", Path::new(&workdir))?;
    let machines_hostname = options.namespaces.uts == Origin::Machine;
    let hostname = match machines_hostname {
        true => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        false => options.hostname.clone().unwrap_or_else(|| id.chars().take(12).collect()),
    };
    let capabilities = capability::choose(&options.cap_add, &options.cap_drop, options.privileged)?;
    let user = options.user.clone().or(defaults.user.clone()).unwrap_or_default();
    let masked: &[&str] = if options.privileged { &[] } else { &MASKED };
    let read_only: &[&str] = if options.privileged { &[] } else { &READ_ONLY };
    let rlimits: Vec<Value> = options
        .ulimits
        .iter()
        .map(|limit| json!({ "type": limit.name, "soft": limit.soft, "hard": limit.hard }))
        .collect();
    let filter = (!options.privileged && !options.unconfined).then(|| seccomp::default_for(&capabilities));
    let value = json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs", "readonly": options.read_only },
        "hostname": if machines_hostname { None } else { Some(&hostname) },
        "domainname": options.domainname,
        "process": {
            "terminal": options.tty,
            "user": { "uid": 0, "gid": 0, "username": user, "additionalGids": options.groups },
            "args": args,
            "env": environment(&defaults, options, &hostname),
            "cwd": workdir,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": rlimits,
            "noNewPrivileges": !options.privileged,
            "oomScoreAdj": options.oom_score,
        },
        "mounts": mounts(options)?,
        "linux": {
            "namespaces": namespaces::listed(options),
            "maskedPaths": masked,
            "readonlyPaths": read_only,
            "resources": options.limits.resources(),
            "devices": devices(options)?,
            "sysctl": sysctls(options),
            "seccomp": filter,
        },
    });
    Ok(serde_json::from_value(value)?)
}

/// Ports below 1024 and ping for every user of the container, if its network is its own; then what was asked for.
fn sysctls(options: &Options) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if options.network != Network::Host {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    all.extend(options.sysctls.clone());
    all
}

fn command(defaults: &image::Defaults, options: &Options) -> Result<Vec<String>, BadOptions> {
    let (mut args, image_cmd) = match &options.entrypoint {
        // The caller's own program does not get the image's arguments.
        Some(program) => {
            (Some(program.clone()).filter(|text| !text.is_empty()).into_iter().collect(), Vec::new())
        }
        None => (defaults.entrypoint.clone().unwrap_or_default(), defaults.cmd.clone().unwrap_or_default()),
    };
    args.extend(if options.command.is_empty() { image_cmd } else { options.command.clone() });
    if args.first().is_none_or(String::is_empty) { Err(BadOptions::NoCommand) } else { Ok(args) }
}

/// Later settings of a name win, and each name appears once.
fn environment(defaults: &image::Defaults, options: &Options, hostname: &str) -> Vec<String> {
    let mut order = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        if values.insert(name.to_owned(), value.to_owned()).is_none() {
            order.push(name.to_owned());
        }
    };
    let terminal = options.tty.then_some("TERM=xterm");
    let hostname = format!("HOSTNAME={hostname}");
    let first = [PATH, &hostname].into_iter().chain(terminal).map(str::to_owned);
    for entry in first.chain(defaults.env.iter().flatten().cloned()).chain(options.env.iter().cloned()) {
        match entry.split_once('=') {
            Some((name, value)) if !name.is_empty() => set(name, value),
            Some(_) => {}
            // Our own variable, passed on if we have it.
            None => {
                if let Ok(value) = std::env::var(&entry) {
                    set(&entry, &value);
                }
            }
        }
    }
    order.into_iter().map(|name| format!("{name}={}", values.get(&name).map_or("", String::as_str))).collect()
}

fn mounts(options: &Options) -> Result<Vec<Value>, BadOptions> {
    let shm = format!("size={}", options.shm_size.unwrap_or(64 << 20));
    let sys = if options.privileged { "rw" } else { "ro" };
    // A /dev where no node can be opened: the runtime then shows its few devices there one by one.
    let devices = if options.privileged { "dev" } else { "nodev" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "noexec", devices, "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        match options.namespaces.ipc {
            Origin::Machine => {
                mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate", "nosuid", "noexec", "nodev"])
            }
            // With another's, the other's takes the place of this one.
            Origin::Own | Origin::Container(_) => {
                mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm])
            }
        },
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        mount("/sys/fs/cgroup", "cgroup2", "cgroup", &["nosuid", "noexec", "nodev", sys]),
    ];
    for entry in &options.tmpfs {
        let (path, extra) = entry.split_once(':').unwrap_or((entry, ""));
        check_path("--tmpfs", Path::new(path))?;
        let extra = extra.split(',').filter(|option| !option.is_empty());
        let all: Vec<&str> = ["nosuid", "noexec", "nodev"].into_iter().chain(extra).collect();
        mounts.push(mount(path, "tmpfs", "tmpfs", &all));
    }
    for volume in &options.volumes {
        check_path("volume", &volume.target)?;
        check_path("volume", &volume.source)?;
        let access = if volume.read_only { "ro" } else { "rw" };
        mounts.push(json!({
            "destination": volume.target, "type": "bind", "source": volume.source,
            "options": ["rbind", "rprivate", access, devices],
        }));
    }
    Ok(mounts)
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": source, "options": options })
}

fn devices(options: &Options) -> Result<Vec<Value>, BadOptions> {
    let mut all = Vec::new();
    for device in &options.devices {
        check_path("--device", &device.target)?;
        let (mode, uid, gid) = device.access;
        all.push(json!({
            "path": device.target, "type": if device.block { "b" } else { "c" }, "major": device.number.0,
            "minor": device.number.1, "fileMode": mode, "uid": uid, "gid": gid,
        }));
    }
    Ok(all)
}

fn check_path(what: &'static str, path: &Path) -> Result<(), BadOptions> {
    let bad = path.components().any(|component| component == Component::ParentDir);
    if path.is_absolute() && !bad {
        return Ok(());
    }
    Err(BadOptions::Path { what, path: path.display().to_string() })
}

#[cfg(test)]
mod tests;
