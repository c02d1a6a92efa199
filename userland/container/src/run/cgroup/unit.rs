//! Where a container of the `docker` and `rkt` faces stands: always within the cgroup of the unit that started it.
//!
//! If that cgroup was delegated to us (the service manager marks it with the attribute `trusted.delegate` or
//! `user.delegate`), our own process moves into a child `supervisor` and the container gets a child of its
//! own with its limits. If not, the container stays in the unit's cgroup, and limits cannot be set: we
//! say so rather than build where the service manager does. Sources: cgroups(7), the kernel's cgroup-v2
//! documentation ("Delegation", "No Internal Process Constraint"), systemd's "Control Group APIs and
//! Delegation".

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::getxattr;

use super::{Cgroup, ROOT};

const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

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
    Ok(Placement::Own(Cgroup::of_v2(path)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_in_the_path() {
        assert_eq!(unit_in("/system.slice/hello1.service").as_deref(), Some("hello1.service"));
        assert_eq!(unit_in("/system.slice/a.service/supervisor").as_deref(), Some("a.service"));
        assert_eq!(unit_in("/"), None);
    }
}
