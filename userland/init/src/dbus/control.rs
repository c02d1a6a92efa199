//! The manager's part of what clients change at run time: from the face's words to the manager's.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use unit::settings::DirectoryKind;
use unit::{ActiveState, Event, UnitName};

use super::world::{Failure, Settings};
use super::{assign, property};
use crate::manager::Manager;
use crate::transient::Failed;

/// In front of a transient unit.
const TRANSIENT: &str =
    "# This is a transient unit file, created programmatically via the systemd API. Do not edit.\n";
/// In front of a drop-in.
const CONTROL: &str = "# This is a drop-in unit file extension, created via \"systemctl set-property\"\n\
                       # or an equivalent operation. Do not edit.\n";
/// Where the kernel has the cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Failure {
        let name = match failed {
            Failed::Exists(_) => "org.freedesktop.systemd1.UnitExists",
            Failed::Bad(_) => "org.freedesktop.DBus.Error.InvalidArgs",
            Failed::Write { .. } => "org.freedesktop.DBus.Error.Failed",
        };
        Failure::new(name, failed.to_string())
    }
}

/// The dispatcher has checked names.
fn parse(name: &str) -> Result<UnitName, Failure> {
    UnitName::parse(name).map_err(|error| Failure::arguments(error.to_string()))
}

pub(super) fn make_transient(
    manager: &mut Manager,
    name: &str,
    properties: &Settings,
    handed: Vec<OwnedFd>,
) -> Result<(), Failure> {
    let text = assign::file(name, TRANSIENT, properties)?;
    Ok(manager.make_transient(&parse(name)?, &text, handed)?)
}

/// A drop-in for each property. Of units that are not transient only what the cgroup takes while they run.
pub(super) fn set_properties(
    manager: &mut Manager,
    name: &str,
    runtime: bool,
    properties: &Settings,
) -> Result<(), Failure> {
    let unit = parse(name)?;
    let of_cgroup = |name: &str| {
        let stem = name.strip_suffix("Scale").unwrap_or(name);
        property::resources::RESOURCES.iter().any(|(known, _)| *known == stem) && stem != "Slice"
    };
    if let Some((wrong, _)) = properties.iter().find(|(name, _)| !of_cgroup(name) && name != "Description") {
        let text = format!("Cannot set property {wrong}, or unknown property.");
        return Err(Failure::new("org.freedesktop.DBus.Error.PropertyReadOnly", text));
    }
    for one in properties {
        let text = assign::file(name, CONTROL, std::slice::from_ref(one))?;
        manager.set_property(&unit, runtime, &one.0, &text)?;
    }
    manager.take_properties_over(&unit);
    Ok(())
}

/// The folder of a unit's cgroup.
fn cgroup(manager: &Manager, name: &str) -> Result<std::path::PathBuf, Failure> {
    let inactive = || Failure::new("org.freedesktop.systemd1.UnitInactive", "Unit is inactive.");
    let path = manager.cgroup_of(&parse(name)?).ok_or_else(inactive)?;
    Ok(Path::new(CGROUPS).join(path.trim_start_matches('/')))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    let text = format!("Cannot {what} {}: {error}", path.display());
    Failure::new("org.freedesktop.DBus.Error.Failed", text)
}

pub(super) fn attach(manager: &Manager, name: &str, below: &str, pids: &[u32]) -> Result<(), Failure> {
    let folder = cgroup(manager, name)?.join(below.trim_matches('/'));
    fs::create_dir_all(&folder).map_err(|error| failed("make", &folder, &error))?;
    for pid in pids {
        let list = folder.join("cgroup.procs");
        fs::write(&list, pid.to_string())
            .map_err(|error| failed(&format!("move process {pid} to"), &list, &error))?;
    }
    Ok(())
}

pub(super) fn freeze(manager: &Manager, name: &str, frozen: bool) -> Result<(), Failure> {
    let status = manager.engine().status(&parse(name)?);
    if !status.is_some_and(|status| status.active == ActiveState::Active) {
        return Err(Failure::new("org.freedesktop.systemd1.UnitInactive", "Unit is inactive."));
    }
    let file = cgroup(manager, name)?.join("cgroup.freeze");
    fs::write(&file, if frozen { "1" } else { "0" }).map_err(|error| failed("write", &file, &error))
}

/// `running` or `frozen`.
pub(super) fn freezer_state(manager: &Manager, name: &UnitName) -> &'static str {
    let path = manager.cgroup_of(name);
    let file = path.map(|path| Path::new(CGROUPS).join(path.trim_start_matches('/')).join("cgroup.freeze"));
    let frozen = file.and_then(|file| fs::read_to_string(file).ok()).is_some_and(|text| text.trim() == "1");
    if frozen { "frozen" } else { "running" }
}

/// A unit's directories that can be cleaned, by kind.
pub(super) fn cleanable(unit: &unit::Unit) -> Vec<(&'static str, Vec<String>)> {
    let kinds = unit.exec.directories.iter().filter(|directories| !directories.names.is_empty());
    let place = |directories: &unit::settings::Directories| {
        let (kind, root) = match directories.kind {
            DirectoryKind::Runtime => ("runtime", "/run"),
            DirectoryKind::State => ("state", "/var/lib"),
            DirectoryKind::Cache => ("cache", "/var/cache"),
            DirectoryKind::Logs => ("logs", "/var/log"),
            DirectoryKind::Configuration => ("configuration", "/etc"),
        };
        (kind, directories.names.iter().map(|name| format!("{root}/{name}")).collect())
    };
    kinds.map(place).collect()
}

/// Removes directories, in a child: a large tree takes its time.
pub(super) fn clean(manager: &mut Manager, name: &str, kinds: &[String]) -> Result<(), Failure> {
    let known = ["runtime", "state", "cache", "logs", "configuration", "fdstore", "all"];
    if let Some(unknown) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
        return Err(Failure::arguments(format!("Invalid resource type: {unknown}")));
    }
    let Some(status) = manager.engine().status(&parse(name)?) else {
        return Err(Failure::no_such_unit(name));
    };
    if !status.active.is_down() || status.job.is_some() {
        let text = "Unit is not inactive or has pending job.";
        return Err(Failure::new("org.freedesktop.systemd1.UnitBusy", text));
    }
    let wanted =
        |kind: &str| kinds.iter().any(|asked| asked == kind || (asked == "all" && kind != "fdstore"));
    let paths: Vec<String> = cleanable(&status.definition)
        .into_iter()
        .filter(|(kind, _)| wanted(kind))
        .flat_map(|(_, paths)| paths)
        .filter(|path| Path::new(path).components().all(|part| !matches!(part, Component::ParentDir)))
        .collect();
    if paths.is_empty() {
        let text = "No matching resources found.";
        return Err(Failure::new("org.freedesktop.systemd1.NothingToClean", text));
    }
    let child = linux::namespace::fork_into(linux::namespace::Namespaces::NONE, None, || {
        for path in &paths {
            let _ = fs::remove_dir_all(path);
        }
        0
    });
    child.map(|_| ()).map_err(|error| failed("clean", Path::new("the unit's directories"), &error))
}

pub(super) fn abandon(manager: &mut Manager, name: &str) {
    if let Ok(unit) = UnitName::parse(name) {
        manager.handle(Event::Abandon { unit });
    }
}
