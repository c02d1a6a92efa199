//! `systemctl` against the face with a made-up world behind it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::dbus::tests::Stage;

/// Runs a command line; exit code, output, complaints, and what the world was asked.
fn systemctl(arguments: &[&str]) -> (u8, String, String, Vec<String>) {
    let mut stage = Stage::new();
    let path = stage.path.clone();
    let done = AtomicBool::new(false);
    let args = ["systemctl"].iter().chain(arguments).map(OsString::from).collect();
    let options = Options::parse_from_arguments(args, None).unwrap();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let code = execute(options, &path, &mut out, &mut err);
            done.store(true, Ordering::SeqCst);
            (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
        });
        while !done.load(Ordering::SeqCst) {
            stage.turn();
        }
        let (code, out, err) = client.join().unwrap();
        (code, out, err, std::mem::take(&mut stage.world.asked))
    })
}

/// Whether this test runs as root, so that changes are allowed.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn lists_units() {
    let (code, out, _, _) = systemctl(&["list-units"]);
    assert_eq!(code, 0);
    let mut lines = out.lines();
    assert_eq!(lines.next().unwrap(), "  UNIT              LOAD   ACTIVE SUB     DESCRIPTION");
    assert_eq!(
        lines.next().unwrap(),
        "  hello1.service    loaded active running Description of hello1.service"
    );
    assert!(out.contains("\n3 loaded units listed. Pass --all"), "{out}");
    let (_, out, _, _) = systemctl(&["list-units", "-t", "service", "--no-legend", "--plain"]);
    assert_eq!(out, "hello1.service loaded active running Description of hello1.service\n");
    assert_eq!(systemctl(&["--failed"]).1, "  UNIT LOAD ACTIVE SUB DESCRIPTION\n0 loaded units listed.\n");
    assert!(systemctl(&["list-jobs"]).1.contains("7   hello1.service start running"));
    assert!(systemctl(&["list-unit-files"]).1.ends_with("\n2 unit files listed.\n"));
    assert_eq!(
        systemctl(&["list-dependencies", "multi-user.target"]).1,
        "multi-user.target\n● └─sysinit.target\n"
    );
}

#[test]
fn tells_states() {
    assert_eq!(systemctl(&["is-active", "hello1"]).0, 0);
    assert_eq!(systemctl(&["is-active", "nothing"]).1, "inactive\n");
    assert_eq!(systemctl(&["is-active", "nothing"]).0, 3);
    assert_eq!(systemctl(&["is-failed", "hello1"]).0, 1);
    assert_eq!(systemctl(&["is-enabled", "hello1"]).1, "enabled\n");
    assert_eq!(systemctl(&["is-system-running"]).1, "running\n");
    assert_eq!(systemctl(&["show", "-p", "SubState", "--value", "hello1"]).1, "running\n");
    assert_eq!(systemctl(&["show", "-P", "SubState", "hello1"]).1, "running\n");
    assert!(systemctl(&["show", "hello1"]).1.contains("\nTimeoutStartUSec=1min 30s\n"));
    assert!(systemctl(&["show"]).1.contains("SystemState=running\n"));
    assert_eq!(systemctl(&["get-default"]).1, "multi-user.target\n");
    assert!(systemctl(&["cat", "hello1"]).1.starts_with("# /etc/hostname\n"));
}

#[test]
fn shows_status() {
    let (code, out, _, _) = systemctl(&["status", "-n0", "hello1"]);
    assert_eq!(code, 0);
    assert!(
        out.starts_with(
            "● hello1.service - Description of hello1.service\n     Loaded: loaded (/etc/hostname"
        ),
        "{out}"
    );
    assert!(out.contains("     Active: active (running)\n"), "{out}");
    assert!(
        out.contains("     CGroup: /system.slice/hello1.service\n             └─1 /bin/hello world\n"),
        "{out}"
    );
    let (code, _, err, _) = systemctl(&["status", "nothing"]);
    assert_eq!((code, err.as_str()), (4, "Unit nothing.service could not be found.\n"));
    assert!(systemctl(&["status"]).1.contains("    State: running\n"));
}

#[test]
fn changes_things() {
    if !is_root() {
        let (code, _, err, asked) = systemctl(&["stop", "hello1"]);
        assert_eq!((code, asked.len()), (1, 0));
        assert!(err.contains("Access denied") && err.contains("sudo systemctl stop hello1"), "{err}");
        return;
    }
    assert_eq!(systemctl(&["start", "hello1"]).3, ["Start hello1.service Replace"]);
    assert_eq!(systemctl(&["--no-block", "restart", "hello1"]).3, ["Restart hello1.service Replace"]);
    assert_eq!(systemctl(&["isolate", "multi-user.target"]).3, ["Start multi-user.target Isolate"]);
    let (code, _, err, _) = systemctl(&["start", "nothing"]);
    assert_eq!(
        (code, err.as_str()),
        (5, "Failed to start nothing.service: Unit nothing.service not found.\n")
    );
    assert_eq!(systemctl(&["kill", "-s", "USR2", "hello1"]).3, ["kill hello1.service All 12"]);
    let (code, _, err, asked) = systemctl(&["enable", "--now", "hello1"]);
    assert_eq!((code, err.as_str()), (0, "Created symlink /etc/l → /etc/t.\n"));
    assert_eq!(asked, ["Enable [\"hello1.service\"] false false", "reload", "Start hello1.service Replace"]);
    assert_eq!(systemctl(&["daemon-reload"]).3, ["reload"]);
    assert_eq!(systemctl(&["poweroff"]).3, ["Start poweroff.target ReplaceIrreversibly"]);
    assert_eq!(systemctl(&["reboot", "--force"]).3, ["Reboot"]);
}

#[test]
fn wrong_command_lines_are_told() {
    assert!(systemctl(&["frobnicate"]).2.contains("Unknown command verb frobnicate"));
    assert!(systemctl(&["start"]).2.contains("Too few arguments"));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let nowhere = Path::new("/nonexistent/socket");
    assert_eq!(execute(Options::default(), nowhere, &mut out, &mut err), 1);
    assert!(String::from_utf8_lossy(&err).contains("Cannot reach the manager"));
}
