//! The processes of a container: who they are, and stopping them where they are.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, json_ok};
use crate::state::{Container, Status};

const CGROUP: &str = "/sys/fs/cgroup";

/// All processes in the container's pid namespace, as we see their numbers.
#[must_use]
pub fn of(container: &Container) -> Vec<u32> {
    let Some(first) = container.state.process().and(container.state.pid) else { return Vec::new() };
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(first) else { return Vec::new() };
    let mut found: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| namespace(*pid).as_ref() == Some(&own))
        .collect();
    found.sort_unstable();
    found
}

/// The container's own directory in the v2 tree, if it has one.
#[must_use]
pub fn own_cgroup(container: &Container) -> Option<PathBuf> {
    let pid = container.state.pid?;
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = PathBuf::from(CGROUP).join(own.trim_start_matches('/'));
    (own.contains(&container.record.id) && path.join("cgroup.freeze").exists()).then_some(path)
}

/// What stops it: its place in the v2 tree, or in the v1 freezer.
fn freezer(container: &Container) -> Option<(PathBuf, bool)> {
    if let Some(path) = own_cgroup(container) {
        return Some((path, true));
    }
    let v1 = PathBuf::from(CGROUP).join("freezer");
    v1.is_dir().then(|| (v1.join(format!("corten-{}", container.record.id)), false))
}

/// Whether they are stopped.
#[must_use]
pub fn is_frozen(container: &Container) -> bool {
    match freezer(container) {
        Some((path, true)) => {
            fs::read_to_string(path.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
        }
        Some((path, false)) => {
            fs::read_to_string(path.join("freezer.state")).is_ok_and(|text| text.trim() != "THAWED")
        }
        None => false,
    }
}

/// Stops them where they are, or lets them go on.
///
/// # Errors
/// When there is no freezer, or the kernel refuses.
pub fn freeze(container: &Container, frozen: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::internal(format!("freezer: {error}"));
    match freezer(container) {
        Some((path, true)) => {
            fs::write(path.join("cgroup.freeze"), if frozen { "1" } else { "0" }).map_err(failed)
        }
        Some((path, false)) if frozen => {
            fs::create_dir_all(&path).map_err(failed)?;
            for pid in of(container) {
                // One that has just ended needs no stopping.
                let _ = fs::write(path.join("cgroup.procs"), pid.to_string());
            }
            fs::write(path.join("freezer.state"), "FROZEN").map_err(failed)
        }
        Some((path, false)) => {
            fs::write(path.join("freezer.state"), "THAWED").map_err(failed)?;
            // Back to where they were; a child that is born meanwhile is found the next time round.
            for _ in 0..100 {
                for pid in fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
                    let _ = fs::write(PathBuf::from(CGROUP).join("freezer/cgroup.procs"), pid);
                }
                if fs::remove_dir(&path).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Ok(())
        }
        None => Err(Failure::internal("this machine has no freezer for the container's processes")),
    }
}

/// `containers/ID/top`
pub fn top(api: &Api, name: &str) -> Answer {
    let container = api.containers().find(name)?;
    if container.status != Status::Running {
        return Err(Failure::conflict(format!("container {} is not running", container.record.id)));
    }
    let rows: Vec<Value> = of(&container).into_iter().filter_map(row).collect();
    json_ok(
        &json!({ "Titles": ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"], "Processes": rows }),
    )
}

fn row(pid: u32) -> Option<Value> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // Clock ticks, of which there are a hundred a second for everyone who asks.
    let seconds = (number(11) + number(12)) / 100;
    let boot: u64 = fs::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.parse().ok())?;
    let begun = jiff::Timestamp::from_second(i64::try_from(boot + number(19) / 100).ok()?).ok()?.to_string();
    let uid = field("Uid:")?;
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(uid)).then(|| name.to_owned())
    });
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(json!([
        user.unwrap_or_else(|| uid.to_owned()),
        pid.to_string(),
        field("PPid:")?,
        "0",
        begun.get(11..16)?,
        "?",
        time,
        words.join(" ")
    ]))
}
