//! What operators and units do wrong, under a real PID 1: a fork bomb, a flood of output, a service that closes its
//! streams, unit files that go while their units run, a configuration that changes, swap that cannot be let go of.
//!
//! Without cargo's harness, and for root (`machine::program`).

#![allow(clippy::unwrap_used)] // A test, but clippy sees none without the harness.

mod machine;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use machine::Machine;
use machine::program::{self, Main};

/// What a person waits for an answer at most, on a machine that has more to do.
const ANSWER: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let roles: &[(&str, Main)] = &[("systemd-journald", journal::systemd_journald)];
    program::run("faults_stay_where_they_are", roles, faults_stay_where_they_are)
}

fn faults_stay_where_they_are() {
    let machine = Machine::with_programs(UNITS, &["systemd-journald"]);
    machine.until("multi-user.target is up", |m| m.says(&["is-active", "multi-user.target"], "active"));
    the_configuration_counts(&machine);
    a_flood_is_the_units_own_trouble(&machine);
    closed_streams_are_no_end(&machine);
    a_fork_bomb_is_ended(&machine);
    files_may_go(&machine);
    swap_goes_on_and_off(&machine);
}

const SWAP: &str = "usr-lib-systemd-system-swapfile.swap";
const UNITS: &[(&str, &str)] = &[
    ("basic.target", "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n"),
    (
        "sysinit.target",
        "[Unit]\nConflicts=shutdown.target\nRequires=systemd-journald.service\nAfter=systemd-journald.service\n",
    ),
    (
        "multi-user.target",
        "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\nWants=hello.service\n",
    ),
    ("shutdown.target", "[Unit]\nDefaultDependencies=no\n"),
    (
        "systemd-journald.service",
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nExecStart=/programs/systemd-journald\n",
    ),
    ("hello.service", "[Service]\nExecStart=/bin/sleep 100000\n"),
    (
        "environment.service",
        "[Service]\nType=oneshot\nStandardOutput=truncate:/out/environment\nUnsetEnvironment=GONE\n\
         ExecStart=/bin/sh -c 'echo $$KEPT $$LANG $$GONE; ulimit -Sn'\n",
    ),
    (
        "flood.service",
        "[Service]\nLogRateLimitIntervalSec=1s\nLogRateLimitBurst=100\n\
         ExecStart=/usr/bin/yes a line of a flood that nobody wants to read\n",
    ),
    (
        "closed.service",
        "[Service]\nExecStart=/bin/sh -c 'echo before; exec >&- 2>&- <&-; sleep 0.5; echo lost; exec sleep 100000'\n",
    ),
    // as many as one user may have; what signals do not reach in time, the cgroup's end does
    (
        "bomb.service",
        "[Service]\nUser=core\nLimitNPROC=300\nTimeoutStopSec=2\n\
         ExecStart=/usr/bin/perl -e '$$SIG{TERM} = sub {}; while (1) { defined fork or select(undef, undef, undef, 0.05) }'\n",
    ),
    (SWAP, "[Swap]\nWhat=/usr/lib/systemd/system/swapfile\nPriority=7\n"),
];

/// Writes a file below the machine's root.
fn put(machine: &Machine, path: &str, text: &str) {
    let path = Path::new(&machine.root()).join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn reloaded(machine: &Machine) {
    assert!(machine.systemctl(&["daemon-reload"]).status.success());
}

/// systemd-system.conf(5): read in the boot and with every reload, and told to who asks.
fn the_configuration_counts(machine: &Machine) {
    assert!(machine.shows("hello.service", "TimeoutStopUSec", "1min 30s"));
    put(
        machine,
        "etc/systemd/system.conf.d/10-test.conf",
        "[Manager]\nDefaultTimeoutStopSec=77\nDefaultLimitNOFILE=222:333\nDefaultEnvironment=KEPT=kept GONE=no LANG=C\n\
         DefaultTasksMax=4711\nLogLevel=debug\nRuntimeWatchdogSec=off\nDefaultRestartSec=soon\nNonsense=1\n",
    );
    reloaded(machine);
    for (property, want) in [
        ("DefaultTimeoutStopUSec", "1min 17s"),
        ("DefaultLimitNOFILESoft", "222"),
        ("DefaultTasksMax", "4711"),
        ("LogLevel", "debug"),
        ("RuntimeWatchdogUSec", "0"),
        ("DefaultRestartUSec", "100ms"),
    ] {
        let said = machine.systemctl(&["show", "--value", "-p", property]);
        assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), want, "{property}");
    }
    assert!(machine.shows("hello.service", "TimeoutStopUSec", "1min 17s"));
    assert!(machine.shows("hello.service", "LimitNOFILE", "333"));
    assert!(machine.shows("hello.service", "TasksMax", "4711"));
    assert!(machine.systemctl(&["start", "environment.service"]).status.success());
    assert_eq!(machine.file("out/environment"), "kept C\n222\n");
    // what a client sets, services have too
    assert!(machine.systemctl(&["set-environment", "KEPT=by-hand", "LANG=C.UTF-8"]).status.success());
    assert!(machine.systemctl(&["start", "environment.service"]).status.success());
    assert_eq!(machine.file("out/environment"), "by-hand C.UTF-8\n222\n");
    let logged = machine.run(&["journalctl", "--no-pager", "-o", "cat", "_PID=1"]);
    let logged = String::from_utf8_lossy(&logged.stdout).into_owned();
    for complaint in ["10-test.conf:8: DefaultRestartSec=soon", "10-test.conf:9: Nonsense=1"] {
        assert!(logged.contains(complaint), "{logged}");
    }
    fs::remove_file(Path::new(&machine.root()).join("etc/systemd/system.conf.d/10-test.conf")).unwrap();
    reloaded(machine);
    assert!(machine.shows("hello.service", "TimeoutStopUSec", "1min 30s"));
    let said = machine.systemctl(&["show-environment"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("KEPT=by-hand") && !said.contains("GONE="), "{said}");
    assert!(machine.systemctl(&["unset-environment", "KEPT"]).status.success());
}

/// PID 1 answers at once while it lasts.
fn answers(machine: &Machine, unit: &str) {
    for _ in 0..3 {
        let asked = Instant::now();
        assert!(machine.says(&["is-active", unit], "active"));
        assert!(asked.elapsed() < ANSWER, "an answer took {:?}", asked.elapsed());
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn a_flood_is_the_units_own_trouble(machine: &Machine) {
    let resident = || -> u64 {
        let status = machine.file("proc/1/status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    assert!(machine.systemctl(&["start", "flood.service"]).status.success());
    let before = resident();
    answers(machine, "flood.service");
    assert!(resident() < before + 4096, "PID 1 has grown from {before} to {} KiB", resident());
    assert!(machine.says(&["is-active", "systemd-journald.service"], "active"));
    // who else has something to say is heard
    assert!(machine.run(&["logger", "heard all the same"]).status.success());
    // told with the first line of the next interval, so while it still floods
    machine.until("the journal has both", |m| {
        let all = m.run(&["journalctl", "--no-pager", "-o", "cat"]);
        let all = String::from_utf8_lossy(&all.stdout).into_owned();
        all.contains("heard all the same") && all.contains("Suppressed")
    });
    assert!(machine.systemctl(&["stop", "flood.service"]).status.success());
}

fn closed_streams_are_no_end(machine: &Machine) {
    assert!(machine.systemctl(&["start", "closed.service"]).status.success());
    std::thread::sleep(Duration::from_secs(1));
    assert!(machine.shows("closed.service", "SubState", "running"));
    let logged = machine.run(&["journalctl", "--no-pager", "-o", "cat", "-u", "closed.service"]);
    let logged = String::from_utf8_lossy(&logged.stdout).into_owned();
    assert!(logged.contains("before") && !logged.contains("lost"), "{logged}");
    assert!(machine.systemctl(&["stop", "closed.service"]).status.success());
}

fn a_fork_bomb_is_ended(machine: &Machine) {
    assert!(machine.systemctl(&["start", "bomb.service"]).status.success());
    let count = || {
        let processes =
            machine.run(&["sh", "-c", "cat /sys/fs/cgroup/system.slice/bomb.service/cgroup.procs | wc -l"]);
        String::from_utf8_lossy(&processes.stdout).trim().parse::<u32>().unwrap_or(0)
    };
    machine.until("it has gone off", |_| count() > 100);
    answers(machine, "bomb.service");
    assert!(machine.systemctl(&["stop", "bomb.service"]).status.success());
    assert_eq!(count(), 0, "nothing of it is left");
    assert!(machine.shows("bomb.service", "ControlGroup", ""));
    assert!(machine.says(&["is-active", "hello.service"], "active"));
}

/// A unit's file may go, or become another, while the unit runs.
fn files_may_go(machine: &Machine) {
    let file = "etc/systemd/system/passing.service";
    put(machine, file, "[Service]\nExecStart=/bin/sleep 100000\nRestart=always\nRestartSec=100ms\n");
    assert!(machine.systemctl(&["start", "passing.service"]).status.success());
    let gone = Path::new(&machine.root()).join(file);
    fs::remove_file(&gone).unwrap();
    // PID 1 has read it: it goes on by what it knows
    let main = machine.show("passing.service", "MainPID");
    assert!(machine.run(&["kill", "-KILL", &main]).status.success());
    machine.until("it is started again", |m| {
        m.show("passing.service", "MainPID") != main && m.shows("passing.service", "SubState", "running")
    });
    assert!(machine.shows("passing.service", "NeedDaemonReload", "yes"));
    reloaded(machine);
    assert!(machine.shows("passing.service", "LoadState", "not-found"));
    assert!(machine.says(&["is-active", "passing.service"], "active"));
    let refused = machine.systemctl(&["restart", "passing.service"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not found"), "{refused:?}");
    // a folder in its place, a link to nothing, bytes of all kinds: none of them is a unit, and none of them hurts
    fs::create_dir(&gone).unwrap();
    reloaded(machine);
    fs::remove_dir(&gone).unwrap();
    std::os::unix::fs::symlink("/no/such/file", &gone).unwrap();
    reloaded(machine);
    fs::remove_file(&gone).unwrap();
    fs::write(&gone, (0..=255_u8).cycle().take(70_000).collect::<Vec<u8>>()).unwrap();
    reloaded(machine);
    assert!(machine.says(&["is-active", "passing.service"], "active"));
    assert!(machine.systemctl(&["stop", "passing.service"]).status.success());
    assert!(!machine.says(&["is-active", "passing.service"], "active"));
    fs::remove_file(&gone).unwrap();
    reloaded(machine);
}

/// The test machine's own /proc/swaps tells: it is one for all namespaces.
fn swap_goes_on_and_off(machine: &Machine) {
    let file = Path::new(&machine.root()).join("usr/lib/systemd/system/swapfile");
    fs::write(&file, vec![0; 4 << 20]).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Command::new("mkswap").arg(&file).output().unwrap().status.success());
    if !machine.systemctl(&["start", SWAP]).status.success() {
        println!("faults: no swap on this file system");
        return;
    }
    assert!(machine.shows(SWAP, "SubState", "active"));
    assert!(machine.file("proc/swaps").contains("/usr/lib/systemd/system/swapfile"));
    assert!(machine.shows(SWAP, "Priority", "7"));
    // by another hand, it is seen all the same
    assert!(machine.run(&["swapoff", "/usr/lib/systemd/system/swapfile"]).status.success());
    machine.until("its end is seen", |m| m.says(&["is-active", SWAP], "inactive"));
    assert!(machine.systemctl(&["start", SWAP]).status.success());
    assert!(machine.systemctl(&["stop", SWAP]).status.success());
    assert!(machine.shows(SWAP, "Result", "success"));
    assert!(!machine.file("proc/swaps").contains("swapfile"));
    // what is no swap is refused, and the unit has failed
    fs::write(&file, vec![0; 4 << 20]).unwrap();
    assert!(!machine.systemctl(&["start", SWAP]).status.success());
    assert!(machine.says(&["is-active", SWAP], "failed"));
}
