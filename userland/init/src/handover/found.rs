//! What runs without PID 1 knowing of it: found by cgroups, told by /run.
//!
//! A process that is gone although the state has it, has ended unseen. A cgroup with processes whose unit is down
//! according to the state, or not in it, belongs to a unit that was started since.

use std::fs;
use std::path::Path;

use unit::settings::ServiceType;
use unit::{ActiveState, Event, ExitStatus, Pid, UnitType};

use crate::log::{self, Level};
use crate::manager::Manager;

/// How an end counts that nobody saw, of a process that is there to run on: as a failure, so that Restart= helps.
const UNSEEN: ExitStatus = ExitStatus::Code(255);
/// Of one that is there to end: as it is meant to.
const UNSEEN_DONE: ExitStatus = ExitStatus::Code(0);
const INVOCATIONS: &str = "/run/systemd/units";

/// Brings the engine up to what is there.
pub(super) fn take_in(manager: &mut Manager) {
    for pid in manager.engine().processes() {
        if !Path::new(&format!("/proc/{}", pid.0)).exists() {
            let status = if runs_on(manager, pid) { UNSEEN } else { UNSEEN_DONE };
            manager.events.push_back(Event::Exited { pid, status });
        }
    }
    for (unit, cgroup) in manager.tree.populated() {
        let status = manager.engine().status(&unit);
        let known = status.is_some_and(|it| it.cgroup.is_some() || it.active == ActiveState::Active);
        if known || unit.unit_type() == UnitType::Slice {
            continue;
        }
        let main = main_of(manager, &cgroup);
        log::say(Level::Warning, Some(&unit), &format!("{unit}: found running, goes on."));
        let invocation = fs::read_link(format!("{INVOCATIONS}/invocation:{unit}")).unwrap_or_default();
        manager.load(&unit);
        manager.tree.watch_again(&unit, &cgroup);
        manager.events.push_back(Event::Found {
            unit,
            main,
            invocation: invocation.to_string_lossy().into_owned(),
        });
    }
}

/// Whether a process is the main one of a service that does not end by itself.
fn runs_on(manager: &Manager, pid: Pid) -> bool {
    let status = manager.engine().unit_of(pid).and_then(|unit| manager.engine().status(unit));
    status.is_some_and(|status| {
        let kind = status.definition.service().map(|service| service.kind);
        status.main_pid == Some(pid) && kind != Some(ServiceType::Oneshot)
    })
}

/// The oldest of a cgroup's processes that are children of PID 1.
fn main_of(manager: &Manager, cgroup: &str) -> Option<Pid> {
    let processes = manager.tree.processes(cgroup).into_iter();
    let born = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        // proc_pid_stat(5): ppid is the 4th field, starttime the 22nd; two are before the rest
        let (parent, start) = (fields.get(1)?, fields.get(19)?.parse::<u64>().ok()?);
        (*parent == "1").then_some((start, pid))
    };
    processes.filter_map(|(_, pid)| born(pid)).min().map(|(_, pid)| Pid(pid))
}
