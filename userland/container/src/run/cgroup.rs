//! Where a container stands in the cgroup tree: always within the cgroup of the unit that started it.
//!
//! If that cgroup was delegated to us (the service manager marks it with the attribute `trusted.delegate` or
//! `user.delegate`), our own process moves into a child `supervisor` and the container gets a child of its
//! own with its limits. If not, the container stays in the unit's cgroup, and limits cannot be set: we
//! say so rather than build where the service manager does. Sources: cgroups(7), the kernel's cgroup-v2
//! documentation ("Delegation", "No Internal Process Constraint"), systemd's "Control Group APIs and
//! Delegation".

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags, getxattr, open};

const ROOT: &str = "/sys/fs/cgroup";
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// A cgroup of a container's own. Removed when dropped, once it is empty.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

/// What became of the wish for a cgroup.
#[derive(Debug)]
pub enum Placement {
    /// It has its own.
    Own(Cgroup),
    /// It stays where we are; this is why limits do not hold.
    Shared(String),
}

/// The path of our own cgroup in the v2 tree, as in `/system.slice/hello1.service`.
#[must_use]
pub fn own_path() -> Option<String> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// The unit that this process belongs to, by its cgroup.
#[must_use]
pub fn own_unit() -> Option<String> {
    unit_in(&own_path()?)
}

fn unit_in(path: &str) -> Option<String> {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
    path.split('/').rfind(is_unit).map(str::to_owned)
}

/// Makes a cgroup for a container below our own, if ours was delegated.
///
/// # Errors
/// When it was delegated but cannot be used.
pub fn place(id: &str) -> io::Result<Placement> {
    let Some(own) = own_path() else {
        return Ok(Placement::Shared("this kernel has no cgroup v2".to_owned()));
    };
    // In a hybrid tree the controllers are not here; what is mounted at the root tells.
    if !Path::new(ROOT).join("cgroup.controllers").exists() {
        return Ok(Placement::Shared(format!("{ROOT} is not a pure cgroup v2 tree")));
    }
    let own = Path::new(ROOT).join(own.trim_start_matches('/'));
    let base = match own.file_name() {
        // Started by a process that already moved.
        Some(name) if name == "supervisor" => own.parent().unwrap_or(&own).to_owned(),
        _ => own,
    };
    if !is_delegated(&base) {
        return Ok(Placement::Shared(format!(
            "{} is not delegated: set Delegate=yes in the unit",
            base.display()
        )));
    }
    let supervisor = base.join("supervisor");
    make(&supervisor)?;
    // All that is in the unit's cgroup itself must leave before its children can have controllers.
    for pid in fs::read_to_string(base.join("cgroup.procs"))?.lines() {
        fs::write(supervisor.join("cgroup.procs"), pid)?;
    }
    let available = fs::read_to_string(base.join("cgroup.controllers"))?;
    for controller in CONTROLLERS.iter().filter(|name| available.split_whitespace().any(|one| one == **name))
    {
        fs::write(base.join("cgroup.subtree_control"), format!("+{controller}"))?;
    }
    let path = base.join(format!("container-{id}"));
    make(&path)?;
    Ok(Placement::Own(Cgroup { path }))
}

fn is_delegated(path: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].into_iter().any(|name| {
        let mut value = [0_u8; 8];
        getxattr(path, name, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

impl Cgroup {
    /// The directory, for a child to be born into.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(&self) -> io::Result<OwnedFd> {
        Ok(open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// Sets the limits.
    ///
    /// # Errors
    /// When the kernel refuses one, named with its file.
    pub fn limit(&self, resources: &LinuxResources) -> io::Result<()> {
        for (file, value) in settings(resources) {
            fs::write(self.path.join(file), &value)
                .map_err(|error| io::Error::new(error.kind(), format!("{file} = {value}: {error}")))?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes died with the pid namespace; what cannot be removed goes with the unit.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Whether anything is to be limited.
#[must_use]
pub fn wants_limits(resources: &LinuxResources) -> bool {
    !settings(resources).is_empty()
}

/// The files of a v2 cgroup and what to write into them.
fn settings(resources: &LinuxResources) -> Vec<(&'static str, String)> {
    let number = |value: i64| if value < 0 { "max".to_owned() } else { value.to_string() };
    let mut settings = Vec::new();
    if let Some(limit) = resources.memory().as_ref().and_then(|memory| memory.limit()) {
        settings.push(("memory.max", number(limit)));
    }
    if let Some(cpu) = resources.cpu() {
        if let Some(quota) = cpu.quota() {
            settings.push(("cpu.max", format!("{} {}", number(quota), cpu.period().unwrap_or(100_000))));
        }
        if let Some(shares) = cpu.shares().filter(|shares| *shares > 0) {
            // The range 2..=262144 of shares onto the range 1..=10000 of weights.
            let weight = 1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142;
            settings.push(("cpu.weight", weight.to_string()));
        }
    }
    if let Some(pids) = resources.pids() {
        settings.push(("pids.max", number(pids.limit())));
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_become_files() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":1048576},"cpu":{"quota":50000,"period":100000,"shares":1024},"pids":{"limit":-1}}"#,
        )
        .unwrap();
        assert_eq!(
            settings(&resources),
            [
                ("memory.max", "1048576".to_owned()),
                ("cpu.max", "50000 100000".to_owned()),
                ("cpu.weight", "39".to_owned()),
                ("pids.max", "max".to_owned())
            ]
        );
        assert!(!wants_limits(&LinuxResources::default()) || LinuxResources::default().pids().is_some());
    }

    #[test]
    fn the_unit_is_in_the_path() {
        assert_eq!(unit_in("/system.slice/hello1.service").as_deref(), Some("hello1.service"));
        assert_eq!(unit_in("/system.slice/a.service/supervisor").as_deref(), Some("a.service"));
        assert_eq!(unit_in("/"), None);
    }
}
