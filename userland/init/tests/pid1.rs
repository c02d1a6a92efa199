//! PID 1 for real: this program is its own init in namespaces of its own, on a root made of Debian's /usr and unit
//! files of the scenario, and Debian's systemctl talks to it. The root is in memory: no disk is looked at.
//!
//! Without cargo's harness, and for root (`machine::program`).

use std::process::ExitCode;

use machine::Machine;
use machine::program::{self, Main};

mod machine;

fn main() -> ExitCode {
    let roles: &[(&str, Main)] = &[("systemctl", init::cli::systemctl)];
    program::run("units_run_and_the_machine_goes_down", roles, units_run_and_the_machine_goes_down)
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
    (
        "hello.service",
        "[Service]\nExecStart=/bin/sleep 1000\nRestart=always\nRestartSec=100ms\n\
         [Install]\nWantedBy=multi-user.target\n",
    ),
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
    let machine = Machine::with_programs(UNITS, &["systemctl"]);
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

    same_words(&machine);

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

/// Our own systemctl says what Debian's says, to the letter, and exits as it does.
fn same_words(machine: &Machine) {
    let verbs: &[&[&str]] = &[
        &["list-units"],
        &["list-units", "--all", "--plain", "--no-legend"],
        &["list-units", "--type=service", "--state=failed"],
        &["--failed"],
        &["list-unit-files"],
        &["list-unit-files", "--type=target", "--no-legend"],
        &["list-dependencies", "multi-user.target"],
        &["list-dependencies", "--reverse", "basic.target"],
        &["list-dependencies", "--plain", "multi-user.target"],
        &["list-jobs"],
        &["list-jobs", "--no-legend"],
        &["list-unit-files", "nothing*"],
        &["list-units", "nothing*"],
        &["list-sockets"],
        &["list-timers"],
        &["list-automounts"],
        &["is-active", "hello.service", "bad.service"],
        &["is-active", "--quiet", "nothing.service"],
        &["is-failed", "bad.service", "hello.service"],
        &["is-enabled", "hello.service"],
        &["is-enabled", "nothing.service"],
        &["is-system-running"],
        &["get-default"],
        &["show-environment"],
        &["cat", "hello.service", "once.service"],
        &["cat", "nothing.service"],
        &["show", "-p", "MainPID", "-p", "ActiveState", "hello.service", "once.service"],
        &["show", "--value", "-p", "Id", "basic.target"],
        &["status", "-n0", "once.service"],
        &["status", "-n0", "bad.service"],
        &["status", "-n0", "ready.service"],
        &["status", "-n0", "basic.target"],
        &["status", "nothing.service"],
        &["start", "nothing.service"],
        &["stop", "nothing.service"],
        &["restart", "bad.service"],
        &["reload", "hello.service"],
        &["enable", "nothing.service"],
        &["isolate", "hello.service"],
        &["kill", "-s", "NOPE", "hello.service"],
        &["log-level"],
        &["status", "-n0", "hello.service", "nothing.service"],
        &["show", "nothing.service", "-p", "LoadState", "-p", "ActiveState"],
        &["show", "-p", "SystemState", "-p", "NFailedUnits"],
        &["start", "poweroff.target", "--job-mode=nonsense"],
        &["disable", "hello.service"],
        &["preset", "bad.service"],
        &["set-default", "nothing.target"],
        &["cancel", "99"],
        &["try-restart", "bad.service"],
        &["reload-or-restart", "bad.service"],
        &["set-property", "hello.service", "NoSuch=1"],
        &["daemon-reload"],
        &["reset-failed", "bad.service"],
        &["is-failed", "bad.service"],
    ];
    // What changes something is undone before the other one does it.
    let undone: &[[&[&str]; 2]] = &[
        [&["mask", "hello.service"], &["unmask", "hello.service"]],
        [&["mask", "--runtime", "hello.service"], &["unmask", "--runtime", "hello.service"]],
        [&["enable", "hello.service"], &["disable", "hello.service"]],
        [&["add-wants", "multi-user.target", "shutdown.target"], &["disable", "shutdown.target"]],
    ];
    let by_theirs: Vec<Said> =
        undone.iter().flatten().map(|verb| said(machine, "/usr/bin/systemctl", verb)).collect();
    let by_ours = undone.iter().flatten().map(|verb| (*verb, said(machine, "/programs/systemctl", verb)));
    let changes = by_ours.zip(by_theirs).map(|((verb, ours), theirs)| (verb, theirs, ours));
    let reads = verbs.iter().map(|verb| {
        let [theirs, ours] =
            ["/usr/bin/systemctl", "/programs/systemctl"].map(|program| said(machine, program, verb));
        (*verb, theirs, ours)
    });
    let mut different = Vec::new();
    for (verb, theirs, ours) in reads.chain(changes) {
        if theirs != ours {
            different.push(format!("{verb:?}: {:?}\n{}", (theirs.0, ours.0), difference(&theirs, &ours)));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// What a systemctl says of a verb.
fn said(machine: &Machine, program: &str, verb: &[&str]) -> Said {
    let mut command = vec!["env", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", "COLUMNS=500", program, "--no-pager"];
    command.extend(verb);
    let out = machine.run(&command);
    let text = |bytes: &[u8]| without_time(&String::from_utf8_lossy(bytes));
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

type Said = (Option<i32>, String, String);

/// The lines that are not the same.
fn difference(theirs: &Said, ours: &Said) -> String {
    let lines =
        |said: &Said| -> Vec<String> { said.1.lines().chain(said.2.lines()).map(str::to_owned).collect() };
    let (theirs, ours) = (lines(theirs), lines(ours));
    let mut text = String::new();
    for at in 0..theirs.len().max(ours.len()) {
        let (left, right) = (theirs.get(at), ours.get(at));
        if left != right && text.lines().count() < 12 {
            text.push_str(&format!("  theirs {left:?}\n  ours   {right:?}\n"));
        }
    }
    text
}

/// What goes on between two calls: times that have passed, and what a unit has used.
fn without_time(text: &str) -> String {
    let moving =
        ["CPU: ", "CPUUsageNSec=", "Memory: ", "MemoryCurrent=", "MemoryAvailable=", "TasksCurrent="];
    let lines = text.lines().map(|line| match moving.iter().find(|word| line.contains(**word)) {
        Some(word) => line.split(word).next().unwrap_or_default().to_owned() + word,
        None => line.split("; ").next().filter(|_| line.contains(" ago")).unwrap_or(line).to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}
