//! What the console and the journal are told of jobs: systemd's words for each kind of unit.

use super::{Engine, Entry};
use crate::settings::ServiceType;
use crate::{Action, Announcement, JobKind, JobResult, UnitName, UnitType};

impl Engine {
    pub(super) fn announce_begin(&mut self, name: &UnitName, kind: JobKind) {
        let Some(entry) = self.entries.get(name) else { return };
        let verb = match (kind, name.unit_type()) {
            (JobKind::Start, UnitType::Mount) => "Mounting",
            (JobKind::Start, UnitType::Swap) => "Activating swap",
            (JobKind::Start, UnitType::Service) => "Starting",
            (JobKind::Reload, _) => "Reloading",
            (_, UnitType::Mount) => "Unmounting",
            (_, UnitType::Swap) => "Deactivating swap",
            (_, UnitType::Service) => "Stopping",
            // they are up or down at once
            _ => return,
        };
        let message = format!("{verb} {}...", full_name(entry));
        self.fx.actions.push(Action::Announce { unit: name.clone(), kind: Announcement::Begins, message });
    }

    pub(super) fn announce_end(&mut self, name: &UnitName, kind: JobKind, result: JobResult) {
        use Announcement::{Depend, Failed, Ok, Time};
        use UnitType::{Automount, Device, Mount, Slice, Socket, Swap, Target};
        let Some(entry) = self.entries.get(name) else { return };
        let oneshot = entry.base.unit.service().is_some_and(|service| service.kind == ServiceType::Oneshot);
        let of_type = name.unit_type();
        let (column, words) = match (kind, result, of_type) {
            (_, _, Slice) => return,
            (JobKind::Start, JobResult::Done, Target) => (Ok, "Reached target"),
            (JobKind::Start, JobResult::Done, Mount) => (Ok, "Mounted"),
            (JobKind::Start, JobResult::Done, Socket) => (Ok, "Listening on"),
            (JobKind::Start, JobResult::Done, Swap) => (Ok, "Activated swap"),
            (JobKind::Start, JobResult::Done, Automount) => (Ok, "Set up automount"),
            (JobKind::Start, JobResult::Done, Device) => (Ok, "Found device"),
            (JobKind::Start, JobResult::Done, _) if oneshot => (Ok, "Finished"),
            (JobKind::Start, JobResult::Done, _) => (Ok, "Started"),
            (JobKind::Start, JobResult::Failed, Socket) => (Failed, "Failed to listen on"),
            (JobKind::Start, JobResult::Failed, Mount) => (Failed, "Failed to mount"),
            (JobKind::Start, JobResult::Failed, Swap) => (Failed, "Failed to activate swap"),
            (JobKind::Start, JobResult::Failed, Automount) => (Failed, "Failed to set up automount"),
            (JobKind::Start, JobResult::Failed, _) => (Failed, "Failed to start"),
            (JobKind::Start, JobResult::Timeout, Device) => (Time, "Timed out waiting for device"),
            (JobKind::Start, JobResult::Timeout, _) => (Time, "Timed out starting"),
            (JobKind::Start, JobResult::Dependency, _) => (Depend, "Dependency failed for"),
            (JobKind::Start, JobResult::Assert, _) => (Failed, "Assertion failed for"),
            (JobKind::Reload, JobResult::Done, _) => (Ok, "Reloaded"),
            (JobKind::Reload, JobResult::Failed, _) => (Failed, "Reload failed for"),
            (JobKind::Stop, _, Device) => return,
            (JobKind::Stop, JobResult::Done, Target) => (Ok, "Stopped target"),
            (JobKind::Stop, JobResult::Done, Mount) => (Ok, "Unmounted"),
            (JobKind::Stop, JobResult::Done, Socket) => (Ok, "Closed"),
            (JobKind::Stop, JobResult::Done, Swap) => (Ok, "Deactivated swap"),
            (JobKind::Stop, JobResult::Done, Automount) => (Ok, "Unset automount"),
            (JobKind::Stop, JobResult::Done, _) => (Ok, "Stopped"),
            _ => return,
        };
        let message = format!("{words} {}.", full_name(entry));
        self.fx.actions.push(Action::Announce { unit: name.clone(), kind: column, message });
    }
}

/// `x.service - What it is`
fn full_name(entry: &Entry) -> String {
    let unit = &entry.base.unit;
    if unit.description == unit.name.as_str() {
        unit.name.to_string()
    } else {
        format!("{} - {}", unit.name, unit.description)
    }
}
