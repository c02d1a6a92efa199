//! Units that others start, for real: sockets, timers, paths, automounts, swaps, scopes and stored descriptors under
//! PID 1 in namespaces, with Debian's systemctl as the peer.
//!
//! Without cargo's harness, and for root (`machine::program`).

#![allow(clippy::unwrap_used)] // A test, but clippy sees none without the harness.

mod machine;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, ExitCode};

use machine::{Machine, program};

fn main() -> ExitCode {
    program::run("units_start_each_other", &[], units_start_each_other)
}

fn units_start_each_other() {
    let machine = Machine::start(UNITS);
    machine.until("multi-user.target is up", |m| m.says(&["is-active", "multi-user.target"], "active"));
    sockets(&machine);
    paths(&machine);
    timers(&machine);
    automounts(&machine);
    mounts(&machine);
    devices(&machine);
}

const UNITS: &[(&str, &str)] = &[
    ("basic.target", "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\n"),
    ("sysinit.target", "[Unit]\nConflicts=shutdown.target\n"),
    (
        "multi-user.target",
        "[Unit]\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n\
         Wants=one.socket each.socket drop.socket flag.path changed.path soon.timer auto.automount\n",
    ),
    ("shutdown.target", "[Unit]\nDefaultDependencies=no\n"),
    // one service for two sockets and a pipe, which tells what it was handed
    (
        "one.socket",
        "[Socket]\nListenStream=/run/one/sock\nListenFIFO=/run/one/pipe\nListenStream=127.0.0.1:4243\n\
         SocketUser=core\nSocketGroup=docker\nSocketMode=0660\nDirectoryMode=0710\nFileDescriptorName=first\n\
         RemoveOnStop=yes\nExecStartPost=/bin/sh -c 'echo post >> /out/one'\n",
    ),
    (
        "one.service",
        "[Service]\nType=oneshot\nStandardOutput=append:/out/one\n\n\
         ExecStart=/bin/sh -c 'test $$LISTEN_PID = $$$$ && echo $$LISTEN_FDS $$LISTEN_FDNAMES; \
         for fd in 3 4 5; do readlink /proc/$$$$/fd/$$fd | cut -d: -f1; done; ls /proc/$$$$/fd/6 2>&1 | wc -l; \
         head -1 <&4'\n",
    ),
    // an instance for each connection, which speaks by its standard streams
    ("each.socket", "[Socket]\nListenStream=/run/each\nAccept=yes\nMaxConnectionsPerSource=2\n"),
    (
        "each@.service",
        "[Service]\nStandardInput=socket\nStandardError=null\nExecStart=/bin/sh -c 'echo %I; exec cat'\n",
    ),
    ("drop.socket", "[Socket]\nListenDatagram=/run/drop\nService=drop.service\nTriggerLimitBurst=3\n"),
    ("drop.service", "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/true\n"),
    ("flag.path", "[Path]\nPathExists=/run/flag\n"),
    (
        "flag.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'rm /run/flag; echo flag >> /out/flag'\n",
    ),
    ("changed.path", "[Path]\nPathModified=/run/watched/file\nUnit=changed.service\n"),
    ("changed.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo changed >> /out/changed'\n"),
    ("soon.timer", "[Timer]\nOnActiveSec=300ms\nOnUnitActiveSec=300ms\nAccuracySec=1ms\n"),
    (
        "soon.service",
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo tick >> /out/ticks'\n",
    ),
    ("daily.timer", "[Timer]\nOnCalendar=daily\nPersistent=yes\n"),
    ("daily.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
    ("auto.automount", "[Automount]\nWhere=/auto\n"),
    ("auto.mount", "[Mount]\nWhat=tmpfs\nWhere=/auto\nType=tmpfs\n"),
    ("var-made-deep.mount", "[Mount]\nWhat=tmpfs\nWhere=/var/made/deep\nType=tmpfs\nDirectoryMode=0710\n"),
    (
        "bound.service",
        "[Unit]\nBindsTo=sys-subsystem-net-devices-dummy7.device\n\
      After=sys-subsystem-net-devices-dummy7.device\n[Service]\nExecStart=/bin/sleep 1000\n",
    ),
];

fn sockets(machine: &Machine) {
    let root = machine.root();
    machine.until("one.socket listens", |m| m.shows("one.socket", "SubState", "listening"));
    let node = fs::metadata(format!("{root}/run/one/sock")).unwrap();
    assert!(node.file_type().is_socket());
    assert_eq!(node.permissions().mode() & 0o7777, 0o660);
    assert_eq!(fs::metadata(format!("{root}/run/one")).unwrap().permissions().mode() & 0o7777, 0o710);
    let mut pipe = fs::OpenOptions::new().write(true).open(format!("{root}/run/one/pipe")).unwrap();
    pipe.write_all(b"through the pipe\n").unwrap();
    let want = "post\n3 first:first:first\nsocket\n/run/one/pipe\nsocket\n1\nthrough the pipe\n";
    machine.until("the service has run", |m| m.file("out/one") == want);
    machine.until("the socket listens again", |m| m.shows("one.socket", "SubState", "listening"));
    let listed = machine.systemctl(&["list-sockets", "--no-legend"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("/run/one/sock"), "{listed:?}");
    assert!(machine.systemctl(&["stop", "one.socket"]).status.success());
    assert!(!fs::exists(format!("{root}/run/one/sock")).unwrap());

    let connect = || UnixStream::connect(format!("{root}/run/each")).unwrap();
    let talk = |stream: &mut UnixStream| {
        let mut line = Vec::new();
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    };
    let (mut one, mut two, mut three) = (connect(), connect(), connect());
    // the test is in another PID namespace: who it is there, nobody knows
    assert_eq!(talk(&mut one), "0/0/0");
    assert_eq!(talk(&mut two), "1/0/0");
    assert_eq!(talk(&mut three), "", "the third of one user is refused");
    one.write_all(b"echo\n").unwrap();
    assert_eq!(talk(&mut one), "echo");
    assert!(
        machine.shows("each.socket", "NConnections", "2") && machine.shows("each.socket", "NRefused", "1")
    );
    drop(one);
    machine.until("the first connection is over", |m| m.shows("each.socket", "NConnections", "1"));
    assert!(machine.shows("each@0-0-0.service", "ActiveState", "inactive"));
    assert_eq!(talk(&mut connect()), "2/0/0");
    assert!(machine.shows("each.socket", "NAccepted", "3"));

    // a service that leaves the datagram lying is not started for ever
    UnixDatagram::unbound().unwrap().send_to(b"x", format!("{root}/run/drop")).unwrap();
    machine.until("the trigger limit is hit", |m| m.shows("drop.socket", "Result", "trigger-limit-hit"));
}

fn paths(machine: &Machine) {
    let root = machine.root();
    fs::write(format!("{root}/run/flag"), "").unwrap();
    machine.until("the path was seen", |m| m.file("out/flag") == "flag\n");
    machine.until("the path waits again", |m| m.shows("flag.path", "SubState", "waiting"));
    fs::write(format!("{root}/run/flag"), "").unwrap();
    machine.until("the path was seen again", |m| m.file("out/flag") == "flag\nflag\n");

    fs::create_dir(format!("{root}/run/watched")).unwrap();
    fs::write(format!("{root}/run/watched/file"), "1").unwrap();
    machine.until("the file was seen", |m| !m.file("out/changed").is_empty());
    machine.until("the path waits again", |m| m.shows("changed.path", "SubState", "waiting"));
    let before = machine.file("out/changed").len();
    fs::write(format!("{root}/run/watched/file"), "2").unwrap();
    machine.until("the change was seen", |m| m.file("out/changed").len() > before);
}

fn timers(machine: &Machine) {
    machine.until("it ticks", |m| m.file("out/ticks").lines().count() > 2);
    assert!(machine.systemctl(&["start", "daily.timer"]).status.success());
    assert!(machine.run(&["test", "-e", "/var/lib/systemd/timers/stamp-daily.timer"]).status.success());
    let listed = machine.systemctl(&["list-timers", "--no-legend"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("daily.timer") && listed.contains("00:00:00"), "{listed}");
}

fn automounts(machine: &Machine) {
    if !fs::read_to_string("/proc/filesystems").unwrap().contains("autofs") {
        println!("activation: no autofs in this kernel");
        return;
    }
    machine.until("the automount waits", |m| m.shows("auto.automount", "SubState", "waiting"));
    assert!(machine.shows("auto.mount", "ActiveState", "inactive"));
    let listed = machine.run(&["ls", "/auto/"]);
    assert!(listed.status.success(), "{listed:?}");
    assert!(machine.shows("auto.mount", "ActiveState", "active"));
    assert!(machine.shows("auto.automount", "SubState", "running"));
    assert!(machine.systemctl(&["stop", "auto.automount", "auto.mount"]).status.success());
    assert!(machine.shows("auto.automount", "ActiveState", "inactive"));
}

fn mounts(machine: &Machine) {
    assert!(machine.systemctl(&["start", "var-made-deep.mount"]).status.success());
    let modes = machine.run(&["sh", "-c", "umount /var/made/deep; stat -c %a /var/made /var/made/deep"]);
    assert_eq!(String::from_utf8_lossy(&modes.stdout), "710\n710\n");

    // a disk that cannot be written to: read-only is good enough, or not
    let Some(disk) = Loop::read_only(&format!("{}/out/disk", machine.root())) else {
        println!("activation: no loop devices");
        return;
    };
    let device = format!("/dev/loop{}", disk.number);
    let node = machine.run(&["mknod", &device, "b", "7", &disk.number]);
    assert!(node.status.success(), "{node:?}");
    let folder = format!("{}/run/systemd/system", machine.root());
    fs::create_dir_all(&folder).unwrap();
    for (name, more) in [("any", ""), ("write", "ReadWriteOnly=yes\n")] {
        let text = format!("[Mount]\nWhat={device}\nWhere=/var/{name}\nType=ext2\n{more}");
        fs::write(format!("{folder}/var-{name}.mount"), text).unwrap();
    }
    assert!(machine.systemctl(&["daemon-reload"]).status.success());
    assert!(machine.systemctl(&["start", "var-any.mount"]).status.success());
    let options = machine.run(&["findmnt", "-no", "OPTIONS", "/var/any"]);
    assert!(options.stdout.starts_with(b"ro"), "{options:?}");
    assert!(machine.systemctl(&["stop", "var-any.mount"]).status.success());
    assert!(!machine.systemctl(&["start", "var-write.mount"]).status.success());
    assert!(machine.shows("var-write.mount", "Result", "exit-code"));
}

/// A loop device with an empty file system.
struct Loop {
    number: String,
}

impl Loop {
    /// One that nobody can write to; none where the kernel has none.
    fn read_only(file: &str) -> Option<Loop> {
        fs::File::create(file).unwrap().set_len(1 << 20).unwrap();
        assert!(Command::new("mkfs.ext2").args(["-q", file]).status().unwrap().success());
        let made = Command::new("losetup").args(["--find", "--show", "--read-only", file]).output().unwrap();
        let path = String::from_utf8_lossy(&made.stdout).into_owned();
        Some(Loop { number: path.trim().strip_prefix("/dev/loop")?.to_owned() })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &format!("/dev/loop{}", self.number)]).status();
    }
}

fn devices(machine: &Machine) {
    assert!(machine.systemctl(&["start", "--no-block", "bound.service"]).status.success());
    let add = machine.run(&["ip", "link", "add", "dummy7", "type", "veth", "peer", "name", "dummy8"]);
    if !add.status.success() {
        println!("activation: no veth: {}", String::from_utf8_lossy(&add.stderr).trim());
        return;
    }
    machine.until("the device is there", |m| m.says(&["is-active", "bound.service"], "active"));
    machine.run(&["ip", "link", "del", "dummy7"]);
    machine.until("the device is gone", |m| m.says(&["is-active", "bound.service"], "inactive"));
}
