//! From settings to entries: what is to be mounted where, and what may be written and executed.
//!
//! Paths are as the unit sees them. Source: systemd.exec(5), "Sandboxing".

use std::path::{Path, PathBuf};

use unit::settings::{
    DirectoryKind, ExecSettings, PathRule, ProcSubset, ProtectHome, ProtectProc, ProtectSystem,
};

use super::super::{credentials, directories};
use super::Surroundings;

/// What is done at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Cannot be written.
    ReadOnly,
    /// As writable as on the host.
    ReadWrite,
    /// Empty and closed.
    Inaccessible,
    /// Can be executed, as on the host.
    Exec,
    /// Cannot be executed.
    NoExec,
    /// Another place of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// With what is mounted below it.
        recursive: bool,
        /// Cannot be written.
        read_only: bool,
    },
    /// Empty, in memory, with mount(8)'s options.
    Tmpfs {
        /// Those that the file system understands.
        options: String,
        /// Cannot be written.
        read_only: bool,
        /// Cannot be executed.
        no_exec: bool,
    },
    /// A /dev of pseudo devices.
    Devices,
    /// A /proc of its own, with these options.
    Proc {
        /// `hidepid=`
        hide: Option<&'static str>,
        /// `subset=pid`
        pid_only: bool,
    },
    /// A fresh file system of this type.
    Fresh(&'static str),
}

/// An entry of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub what: What,
    /// Not there is fine.
    pub missing_ok: bool,
}

impl Entry {
    /// Whether what was there is covered.
    pub fn covers(&self) -> bool {
        !matches!(self.what, What::ReadOnly | What::ReadWrite | What::Exec | What::NoExec)
    }

    /// What it says of writing to what is at and below its path; `None`: nothing.
    pub fn read_only(&self) -> Option<bool> {
        match self.what {
            What::ReadOnly | What::Inaccessible => Some(true),
            What::Bind { read_only, .. } | What::Tmpfs { read_only, .. } => Some(read_only),
            // The folder of devices makes itself read-only once it is filled, but not what is mounted in it.
            What::ReadWrite | What::Proc { .. } | What::Fresh(_) | What::Devices => Some(false),
            What::Exec | What::NoExec => None,
        }
    }

    /// What it says of executing.
    pub fn no_exec(&self) -> Option<bool> {
        match self.what {
            What::NoExec => Some(true),
            What::Exec => Some(false),
            _ => None,
        }
    }
}

const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// Everything that the unit asks for, parents before what is in them.
pub fn of(exec: &ExecSettings, around: &Surroundings) -> Vec<Entry> {
    let sandbox = &exec.sandbox;
    let mut entries = Vec::new();
    let mut put = |path: &str, what: What, missing_ok: bool| {
        entries.push(Entry { path: path.into(), what, missing_ok });
    };
    for (rules, what) in [
        (&sandbox.read_write, What::ReadWrite),
        (&sandbox.read_only, What::ReadOnly),
        (&sandbox.inaccessible, What::Inaccessible),
        (&sandbox.exec, What::Exec),
        (&sandbox.no_exec, What::NoExec),
    ] {
        for rule in rules {
            if let Some(path) = seen(rule, exec.root_directory.as_deref()) {
                put(path, what.clone(), rule.missing_ok);
            }
        }
    }
    match sandbox.protect_system {
        ProtectSystem::No => {}
        ProtectSystem::Strict => {
            put("/", What::ReadOnly, false);
            for path in ["/proc", "/sys", "/dev"] {
                put(path, What::ReadWrite, true);
            }
            for path in HOMES {
                put(path, What::ReadWrite, true);
            }
        }
        more => {
            for path in ["/usr", "/boot", "/efi", "/lib", "/lib64", "/bin", "/sbin"] {
                put(path, What::ReadOnly, true);
            }
            if more == ProtectSystem::Full {
                put("/etc", What::ReadOnly, true);
            }
        }
    }
    for path in HOMES {
        match sandbox.protect_home {
            ProtectHome::No => {}
            ProtectHome::Yes => put(path, What::Inaccessible, true),
            ProtectHome::ReadOnly => put(path, What::ReadOnly, true),
            ProtectHome::Tmpfs => {
                let mode = if path == "/root" { "mode=0700" } else { "mode=0755" };
                let what = What::Tmpfs { options: mode.into(), read_only: true, no_exec: true };
                put(path, what, true);
            }
        }
    }
    for (on, paths, what) in [
        (
            sandbox.protect_kernel_tunables,
            [
                "/proc/acpi",
                "/proc/apm",
                "/proc/asound",
                "/proc/bus",
                "/proc/fs",
                "/proc/irq",
                "/proc/latency_stats",
                "/proc/mtrr",
                "/proc/scsi",
                "/proc/sys",
                "/proc/sysrq-trigger",
                "/proc/timer_stats",
                "/sys",
                "/sys/fs/bpf",
                "/sys/kernel/debug",
                "/sys/kernel/tracing",
            ]
            .as_slice(),
            What::ReadOnly,
        ),
        (sandbox.protect_kernel_tunables, &["/sys/fs/cgroup", "/sys/fs/selinux"], What::ReadWrite),
        (sandbox.protect_kernel_tunables, &["/proc/kallsyms", "/proc/kcore"], What::Inaccessible),
        (sandbox.protect_kernel_modules, &["/lib/modules", "/usr/lib/modules"], What::Inaccessible),
        (sandbox.protect_kernel_logs, &["/proc/kmsg", "/dev/kmsg"], What::Inaccessible),
        (sandbox.protect_control_groups, &["/sys/fs/cgroup"], What::ReadOnly),
        (
            sandbox.protect_hostname,
            &["/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"],
            What::ReadOnly,
        ),
    ] {
        for path in paths.iter().filter(|_| on) {
            put(path, what.clone(), true);
        }
    }
    if sandbox.private_devices {
        put("/dev", What::Devices, false);
    }
    if sandbox.private_ipc || sandbox.ipc_namespace.is_some() {
        put("/dev/mqueue", What::Fresh("mqueue"), true);
    }
    let hide = match sandbox.protect_proc {
        ProtectProc::Default => None,
        ProtectProc::NoAccess => Some("noaccess"),
        ProtectProc::Invisible => Some("invisible"),
        ProtectProc::Ptraceable => Some("ptraceable"),
    };
    let pid_only = sandbox.proc_subset == ProcSubset::Pid;
    if hide.is_some() || pid_only {
        put("/proc", What::Proc { hide, pid_only }, false);
    }
    for (path, options) in &sandbox.temporary {
        put(path, temporary(options), false);
    }
    for bind in &sandbox.binds {
        let (source, read_only) = (bind.source.clone().into(), bind.read_only);
        put(&bind.destination, What::Bind { source, recursive: bind.recursive, read_only }, bind.missing_ok);
    }
    entries.extend(surroundings(exec, around));
    sort(&mut entries);
    entries
}

/// What comes of where the process is, not of what the unit says.
fn surroundings(exec: &ExecSettings, around: &Surroundings) -> Vec<Entry> {
    let entry = |path: &Path, what: What, missing_ok: bool| Entry { path: path.into(), what, missing_ok };
    let bind =
        |source: &Path, read_only: bool| What::Bind { source: source.into(), recursive: true, read_only };
    let empty = |mode: &str| What::Tmpfs { options: mode.into(), read_only: true, no_exec: true };
    let mut entries = Vec::new();
    if let Some((tmp, var_tmp)) = &around.tmp {
        entries.push(entry(Path::new("/tmp"), bind(tmp, false), false));
        entries.push(entry(Path::new("/var/tmp"), bind(var_tmp, false), false));
    } else if exec.sandbox.private_tmp {
        // Only asked whether a view of its own is needed.
        entries.push(entry(Path::new("/tmp"), What::ReadWrite, true));
    }
    for set in
        exec.directories.iter().filter(|set| directories::is_private(exec, set) && !set.names.is_empty())
    {
        entries.push(entry(&Path::new(set.kind.parent()).join("private"), empty("mode=0755"), false));
    }
    let root = exec.root_directory.is_some();
    for path in &around.directories {
        let configuration = path.starts_with(DirectoryKind::Configuration.parent());
        let private =
            path.parent().is_some_and(|parent| parent.components().any(|part| part.as_os_str() == "private"));
        match (private || root, configuration) {
            (true, read_only) => entries.push(entry(path, bind(path, read_only), false)),
            (false, false) => entries.push(entry(path, What::ReadWrite, false)),
            (false, true) => {}
        }
    }
    if let Some(own) = &around.credentials {
        entries.push(entry(Path::new(credentials::FOLDER), empty("mode=0755"), false));
        entries.push(entry(own, bind(own, true), false));
    }
    if root {
        let api = exec.sandbox.mount_api.unwrap_or(true);
        if api
            && !entries.iter().any(|entry| entry.path == Path::new("/dev"))
            && !exec.sandbox.private_devices
        {
            entries.push(entry(Path::new("/dev"), bind(Path::new("/dev"), false), false));
        }
        if api {
            if exec.sandbox.protect_proc == ProtectProc::Default
                && exec.sandbox.proc_subset == ProcSubset::All
            {
                entries.push(entry(Path::new("/proc"), What::Proc { hide: None, pid_only: false }, false));
            }
            entries.push(entry(Path::new("/sys"), bind(Path::new("/sys"), false), false));
            let run = What::Tmpfs { options: "mode=0755".into(), read_only: false, no_exec: false };
            entries.push(entry(Path::new("/run"), run, false));
        }
        if around.notifies {
            let socket = Path::new("/run/systemd/notify");
            entries.push(entry(socket, bind(socket, true), true));
        }
    }
    entries
}

/// The path as the unit sees it; `None`: it is outside of the unit's root.
fn seen<'a>(rule: &'a PathRule, root: Option<&str>) -> Option<&'a str> {
    match root {
        Some(root) if !rule.in_root => match rule.path.strip_prefix(root)? {
            "" => Some("/"),
            rest if rest.starts_with('/') => Some(rest),
            _ => None,
        },
        _ => Some(&rule.path),
    }
}

/// mount(8)'s options: flags of the mount, and what the file system understands.
fn temporary(options: &str) -> What {
    let (mut read_only, mut no_exec, mut mode) = (false, false, false);
    let mut rest = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" => read_only = false,
            "noexec" => no_exec = true,
            "exec" => no_exec = false,
            "nodev" | "nosuid" | "dev" | "suid" | "strictatime" | "relatime" | "noatime" => {}
            option => {
                mode |= option.starts_with("mode=");
                rest.push(option);
            }
        }
    }
    if !mode {
        rest.push("mode=0755");
    }
    What::Tmpfs { options: rest.join(","), read_only, no_exec }
}

/// Parents first; at one path what covers before what is said of it, and of two that say the same kind of thing the
/// stricter one is kept.
fn sort(entries: &mut Vec<Entry>) {
    let rank = |entry: &Entry| match entry.what {
        What::Tmpfs { .. } | What::Devices | What::Proc { .. } | What::Fresh(_) => 0,
        What::Bind { .. } => 1,
        What::Inaccessible => 2,
        What::ReadOnly => 3,
        What::ReadWrite => 4,
        What::Exec => 5,
        What::NoExec => 6,
    };
    entries.sort_by(|one, other| one.path.cmp(&other.path).then(rank(one).cmp(&rank(other))));
    entries.dedup_by(|later, kept| later.path == kept.path && later.what == kept.what);
    let closed: Vec<PathBuf> = entries
        .iter()
        .filter(|entry| entry.what == What::Inaccessible)
        .map(|entry| entry.path.clone())
        .collect();
    entries.retain(|entry| {
        let below = |place: &PathBuf| entry.path.starts_with(place) && entry.path != *place;
        let at = closed.contains(&entry.path) && entry.what != What::Inaccessible;
        !closed.iter().any(below) && !at
    });
}

/// Of the entries at or above a path, what the nearest says; at one path a rule counts more than what is mounted
/// there, and of several rules the first (`sort` has put them so).
pub fn nearest(entries: &[Entry], path: &Path, says: fn(&Entry) -> Option<bool>) -> Option<bool> {
    let mut best: Option<((usize, bool), bool)> = None;
    for entry in entries.iter().filter(|entry| path.starts_with(&entry.path)) {
        let rank = (entry.path.components().count(), !entry.covers());
        if let Some(said) = says(entry)
            && best.is_none_or(|(known, _)| rank > known)
        {
            best = Some((rank, said));
        }
    }
    best.map(|(_, said)| said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unit::settings::Sandbox;

    fn plan(change: impl FnOnce(&mut Sandbox)) -> Vec<Entry> {
        let mut exec = ExecSettings::default();
        change(&mut exec.sandbox);
        of(&exec, &Surroundings::default())
    }

    fn rule(path: &str) -> PathRule {
        PathRule { path: path.into(), missing_ok: false, in_root: false }
    }

    #[test]
    fn nothing_asked_nothing_done() {
        assert!(plan(|_| {}).is_empty());
    }

    #[test]
    fn the_nearest_rule_decides() {
        let entries = plan(|sandbox| {
            sandbox.protect_system = ProtectSystem::Strict;
            sandbox.read_write = vec![rule("/var/lib/x")];
            sandbox.read_only = vec![rule("/var/lib/x/keep")];
            sandbox.no_exec = vec![rule("/")];
            sandbox.exec = vec![rule("/usr")];
        });
        let read_only = |path: &str| nearest(&entries, Path::new(path), Entry::read_only);
        assert_eq!(read_only("/etc/passwd"), Some(true));
        assert_eq!(read_only("/dev/null"), Some(false));
        assert_eq!(read_only("/var/lib/x/y"), Some(false));
        assert_eq!(read_only("/var/lib/x/keep/y"), Some(true));
        assert_eq!(read_only("/var/lib/xy"), Some(true));
        assert_eq!(nearest(&entries, Path::new("/var"), Entry::no_exec), Some(true));
        assert_eq!(nearest(&entries, Path::new("/usr/bin"), Entry::no_exec), Some(false));
    }

    #[test]
    fn what_is_closed_hides_what_is_below() {
        let entries = plan(|sandbox| {
            sandbox.inaccessible = vec![rule("/home")];
            sandbox.read_write = vec![rule("/home/x"), rule("/home")];
            sandbox.protect_home = ProtectHome::ReadOnly;
        });
        let at_home: Vec<_> = entries.iter().filter(|entry| entry.path.starts_with("/home")).collect();
        assert_eq!(at_home.len(), 1);
        assert_eq!(at_home[0].what, What::Inaccessible);
    }

    #[test]
    fn options_of_temporary_file_systems() {
        let want = What::Tmpfs { options: "size=1M,mode=0755".into(), read_only: true, no_exec: true };
        assert_eq!(temporary("ro,size=1M,noexec,nodev"), want);
        let want = What::Tmpfs { options: "mode=01777".into(), read_only: false, no_exec: false };
        assert_eq!(temporary("mode=01777"), want);
    }

    #[test]
    fn a_root_of_its_own_gets_what_programs_expect() {
        let exec = ExecSettings { root_directory: Some("/srv/root".into()), ..ExecSettings::default() };
        let entries = of(&exec, &Surroundings { notifies: true, ..Surroundings::default() });
        let paths: Vec<_> = entries.iter().filter_map(|entry| entry.path.to_str()).collect();
        assert_eq!(paths, ["/dev", "/proc", "/run", "/run/systemd/notify", "/sys"]);
        assert_eq!(seen(&rule("/srv/root/var"), Some("/srv/root")), Some("/var"));
        assert_eq!(seen(&rule("/srv/rootless"), Some("/srv/root")), None);
        assert_eq!(seen(&rule("/srv/root"), Some("/srv/root")), Some("/"));
    }
}
