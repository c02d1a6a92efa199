//! Everything that the manager knows, for people: `systemd-analyze dump`.

use std::fmt::Write;

use unit::Dependency;

use crate::manager::Manager;

/// A paragraph for each unit and job.
pub(super) fn text(manager: &Manager) -> String {
    let engine = manager.engine();
    let mut text = format!("Manager: Corten init {}\n", env!("CARGO_PKG_VERSION"));
    let times = manager.times();
    for (what, (realtime, monotonic)) in [
        ("kernel", times.kernel),
        ("userspace", times.userspace),
        ("units-load", times.units_load),
        ("finish", times.finish),
    ] {
        let _ = writeln!(text, "Timestamp {what}: {realtime} ({monotonic} us after boot)");
    }
    for name in engine.units() {
        let Some(status) = engine.status(&name) else { continue };
        let unit = &status.definition;
        // Writing to a String does not fail.
        let _ = writeln!(text, "-> Unit {name}:\n\tDescription: {}", unit.description);
        let _ = writeln!(text, "\tUnit Load State: {}", status.load.as_str());
        let _ = writeln!(text, "\tUnit Active State: {}", status.active.as_str());
        let _ = writeln!(text, "\tSub State: {}", status.sub);
        for other in &status.names {
            let _ = writeln!(text, "\tName: {other}");
        }
        for (label, path) in [("Fragment Path", &unit.fragment), ("Source Path", &unit.source_path)] {
            if let Some(path) = path {
                let _ = writeln!(text, "\t{label}: {path}");
            }
        }
        for path in &unit.drop_ins {
            let _ = writeln!(text, "\tDropIn Path: {path}");
        }
        for (label, stamp) in [
            ("State Change Timestamp", status.state_change),
            ("Inactive Exit Timestamp", status.inactive_exit),
            ("Active Enter Timestamp", status.active_enter),
            ("Active Exit Timestamp", status.active_exit),
            ("Inactive Enter Timestamp", status.inactive_enter),
        ] {
            if stamp.realtime != 0 {
                let _ = writeln!(text, "\t{label}: {} ({} us after boot)", stamp.realtime, stamp.monotonic);
            }
        }
        for (kind, label) in [("cgroup", "CGroup"), ("invocation", "Invocation ID")] {
            let value = match kind {
                "cgroup" => status.cgroup.clone().unwrap_or_default(),
                _ => status.invocation_id.clone(),
            };
            if !value.is_empty() {
                let _ = writeln!(text, "\t{label}: {value}");
            }
        }
        for pid in status.main_pid.iter() {
            let _ = writeln!(text, "\tMain PID: {}", pid.0);
        }
        for command in &status.commands {
            let _ =
                writeln!(text, "\tCommand {:?}: {} {}", command.role, command.path, command.argv.join(" "));
        }
        for (dependency, others) in &status.dependencies {
            let others: Vec<&str> = others.iter().map(|other| other.as_str()).collect();
            if *dependency != Dependency::Slice {
                let _ = writeln!(text, "\t{}: {}", dependency.as_str(), others.join(" "));
            }
        }
    }
    for job in engine.jobs() {
        let (id, unit) = (job.id.0, &job.unit);
        let _ = writeln!(
            text,
            "-> Job {id}:\n\tAction: {unit} -> {}\n\tState: {}",
            job.kind.as_str(),
            job.state.as_str()
        );
    }
    text
}
