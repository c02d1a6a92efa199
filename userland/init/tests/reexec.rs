//! PID 1 executed anew, for real: by daemon-reexec, by an updated program, with a state that is damaged, after a crash.
//! No process may notice; Debian's systemctl tells the same before and after.
//!
//! Without cargo's harness, and for root (`machine::program`).

#![allow(clippy::unwrap_used, clippy::panic)] // A test, but clippy sees none without the harness.

mod machine;

use std::ffi::OsString;
use std::fs;
use std::io::{IoSlice, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::ExitCode;

use init::handover::{Order, Snapshots};
use machine::Machine;
use machine::program::{self, Main};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// PID 1 finds this and panics before it has taken its state over.
const PANIC: &str = "/out/panic";

fn main() -> ExitCode {
    let roles: &[(&str, Main)] = &[("init", init_that_may_panic), ("store", |_| store())];
    program::run("nothing_is_lost", roles, nothing_is_lost)
}

fn init_that_may_panic(args: Vec<OsString>) -> ExitCode {
    if fs::remove_file(PANIC).is_ok() {
        let _snapshots = Snapshots::begin(&Order::parse(&args));
        init::shutdown::recover_from_panics();
        panic!("as the test wants it");
    }
    init::init(args)
}

fn nothing_is_lost() {
    let machine = Machine::with_programs(UNITS, &["store"]);
    machine.until("multi-user.target is up", |m| m.says(&["is-active", "multi-user.target"], "active"));
    nothing_changes(&machine);
    what_comes_in_between_is_not_lost(&machine);
    an_updated_program_takes_over(&machine);
    a_damaged_state_is_survived(&machine);
    crashes_are_survived(&machine);
}

/// A service that stores a descriptor once, and tells what it gets back.
fn store() -> ExitCode {
    let stored = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    fs::write("/out/stored", &stored).unwrap();
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(std::env::var("NOTIFY_SOCKET").unwrap()).unwrap();
    let file = fs::File::open("/etc/passwd").unwrap();
    let fds = [file.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); 64];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let text: &[u8] = if stored.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        b"READY=1\nFDSTORE=1\nFDNAME=mine"
    } else {
        b"READY=1"
    };
    sendmsg(&socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::empty()).unwrap();
    loop {
        std::thread::sleep(std::time::Duration::from_secs(1000));
    }
}

const UNITS: &[(&str, &str)] = &[
    ("basic.target", "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n"),
    ("sysinit.target", "[Unit]\nConflicts=shutdown.target\n"),
    (
        "multi-user.target",
        "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n\
         Wants=hello.service once.service bad.service ready.service store.service group.service\n\
         Wants=one.socket each.socket flag.path soon.timer auto.automount\n",
    ),
    ("shutdown.target", "[Unit]\nDefaultDependencies=no\n"),
    ("hello.service", "[Service]\nExecStart=/bin/sleep 100000\nRestart=on-failure\nRestartSec=100ms\n"),
    (
        "once.service",
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo once >> /out/once'\n",
    ),
    ("bad.service", "[Service]\nExecStart=/no/such/program\n"),
    (
        "ready.service",
        "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=1h\n\
         ExecStart=/bin/sh -c 'systemd-notify --ready --status=here; exec sleep 100000'\n",
    ),
    ("store.service", "[Service]\nType=notify\nFileDescriptorStoreMax=4\nExecStart=/programs/store\n"),
    // two processes, and what PID 1 must guard with
    (
        "group.service",
        "[Service]\nExecStart=/bin/sh -c 'sleep 100000 & exec sleep 100000'\nDevicePolicy=closed\nPrivateTmp=yes\n",
    ),
    (
        "slow.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'until test -e /out/go; do sleep 0.1; done'\n",
    ),
    (
        "after.service",
        "[Unit]\nAfter=slow.service\n[Service]\nType=oneshot\nExecStart=/bin/true\nRemainAfterExit=yes\n",
    ),
    ("one.socket", "[Socket]\nListenDatagram=/run/one\n"),
    (
        "one.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nStandardOutput=append:/out/one\n\
         ExecStart=/bin/sh -c 'head -c4 <&3'\n",
    ),
    ("each.socket", "[Socket]\nListenStream=/run/each\nAccept=yes\n"),
    (
        "each@.service",
        "[Service]\nStandardInput=socket\nStandardError=null\nExecStart=/bin/sh -c 'echo hello; exec cat'\n",
    ),
    ("flag.path", "[Path]\nPathExists=/run/flag\n"),
    (
        "flag.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'rm /run/flag; echo flag >> /out/flag'\n",
    ),
    ("soon.timer", "[Timer]\nOnActiveSec=300ms\nOnUnitActiveSec=300ms\nAccuracySec=1ms\n"),
    (
        "soon.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo tick >> /out/ticks'\n",
    ),
    ("auto.automount", "[Automount]\nWhere=/auto\n"),
    ("auto.mount", "[Mount]\nWhat=tmpfs\nWhere=/auto\nType=tmpfs\n"),
];

/// What may differ from one moment to the next.
const VOLATILE: &[&str] = &[
    "CPUUsageNSec",
    "MemoryCurrent",
    "MemoryAvailable",
    "TasksCurrent",
    "IOReadBytes",
    "IOWriteBytes",
    "EffectiveMemory",
];

/// What systemctl tells of all units but those that the timer sets in motion.
fn told(machine: &Machine) -> String {
    let units = machine.systemctl(&["list-units", "--all", "--plain", "--no-legend"]);
    let units = String::from_utf8_lossy(&units.stdout).into_owned();
    let mut names: Vec<&str> = units.lines().filter_map(|line| line.split_whitespace().next()).collect();
    names.retain(|name| !name.starts_with("soon.") && name.contains('.'));
    let mut command = vec!["show", "--all"];
    command.extend(&names);
    let shown = machine.systemctl(&command);
    let mut text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for more in [&["list-jobs"][..], &["show-environment"], &["list-sockets"], &["log-level"]] {
        text.push_str(&String::from_utf8_lossy(&machine.systemctl(more).stdout));
    }
    text.push_str(&String::from_utf8_lossy(
        &machine
            .systemctl(&["show", "-p", "UserspaceTimestampMonotonic", "-p", "FinishTimestampMonotonic"])
            .stdout,
    ));
    // a job of the timer's service may be among the others
    let ticks = |line: &str| line.contains(" soon.service ") || line.ends_with(" jobs listed.");
    let stays = |line: &&str| !VOLATILE.iter().any(|volatile| line.starts_with(volatile)) && !ticks(line);
    text.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

fn command_line(machine: &Machine) -> String {
    machine.file("proc/1/cmdline").replace('\0', " ")
}

fn executed(machine: &Machine) {
    let before = command_line(machine);
    // its number in the command line may be the same: a mark tells the two apart
    let born = generation(machine);
    let said = machine.systemctl(&["daemon-reexec"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    machine.until("PID 1 is executed anew", |m| command_line(m) != before || generation(m) != born);
    machine.until("PID 1 answers", |m| m.systemctl(&["is-active", "multi-user.target"]).status.success());
}

/// Where the program lies in memory: another place after each execution.
fn generation(machine: &Machine) -> String {
    machine.file("proc/1/maps").lines().next().unwrap_or_default().to_owned()
}

fn nothing_changes(machine: &Machine) {
    let ok = |args: &[&str]| assert!(machine.systemctl(args).status.success(), "{args:?}");
    machine.until("bad.service has failed", |m| m.shows("bad.service", "Result", "exit-code"));
    machine.until("store.service has stored", |m| m.shows("store.service", "NFileDescriptorStore", "1"));
    // a restart counter, the environment, the log level, jobs that run and wait
    ok(&["kill", "-s", "KILL", "hello.service"]);
    machine.until("hello.service is restarted", |m| {
        m.shows("hello.service", "NRestarts", "1") && m.shows("hello.service", "SubState", "running")
    });
    ok(&["set-environment", "COLOUR=rust"]);
    ok(&["log-level", "notice"]);
    ok(&["start", "--no-block", "slow.service", "after.service"]);
    machine.until("jobs are queued", |m| {
        m.shows("slow.service", "SubState", "start") && !m.show("after.service", "Job").is_empty()
    });
    // what clients have made
    for args in [
        &["systemd-run", "--unit=made", "--property=MemoryMax=64M", "sleep", "100000"][..],
        &["sh", "-c", "systemd-run --scope --unit=held sleep 100000 >/dev/null 2>&1 &"],
        &["systemctl", "set-property", "--runtime", "hello.service", "CPUWeight=77"],
    ] {
        let out = machine.run(args);
        assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    machine.until("the scope is there", |m| m.says(&["is-active", "held.scope"], "active"));
    machine.until("the unit is there", |m| m.shows("made.service", "SubState", "running"));
    let mut held = UnixStream::connect(format!("{}/run/each", machine.root())).unwrap();
    let mut word = [0; 6];
    held.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello\n");

    let before = told(machine);
    for _ in 0..2 {
        executed(machine);
        let after = told(machine);
        for (one, other) in before.lines().zip(after.lines()) {
            assert_eq!(one, other);
        }
        assert_eq!(before, after);
    }
    assert_eq!(machine.file("out/once"), "once\n");

    // everything goes on
    fs::write(format!("{}/out/go", machine.root()), "").unwrap();
    machine.until("the jobs are done", |m| m.says(&["is-active", "after.service"], "active"));
    ok(&["kill", "-s", "KILL", "hello.service"]);
    machine.until("hello.service is restarted again", |m| {
        m.shows("hello.service", "NRestarts", "2") && m.shows("hello.service", "SubState", "running")
    });
    ok(&["stop", "group.service"]);
    assert!(!machine.run(&["test", "-e", "/sys/fs/cgroup/system.slice/group.service"]).status.success());
    ok(&["start", "group.service"]);
    ok(&["restart", "store.service"]);
    assert_eq!(machine.file("out/stored"), "mine", "the store is handed over");
    drop(held);
    machine.until("the connection is over", |m| m.shows("each.socket", "NConnections", "0"));
    ok(&["stop", "held.scope", "made.service"]);
    machine.until("the transient unit is gone", |m| m.shows("made.service", "LoadState", "not-found"));
    let ticks = machine.file("out/ticks").len();
    machine.until("the timer goes on", |m| m.file("out/ticks").len() > ticks + 10);
    fs::write(format!("{}/run/flag", machine.root()), "").unwrap();
    machine.until("the path is watched", |m| m.file("out/flag") == "flag\n");
    assert!(machine.run(&["ls", "/auto"]).status.success());
    assert!(machine.says(&["is-active", "auto.mount"], "active"));
}

/// PID 1 is held, and finds all at once: clients, an end, a message, and the order to execute itself anew.
fn what_comes_in_between_is_not_lost(machine: &Machine) {
    let restarts: u32 = machine.show("hello.service", "NRestarts").parse().unwrap();
    let main = machine.show("hello.service", "MainPID");
    let born = generation(machine);
    assert!(machine.run(&["kill", "-TERM", "1"]).status.success());
    machine.until("PID 1 is executed anew", |m| generation(m) != born);
    for _ in 0..5 {
        let born = generation(machine);
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(b"four", format!("{}/run/one", machine.root())).unwrap();
        assert!(machine.run(&["kill", "-TERM", "1"]).status.success());
        let mut stream = UnixStream::connect(format!("{}/run/each", machine.root())).unwrap();
        let mut word = [0; 6];
        stream.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"hello\n");
        machine.until("PID 1 is executed anew", |m| generation(m) != born);
    }
    machine.until("each datagram is taken", |m| m.file("out/one") == "four".repeat(5));
    let out = machine.run(&["sh", "-c", &format!("kill -TERM 1; kill -KILL {main}; kill -TERM 1")]);
    assert!(out.status.success());
    machine.until("the end in between is seen", |m| {
        m.shows("hello.service", "NRestarts", &(restarts + 1).to_string())
            && m.shows("hello.service", "SubState", "running")
    });
}

/// The program's file is another one: that is executed.
fn an_updated_program_takes_over(machine: &Machine) {
    let pid = machine.show("hello.service", "MainPID");
    assert!(machine.run(&["sh", "-c", "cp /init /init.new && mv /init.new /init"]).status.success());
    assert!(exe(machine).ends_with("(deleted)"), "{}", exe(machine));
    executed(machine);
    assert_eq!(exe(machine), "/init");
    assert_eq!(machine.show("hello.service", "MainPID"), pid);
}

fn exe(machine: &Machine) -> String {
    let out = machine.run(&["readlink", "/proc/1/exe"]);
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// In the program's place is one that spoils the state on the way.
fn a_damaged_state_is_survived(machine: &Machine) {
    let pids: Vec<String> = ["hello.service", "ready.service", "group.service"]
        .iter()
        .map(|it| machine.show(it, "MainPID"))
        .collect();
    let invocation = machine.show("hello.service", "InvocationID");
    for spoil in [
        "truncate -s 4000 $state",
        "echo nonsense > $state",
        "dd if=/dev/zero of=$state bs=1 seek=999 count=9 conv=notrunc",
    ] {
        let script = format!(
            "#!/bin/sh\nstate=/proc/self/fd/${{1#--deserialize=}}\n{spoil} 2>/dev/null\nmv /init /spoiler; mv /real /init\nexec /init \"$@\"\n"
        );
        fs::write(format!("{}/spoiler", machine.root()), script).unwrap();
        let ready = "chmod 755 /spoiler; mv /init /real; mv /spoiler /init";
        assert!(machine.run(&["sh", "-c", ready]).status.success());
        executed(machine);
        assert!(machine.console().contains("The state of PID 1 is lost"), "it is said loudly");
        machine.until("multi-user.target is up", |m| m.says(&["is-active", "multi-user.target"], "active"));
        for (unit, pid) in ["hello.service", "ready.service", "group.service"].iter().zip(&pids) {
            assert!(machine.shows(unit, "MainPID", pid), "{spoil}: {unit} goes on");
            assert!(machine.shows(unit, "ActiveState", "active"));
        }
        assert!(machine.shows("hello.service", "InvocationID", &invocation));
        // what it listens at is opened anew
        machine.until("the socket listens", |m| m.shows("each.socket", "SubState", "listening"));
        let mut stream = UnixStream::connect(format!("{}/run/each", machine.root())).unwrap();
        stream.read_exact(&mut [0; 6]).unwrap();
    }
}

/// PID 1 breaks: it says so, and goes on; but not for ever.
fn crashes_are_survived(machine: &Machine) {
    let pid = machine.show("hello.service", "MainPID");
    // a panic before the state is taken over: it goes on without
    fs::write(format!("{}{PANIC}", machine.root()), "").unwrap();
    executed(machine);
    assert!(
        machine.console().contains("PID 1 panicked") && machine.console().contains("as the test wants it")
    );
    assert!(machine.shows("hello.service", "MainPID", &pid));

    for signal in ["SEGV", "ABRT"] {
        // the state at hand is a second old at the most; what happened since is found out
        assert!(
            machine.run(&["systemd-run", &format!("--unit=new{signal}"), "sleep", "100000"]).status.success()
        );
        let born = generation(machine);
        assert!(machine.run(&["kill", &format!("-{signal}"), "1"]).status.success());
        machine.until("PID 1 is executed anew", |m| {
            generation(m) != born && !m.file("proc/1/cmdline").is_empty()
        });
        machine.until("PID 1 answers", |m| m.says(&["is-active", "multi-user.target"], "active"));
        assert!(
            machine.console().contains(&format!("PID 1 has crashed by SIG{signal}")),
            "{}",
            machine.console()
        );
        assert!(machine.shows("hello.service", "MainPID", &pid));
        assert!(machine.shows(&format!("new{signal}.service"), "SubState", "running"));
        assert!(machine.shows("once.service", "ActiveState", "active"));
    }
    // three times is enough
    let _ = machine.run(&["kill", "-BUS", "1"]);
    machine.gone();
}
