//! PID 1 on the system bus, for real: Debian's busctl, systemctl, systemd-run and loginctl talk to it there.
//!
//! Without cargo's harness, and for root (`machine::program`).

use std::process::{ExitCode, Output};

use machine::Machine;
use machine::program::{self, Main};

#[path = "bus/crowds.rs"]
mod crowds;
mod machine;
#[path = "bus/names.rs"]
mod names;
#[path = "bus/replay.rs"]
mod replay;

fn main() -> ExitCode {
    program::run("clients_on_the_bus_are_served", PROGRAMS, clients_on_the_bus_are_served)
}

/// What the machine's units and the test run of ours.
const PROGRAMS: &[(&str, Main)] = &[
    ("dbus-daemon", bus::dbus_daemon),
    ("named", names::named),
    ("systemd-run", init::clients::run::systemd_run),
    ("systemd-analyze", init::clients::analyze::systemd_analyze),
    ("systemd-notify", init::clients::notify::systemd_notify),
    ("systemd-stdio-bridge", init::clients::bridge::systemd_stdio_bridge),
    ("flood", |_| crowds::flood()),
];

const UNITS: &[(&str, &str)] = &[
    ("sysinit.target", "[Unit]\nDescription=System\nConflicts=shutdown.target\n"),
    ("basic.target", "[Unit]\nDescription=Basic\nRequires=sysinit.target\nAfter=sysinit.target\n"),
    (
        "multi-user.target",
        "[Unit]\nDescription=Users\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n\
         Wants=dbus.service hello.service\n",
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
        "dbus.service",
        "[Unit]\nDescription=D-Bus System Message Bus\n[Service]\nType=notify\n\
         ExecStart=/programs/dbus-daemon --system --address=unix:path=/run/dbus/system_bus_socket --nofork\n",
    ),
    // what Type=dbus needs; the bus opens its own socket here
    ("dbus.socket", "[Socket]\nListenStream=/run/unused\nService=unused.service\n"),
    ("unused.service", "[Service]\nExecStart=/bin/true\n"),
    (
        "named.service",
        "[Service]\nType=dbus\nBusName=org.example.Named\nExecStart=/programs/named org.example.Named\n",
    ),
    ("holder.service", "[Service]\nExecStart=/programs/named org.example.Taken\n"),
    // it takes no name: somebody else has it
    ("taken.service", "[Service]\nType=dbus\nBusName=org.example.Taken\nExecStart=/bin/sleep 1000\n"),
    (
        "hello.service",
        "[Service]\nExecStart=/bin/sleep 1000\nCacheDirectory=hello\n[Install]\nWantedBy=multi-user.target\n",
    ),
];

const MANAGER: [&str; 3] =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
const HELLO: &str = "/org/freedesktop/systemd1/unit/hello_2eservice";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that has to succeed.
fn said(machine: &Machine, command: &[&str]) -> String {
    let output = machine.run(command);
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command as somebody who is not root.
fn stranger(machine: &Machine, command: &[&str]) -> Output {
    let mut all = vec!["setpriv", "--reuid=500", "--regid=501", "--clear-groups"];
    all.extend(command);
    machine.run(&all)
}

fn clients_on_the_bus_are_served() {
    let names: Vec<&str> = PROGRAMS.iter().map(|(name, _)| *name).collect();
    let machine = Machine::with_programs(UNITS, &names);
    machine.until("PID 1 is on the bus", |m| {
        text(&m.run(&["busctl", "--no-pager", "list"]).stdout).contains("org.freedesktop.systemd1")
    });
    busctl(&machine);
    monitored(&machine);
    changes_while_it_runs(&machine);
    transient(&machine);
    scopes_and_timers(&machine);
    our_own_clients(&machine);
    replay::sessions(&machine);
    strangers(&machine);
    crowds::strangers_do_not_keep_root_out(&machine);
    crowds::thousands_start_at_once(&machine);
    names::a_service_is_its_name(&machine);
    names::a_name_is_taken_already(&machine);
    comes_and_goes(&machine);
    let inhibitor = "exec systemd-inhibit --what=shutdown --mode=delay --who=me --why=so \
                     busctl --no-pager call org.freedesktop.login1 /org/freedesktop/login1 \
                     org.freedesktop.login1.Manager ListInhibitors";
    let inhibitors = said(&machine, &["sh", "-c", inhibitor]);
    assert!(inhibitors.contains("\"shutdown\" \"me\" \"so\" \"delay\" 0 "), "{inhibitors}");
    assert!(said(&machine, &["loginctl", "--no-pager"]).contains("No sessions."));
    let off = machine.systemctl(&["poweroff"]);
    assert!(off.status.success() || off.status.code().is_none(), "{}", text(&off.stderr));
    machine.gone();
}

fn busctl(machine: &Machine) {
    let list = said(machine, &["busctl", "--no-pager", "list"]);
    assert!(list.contains("org.freedesktop.login1"), "{list}");
    let tree = said(machine, &["busctl", "--no-pager", "tree", MANAGER[0]]);
    assert!(tree.contains(HELLO), "{tree}");
    let unit = said(machine, &["busctl", "--no-pager", "introspect", MANAGER[0], HELLO]);
    assert!(unit.contains(".ActiveState") && unit.contains("\"active\""), "{unit}");
    let manager = said(machine, &["busctl", "--no-pager", "introspect", MANAGER[0], MANAGER[1]]);
    assert!(manager.contains(".StartTransientUnit") && manager.contains("ssa(sv)a(sa(sv))"), "{manager}");
    let call = |rest: &[&str]| {
        let mut command = vec!["busctl", "--no-pager", "call", MANAGER[0], MANAGER[1], MANAGER[2]];
        command.extend(rest);
        said(machine, &command)
    };
    assert!(call(&["ListUnits"]).starts_with("a(ssssssouso) "));
    assert_eq!(call(&["GetUnit", "s", "hello.service"]), format!("o \"{HELLO}\"\n"));
    let version = [&["busctl", "get-property"], &MANAGER[..], &["Version"]].concat();
    assert!(said(machine, &version).starts_with("s \""));
    let units = machine.run(&["env", "SYSTEMCTL_FORCE_BUS=1", "systemctl", "--no-pager", "list-units"]);
    assert!(text(&units.stdout).contains("hello.service"), "{}", text(&units.stderr));
}

/// What is asked of PID 1 and what it tells, as `busctl monitor` shows it.
fn monitored(machine: &Machine) {
    let script = "busctl --no-pager monitor org.freedesktop.systemd1 >/tmp/seen 2>/tmp/begun & \
                  until grep -q Monitoring /tmp/begun; do sleep 0.1; done; \
                  busctl --no-pager call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
                  org.freedesktop.systemd1.Manager RestartUnit ss hello.service replace; \
                  for turn in $(seq 100); do grep -q Member=JobRemoved /tmp/seen && break; sleep 0.1; done; \
                  kill $!; cat /tmp/seen";
    let seen = said(machine, &["sh", "-c", script]);
    for member in ["RestartUnit", "JobNew", "JobRemoved"] {
        assert!(seen.contains(&format!("Member={member}")), "{member}: {seen}");
    }
    assert!(seen.contains("STRING \"hello.service\""), "{seen}");
}

fn changes_while_it_runs(machine: &Machine) {
    said(machine, &["systemctl", "set-property", "hello.service", "MemoryMax=100M", "CPUWeight=50"]);
    assert!(machine.shows("hello.service", "MemoryMax", "104857600"));
    assert!(machine.shows("hello.service", "CPUWeight", "50"));
    let drop_in = machine.file("etc/systemd/system.control/hello.service.d/50-MemoryMax.conf");
    assert!(drop_in.ends_with("[Service]\nMemoryMax=104857600\n"), "{drop_in}");
    said(machine, &["systemctl", "set-property", "--runtime", "hello.service", "MemoryMax=50%"]);
    assert!(!machine.file("run/systemd/system.control/hello.service.d/50-MemoryMaxScale.conf").is_empty());
    let refused = machine.systemctl(&["set-property", "hello.service", "Description=x", "ExecStart=/bin/no"]);
    assert!(!refused.status.success());
    said(machine, &["systemctl", "revert", "hello.service"]);
    said(machine, &["systemctl", "freeze", "hello.service"]);
    assert!(machine.shows("hello.service", "FreezerState", "frozen"));
    said(machine, &["systemctl", "thaw", "hello.service"]);
    assert!(machine.shows("hello.service", "FreezerState", "running"));
    said(machine, &["systemctl", "stop", "hello.service"]);
    said(machine, &["sh", "-c", "test -d /var/cache/hello && systemctl clean --what=cache hello.service"]);
    machine.until("the cache is clean", |m| !m.run(&["test", "-e", "/var/cache/hello"]).status.success());
    let nothing = machine.systemctl(&["clean", "--what=cache", "poweroff.service"]);
    assert!(text(&nothing.stderr).contains("No matching resources found."), "{}", text(&nothing.stderr));
    said(machine, &["systemctl", "start", "hello.service"]);
    said(machine, &["systemctl", "log-level", "debug"]);
    assert_eq!(said(machine, &["systemctl", "log-level"]), "debug\n");
    said(machine, &["systemctl", "set-default", "basic.target"]);
    assert_eq!(said(machine, &["systemctl", "get-default"]), "basic.target\n");
    said(machine, &["systemctl", "add-wants", "basic.target", "hello.service"]);
    assert!(
        machine.run(&["test", "-L", "/etc/systemd/system/basic.target.wants/hello.service"]).status.success()
    );
    said(machine, &["systemctl", "preset-all"]);
    said(machine, &["sh", "-c", "printf '[Service]\\nExecStart=/bin/true\\n' >/out/far.service"]);
    said(machine, &["systemctl", "link", "/out/far.service"]);
    assert!(machine.says(&["is-enabled", "far.service"], "linked"));
    assert!(machine.shows("hello.service", "NeedDaemonReload", "no"));
    said(
        machine,
        &[
            "sh",
            "-c",
            "mkdir -p /run/systemd/system/hello.service.d && \
        printf '[Unit]\nDescription=Other\n' >/run/systemd/system/hello.service.d/other.conf",
        ],
    );
    said(machine, &["systemctl", "daemon-reload"]);
    assert!(machine.shows("hello.service", "Description", "Other"));
    assert!(machine.shows("hello.service", "NeedDaemonReload", "no"));
    said(machine, &["rm", "/run/systemd/system/hello.service.d/other.conf"]);
    assert!(machine.shows("hello.service", "NeedDaemonReload", "yes"));
    said(machine, &["systemctl", "daemon-reload"]);
    let kexec = machine.systemctl(&["kexec", "--force"]);
    assert!(!kexec.status.success());
    assert!(said(machine, &["systemd-analyze", "dump"]).contains("-> Unit hello.service:"));
}

fn transient(machine: &Machine) {
    let run = |rest: &[&str]| {
        let mut command = vec!["systemd-run"];
        command.extend(rest);
        machine.run(&command)
    };
    let waited = run(&[
        "--unit=run1",
        "--wait",
        "-p",
        "MemoryMax=64M",
        "--slice=mine.slice",
        "/bin/sh",
        "-c",
        "exit 3",
    ]);
    assert_eq!(waited.status.code(), Some(3), "{}", text(&waited.stderr));
    machine.until("the unit is gone", |m| {
        !m.run(&["test", "-e", "/run/systemd/transient/run1.service"]).status.success() || {
            let _ = m.systemctl(&["reset-failed", "run1.service"]);
            false
        }
    });
    let long = run(&[
        "--unit=long",
        "--setenv=A=b c",
        "-p",
        "Nice=5",
        "--description=50% done",
        "/bin/sleep",
        "1000",
    ]);
    assert!(long.status.success(), "{}", text(&long.stderr));
    assert!(machine.says(&["is-active", "long.service"], "active"));
    assert!(machine.shows("long.service", "Description", "50% done"));
    assert!(machine.shows("long.service", "Nice", "5"));
    assert!(machine.shows("long.service", "Transient", "yes"));
    assert!(machine.shows("long.service", "Environment", "\"A=b c\""));
    let again = run(&["--unit=long", "/bin/true"]);
    assert!(
        text(&again.stderr).contains("was already loaded or has a fragment file"),
        "{}",
        text(&again.stderr)
    );
    said(machine, &["systemctl", "daemon-reload"]);
    assert!(machine.says(&["is-active", "long.service"], "active"));
    said(machine, &["systemctl", "stop", "long.service"]);
    machine.until("the stopped unit is gone", |m| m.shows("long.service", "LoadState", "not-found"));
    let bad = run(&["-p", "MemoryMax=64M", "-p", "Restart=sometimes", "/bin/true"]);
    assert!(!bad.status.success());
}

fn scopes_and_timers(machine: &Machine) {
    let scope = said(machine, &["systemd-run", "--scope", "--unit=mine", "cat", "/proc/self/cgroup"]);
    assert!(scope.contains("0::/system.slice/mine.scope"), "{scope}");
    machine.until("the scope is gone", |m| m.shows("mine.scope", "LoadState", "not-found"));
    let timer = machine.run(&[
        "systemd-run",
        "--unit=soon",
        "--on-active=1s",
        "--timer-property=AccuracySec=1us",
        "/bin/sh",
        "-c",
        "echo now >/out/soon",
    ]);
    assert!(timer.status.success(), "{}", text(&timer.stderr));
    let list = said(machine, &["systemctl", "--no-pager", "list-timers", "--all"]);
    assert!(list.contains("soon.timer"), "{list}");
    machine.until("the timer has run its service", |m| m.file("out/soon") == "now\n");
    let calendar = machine.run(&["systemd-run", "--unit=daily", "--on-calendar=daily", "/bin/true"]);
    assert!(calendar.status.success(), "{}", text(&calendar.stderr));
    assert!(machine.shows("daily.timer", "ActiveState", "active"));
    said(machine, &["systemctl", "stop", "daily.timer"]);
    let piped = machine.run(&["sh", "-c", "echo through | systemd-run --pipe --wait --quiet tr a-z A-Z"]);
    assert_eq!(text(&piped.stdout), "THROUGH\n", "{}", text(&piped.stderr));
}

/// Our systemd-run does the same as Debian's, our systemd-analyze says the same.
fn our_own_clients(machine: &Machine) {
    let run = |script: &str| machine.run(&["sh", "-c", &format!("cd / && PATH=/programs:$PATH && {script}")]);
    let waited = run("systemd-run --wait -p MemoryMax=64M --slice=mine -E A=b sh -c 'test $A = b && exit 7'");
    assert_eq!(waited.status.code(), Some(7), "{}", text(&waited.stderr));
    let piped = run("echo through | systemd-run --pipe -q tr a-z A-Z");
    assert_eq!(text(&piped.stdout), "THROUGH\n", "{}", text(&piped.stderr));
    let scope = run("systemd-run -q --scope --unit=ours grep ^0: /proc/self/cgroup");
    assert_eq!(text(&scope.stdout), "0::/system.slice/ours.scope\n", "{}", text(&scope.stderr));
    let timer = run(
        "systemd-run --unit=later --on-active=1s --timer-property=AccuracySec=1us sh -c 'echo late >/out/late'",
    );
    assert!(timer.status.success(), "{}", text(&timer.stderr));
    machine.until("our timer has run its service", |m| m.file("out/late") == "late\n");
    let notified = run("systemd-run --wait --service-type=notify -p NotifyAccess=all sh -c \
                        'systemd-notify --ready --status=up && /programs/systemd-notify --ready'");
    assert!(notified.status.success(), "{}", text(&notified.stderr));
    let user = run("systemd-run --user true");
    assert!(!user.status.success() && text(&user.stderr).contains("--uid=USER"), "{}", text(&user.stderr));
    for program in ["/usr/bin/systemd-run", "/programs/systemd-run"] {
        terminal(machine, program);
    }
    by_ssh(machine);
    let bad = run("systemd-run -p NoSuch=1 true");
    assert!(text(&bad.stderr).contains("Unknown assignment: NoSuch=1"), "{}", text(&bad.stderr));
    for verb in [&["time"][..], &["blame"], &["critical-chain"], &["unit-paths"]] {
        let [theirs, ours] = ["/usr/bin/systemd-analyze", "/programs/systemd-analyze"].map(|program| {
            let mut command = vec!["env", "SYSTEMD_COLORS=0", program, "--no-pager"];
            command.extend(verb);
            text(&machine.run(&command).stdout)
        });
        assert!(!theirs.is_empty(), "{verb:?}");
        // Debian's takes the namespaces for a container, where the kernel's time is none of its business.
        let kernel = |text: &str| {
            let (head, tail) = text.split_once(" (kernel) + ")?;
            let userspace = tail.split(" = ").next()?;
            let rest = tail.split_once('\n')?.1;
            Some(format!(
                "{} {userspace} \n{rest}",
                head.rsplit_once(' ')?.0.split(" in ").next()?.to_owned() + " in"
            ))
        };
        assert_eq!(kernel(&ours).unwrap_or(ours), theirs, "systemd-analyze {verb:?}");
    }
    assert!(said(machine, &["/usr/bin/systemd-analyze", "plot"]).contains("dbus.service"));
    let plot = said(machine, &["/programs/systemd-analyze", "plot"]);
    assert!(plot.contains("dbus.service (") && plot.contains("multi-user.target"), "{plot}");
    assert!(said(machine, &["/programs/systemd-analyze", "dump"]).contains("-> Unit hello.service:"));
}

/// `--pty`: the command has a terminal, its last words are printed, its exit status is that of the client; what has
/// failed is forgotten (`-G`).
fn terminal(machine: &Machine, program: &str) {
    // the client ends when its input does: not before the command has been
    let script = format!(
        "rm -f /tmp/ran; (echo typed; until test -e /tmp/ran; do sleep 0.1; done; sleep 3) | \
         {program} -t -G -q --unit=in-terminal --wait sh -c \
         'test -t 0 && test -t 1 && test -t 2 && read it && echo \"$it in $(tty)\"; touch /tmp/ran; exit 5'"
    );
    let output = machine.run(&["sh", "-c", &script]);
    let (said, complaint) = (text(&output.stdout), text(&output.stderr));
    assert!(said.contains("typed in /dev/pts/"), "{program}: {said}{complaint}");
    assert_eq!(output.status.code(), Some(5), "{program}: {said}{complaint}");
    machine.until("it is forgotten", |m| m.shows("in-terminal.service", "LoadState", "not-found"));
}

/// `systemctl --host`: ssh is a script that runs what it is told to right here, with our bridge.
fn by_ssh(machine: &Machine) {
    let script = "cd /tmp; printf '#!/bin/sh\\nwhile [ \"$1\" != systemd-stdio-bridge ]; do shift; done\\n\
                  exec /programs/\"$@\"\\n' >ssh; chmod +x ssh; export PATH=/tmp:$PATH; \
                  systemctl -H core@machine is-active hello.service && \
                  systemctl -H core@machine show -p Id --value hello.service && \
                  busctl -H core@machine get-property org.freedesktop.systemd1 /org/freedesktop/systemd1 \
                  org.freedesktop.systemd1.Manager SystemState";
    let said = said(machine, &["sh", "-c", script]);
    assert!(said.starts_with("active\nhello.service\ns \""), "{said}");
}

fn strangers(machine: &Machine) {
    let status = stranger(machine, &["systemctl", "--no-pager", "status", "hello.service"]);
    assert!(text(&status.stdout).contains("Active: active (running)"), "{}", text(&status.stderr));
    for verb in [
        &["systemctl", "stop", "hello.service"][..],
        &["systemctl", "daemon-reload"],
        &["systemctl", "poweroff"],
        &["systemctl", "set-property", "hello.service", "MemoryMax=1M"],
        &["systemctl", "log-level", "info"],
        &["systemd-run", "/bin/true"],
        &["systemctl", "enable", "hello.service"],
        &["busctl", "call", MANAGER[0], MANAGER[1], MANAGER[2], "PowerOff"],
    ] {
        let refused = stranger(machine, verb);
        let complaint = text(&refused.stderr);
        assert!(!refused.status.success(), "{verb:?} is not for everybody");
        assert!(
            complaint.to_lowercase().contains("denied") || complaint.contains("authentication"),
            "{verb:?}: {complaint}"
        );
    }
    assert!(machine.says(&["is-active", "hello.service"], "active"));
}

/// The bus is a service like any other.
fn comes_and_goes(machine: &Machine) {
    said(machine, &["systemctl", "stop", "dbus.service"]);
    assert!(machine.says(&["is-active", "hello.service"], "active"));
    said(machine, &["systemctl", "start", "dbus.service"]);
    machine.until("PID 1 is on the new bus", |m| {
        text(&m.run(&["busctl", "--no-pager", "list"]).stdout).contains("org.freedesktop.systemd1")
    });
}
