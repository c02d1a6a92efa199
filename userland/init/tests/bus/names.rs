//! Type=dbus: a service is up when its name is on the bus, whoever has it, and no longer than that.

use std::ffi::OsString;
use std::process::ExitCode;

use super::machine::Machine;
use super::{said, text};

/// A service that takes a name on the bus when it is told to, and lets go of it when it is told to.
pub fn named(args: Vec<OsString>) -> ExitCode {
    let name = args.get(1).map(|name| name.to_string_lossy()).unwrap_or_default();
    let wait_for = |path: &str, turn: &mut dyn FnMut()| {
        while !std::path::Path::new(path).exists() {
            turn();
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    wait_for(&format!("/out/{name}.take"), &mut || ());
    let path = std::path::Path::new(init::dbus::bus::SOCKET);
    let Ok(mut bus) = init::dbus::bus::Bus::connect(path, &[&name]) else {
        return ExitCode::FAILURE;
    };
    wait_for(&format!("/out/{name}.leave"), &mut || {
        let _ = bus.receive().and_then(|_| bus.incoming()).and_then(|_| bus.flush());
    });
    drop(bus);
    wait_for("/nothing", &mut || ());
    ExitCode::SUCCESS
}

/// Type=dbus: up when its name is on the bus, and no longer than that.
pub fn a_service_is_its_name(machine: &Machine) {
    assert!(machine.systemctl(&["start", "--no-block", "named.service"]).status.success());
    machine.until("named.service is executed", |m| m.show("named.service", "ExecMainPID") != "0");
    assert!(machine.shows("named.service", "SubState", "start"));
    tell(machine, "org.example.Named.take");
    machine.until("the name is taken", |m| m.shows("named.service", "SubState", "running"));
    // PID 1 comes back to the bus and finds the name there
    assert!(machine.systemctl(&["daemon-reexec"]).status.success());
    machine.until("PID 1 is on the bus again", |m| {
        text(&m.run(&["busctl", "--no-pager", "list"]).stdout).contains("org.freedesktop.systemd1")
    });
    assert!(machine.shows("named.service", "SubState", "running"));
    tell(machine, "org.example.Named.leave");
    machine.until("the service ends with its name", |m| m.shows("named.service", "ActiveState", "inactive"));
}

/// A name that somebody has already when its service is loaded: as for systemd, that is as good as the service's own.
pub fn a_name_is_taken_already(machine: &Machine) {
    tell(machine, "org.example.Taken.take");
    said(machine, &["systemctl", "start", "holder.service"]);
    machine.until("the name is taken", |m| {
        text(&m.run(&["busctl", "--no-pager", "list"]).stdout).contains("org.example.Taken")
    });
    assert!(machine.systemctl(&["start", "--no-block", "taken.service"]).status.success());
    machine.until("PID 1 has asked for the name", |m| m.shows("taken.service", "SubState", "running"));
    tell(machine, "org.example.Taken.leave");
    machine.until("the service ends with the name", |m| m.shows("taken.service", "ActiveState", "inactive"));
}

/// What `named` waits for.
fn tell(machine: &Machine, what: &str) {
    std::fs::write(format!("{}/out/{what}", machine.root()), "").expect("/out is there");
}
