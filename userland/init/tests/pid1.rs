//! PID 1 for real: this program is its own init in namespaces of its own, on a root made of Debian's /usr and unit
//! files of the scenario, and Debian's systemctl talks to it. The root is in memory: no disk is looked at.
//!
//! Without the harness of `cargo test`, because PID 1 must have one thread. Needs root (it makes namespaces and
//! mounts); anybody else is told so and passes.

use std::ffi::OsString;
use std::process::ExitCode;

use machine::Machine;

mod machine;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if std::process::id() == 1 {
        return init::init(args);
    }
    // What cargo asks of every test program.
    if args.iter().any(|arg| arg == "--list") {
        println!("units_run_and_the_machine_goes_down: test");
        return ExitCode::SUCCESS;
    }
    if !rustix::process::getuid().is_root() {
        println!("pid1: skipped, needs root");
        return ExitCode::SUCCESS;
    }
    units_run_and_the_machine_goes_down();
    println!("pid1: ok");
    ExitCode::SUCCESS
}

/// A unit file of the scenario.
const UNITS: &[(&str, &str)] = &[
    ("basic.target", "[Unit]\nDescription=Basic\nRequires=sysinit.target\nAfter=sysinit.target\n"),
    ("sysinit.target", "[Unit]\nDescription=System\nConflicts=shutdown.target\n"),
    (
        "multi-user.target",
        "[Unit]\nDescription=Users\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n\
         Wants=hello.service once.service user.service bad.service ready.service\n",
    ),
    ("shutdown.target", "[Unit]\nDescription=Shutdown\nDefaultDependencies=no\nRefuseManualStart=yes\n"),
    (
        "poweroff.target",
        "[Unit]\nDescription=Off\nDefaultDependencies=no\nRequires=poweroff.service\nAfter=poweroff.service\n\
         AllowIsolate=yes\nJobTimeoutSec=30\n",
    ),
    (
        "poweroff.service",
        "[Unit]\nDefaultDependencies=no\nRequires=shutdown.target\nAfter=shutdown.target\n\
         SuccessAction=poweroff-force\n[Service]\nType=oneshot\nExecStart=/bin/true\n",
    ),
    ("hello.service", "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=100ms\n"),
    (
        "once.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nStandardOutput=file:/out/once\nStandardError=inherit\n\
         Environment=A=b\nRuntimeDirectory=once\nLimitNOFILE=77:88\nUMask=0027\nNice=3\nWorkingDirectory=/out\n\
         ExecStart=/bin/sh -c 'echo $$A; pwd; ulimit -Sn; umask; nice; ls -d /run/once; grep ^0: /proc/self/cgroup; \
         echo $$INVOCATION_ID | wc -c'\n",
    ),
    (
        "user.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nUser=core\nSupplementaryGroups=docker\n\
         StandardOutput=file:/out/user\nCapabilityBoundingSet=CAP_CHOWN\nNoNewPrivileges=yes\n\
         ExecStart=/bin/sh -c 'id -u; id -g; id -G; echo $$HOME $$USER; grep -E \"CapBnd|NoNewPrivs\" /proc/self/status'\n",
    ),
    ("bad.service", "[Service]\nExecStart=/no/such/program\n"),
    (
        "ready.service",
        "[Service]\nType=notify\nNotifyAccess=all\n\
         ExecStart=/bin/sh -c 'systemd-notify --ready --status=here; exec sleep 1000'\n",
    ),
];

fn units_run_and_the_machine_goes_down() {
    let machine = Machine::start(UNITS, &[]);
    machine.until("multi-user.target is up", |m| m.says(&["is-active", "multi-user.target"], "active"));
    assert!(machine.says(&["is-active", "hello.service"], "active"));
    assert!(machine.says(&["is-active", "once.service"], "active"));
    let once = machine.file("out/once");
    let want = "b\n/out\n77\n0027\n3\n/run/once\n0::/system.slice/once.service\n33\n";
    assert_eq!(once, want);
    let user = machine.file("out/user");
    assert!(user.starts_with("500\n501\n501 233\n/home/core core\n"), "{user}");
    assert!(user.contains("CapBnd:\t0000000000000001\n") && user.contains("NoNewPrivs:\t1\n"), "{user}");

    assert!(machine.says(&["is-active", "bad.service"], "failed"));
    assert!(machine.shows("bad.service", "ExecMainStatus", "203"));
    assert!(machine.shows("ready.service", "StatusText", "here"));
    assert!(machine.shows("ready.service", "ActiveState", "active"));

    let pid = machine.show("hello.service", "MainPID");
    assert!(machine.systemctl(&["kill", "-s", "KILL", "hello.service"]).status.success());
    machine.until("hello.service is restarted", |m| {
        m.shows("hello.service", "NRestarts", "1")
            && m.shows("hello.service", "SubState", "running")
            && m.show("hello.service", "MainPID") != pid
    });
    assert!(machine.systemctl(&["stop", "hello.service"]).status.success());
    assert!(machine.says(&["is-active", "hello.service"], "inactive"));

    // /var is in memory here, for the root is on no disk: said so, and the boot does not count as good.
    assert!(machine.run(&["test", "-e", "/run/corten/state-failed"]).status.success());
    assert!(machine.run(&["test", "-d", "/var/home/core"]).status.success());
    let id = machine.run(&["cat", "/etc/machine-id"]);
    assert_eq!(id.stdout.len(), 33, "{}", String::from_utf8_lossy(&id.stdout));

    // Its answer may be cut off: going down ends systemctl too.
    let _ = machine.systemctl(&["--no-block", "start", "poweroff.target"]);
    machine.gone();
}
