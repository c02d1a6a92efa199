//! The specification's requirements, a row each: a change of the configuration, a script, and what it says.

use serde_json::{Value, json};

use crate::bundle::{Bundle, finished};

/// A name for the failure, changes of the configuration (`-` appends to a list), the script, and what it says.
type Row = (&'static str, &'static [(&'static str, &'static str)], &'static str, &'static str);

const ROWS: &[Row] = &[
    // process
    ("cwd", &[("/process/cwd", r#""/etc""#)], "pwd", "/etc"),
    ("a missing cwd is made", &[("/process/cwd", r#""/new/dir""#)], "pwd", "/new/dir"),
    (
        "env is the configuration's alone",
        &[("/process/env", r#"["PATH=/bin","A=b c"]"#)],
        "echo \"$A:$HOME:$PATH\"; env | wc -l",
        "b c:/root:/bin\n5",
    ),
    (
        "user and groups",
        &[("/process/user", r#"{"uid":33,"gid":34,"additionalGids":[5,6],"umask":63}"#)],
        "id -u; id -G; umask 2>/dev/null; touch /tmp/x 2>/dev/null; grep Umask /proc/self/status; echo $HOME",
        "33\n34 5 6\n0077\nUmask:\t0077\n/srv",
    ),
    (
        "capabilities of root",
        &[],
        "grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status",
        "CapPrm:\t0000000020000420\nCapEff:\t0000000020000420\nCapBnd:\t0000000020000420\nCapAmb:\t0000000000000000",
    ),
    (
        "ambient capabilities of a user",
        &[
            ("/process/user", r#"{"uid":33,"gid":34}"#),
            (
                "/process/capabilities",
                r#"{"bounding":["CAP_KILL"],"permitted":["CAP_KILL"],"effective":["CAP_KILL"],"inheritable":["CAP_KILL"],"ambient":["CAP_KILL"]}"#,
            ),
        ],
        "grep -E 'Cap(Inh|Eff|Amb)' /proc/self/status",
        "CapInh:\t0000000000000020\nCapEff:\t0000000000000020\nCapAmb:\t0000000000000020",
    ),
    (
        "no capabilities at all",
        &[("/process/capabilities", "null")],
        "grep -E 'Cap(Eff|Bnd)' /proc/self/status",
        "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000",
    ),
    (
        "memory policy",
        &[("/linux/memoryPolicy", r#"{"mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES"]}"#)],
        "grep -m 1 -o 'bind=static:0' /proc/self/numa_maps",
        "bind=static:0",
    ),
    ("noNewPrivileges", &[], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    (
        "no noNewPrivileges",
        &[("/process/noNewPrivileges", "false")],
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t0",
    ),
    (
        "rlimits",
        &[(
            "/process/rlimits",
            r#"[{"type":"RLIMIT_NOFILE","soft":77,"hard":99},{"type":"RLIMIT_CORE","soft":0,"hard":0}]"#,
        )],
        "ulimit -Sn; ulimit -Hn; ulimit -c",
        "77\n99\n0",
    ),
    ("oomScoreAdj", &[("/process/oomScoreAdj", "123")], "cat /proc/self/oom_score_adj", "123"),
    (
        "ioPriority",
        &[("/process/ioPriority", r#"{"class":"IOPRIO_CLASS_IDLE","priority":0}"#)],
        "ionice",
        "idle",
    ),
    (
        "scheduler",
        &[("/process/scheduler", r#"{"policy":"SCHED_BATCH","nice":5}"#)],
        "cut -d' ' -f19,41 /proc/self/stat",
        "5 3",
    ),
    ("session and first process", &[], "cut -d' ' -f1,6 /proc/1/stat", "1 1"),
    ("descriptors", &[], "ls /proc/self/fd", "0\n1\n2\n3"),
    // root and mounts
    ("read-only root", &[("/root/readonly", "true")], "touch /x 2>&1", "touch: /x: Read-only file system[1]"),
    (
        "mounts in order",
        &[
            (
                "/mounts/-",
                r#"{"destination":"/a/b","type":"tmpfs","source":"t","options":["size=4k","mode=700"]}"#,
            ),
            ("/mounts/-", r#"{"destination":"/a/b/c","type":"tmpfs","source":"t"}"#),
        ],
        "stat -c %a /a/b; mount | grep -c ' on /a/b'",
        "700\n2",
    ),
    (
        "options of a bind",
        &[(
            "/mounts/-",
            r#"{"destination":"/etc2","source":"ROOTFS/etc","options":["bind","ro","nosuid","nodev","noexec"]}"#,
        )],
        "cat /etc2/group; touch /etc2/x 2>&1; grep ' /etc2 ' /proc/self/mountinfo | cut -d' ' -f6",
        "root:x:0:\ntouch: /etc2/x: Read-only file system\nro,nosuid,nodev,noexec,relatime",
    ),
    (
        "a bound file",
        &[(
            "/mounts/-",
            r#"{"destination":"/made/file","type":"bind","source":"ROOTFS/etc/group","options":["rbind","rprivate"]}"#,
        )],
        "cat /made/file",
        "root:x:0:",
    ),
    (
        "recursive attributes",
        &[("/mounts/-", r#"{"destination":"/m","source":"/proc","options":["rbind","rro","rnoexec"]}"#)],
        "grep ' /m' /proc/self/mountinfo | cut -d' ' -f6 | grep -vc ro,.*noexec",
        "0[1]",
    ),
    (
        "tmpcopyup",
        &[("/mounts/-", r#"{"destination":"/etc","type":"tmpfs","source":"tmpfs","options":["tmpcopyup"]}"#)],
        "cat /etc/group; mount | grep -c ' on /etc '",
        "root:x:0:\n1",
    ),
    (
        "noatime and others",
        &[(
            "/mounts/-",
            r#"{"destination":"/t","type":"tmpfs","source":"t","options":["noatime","nodiratime","nosymfollow","sync"]}"#,
        )],
        "grep ' /t ' /proc/self/mountinfo | cut -d' ' -f6; grep ' /t ' /proc/self/mountinfo | grep -c rw,sync",
        "rw,noatime,nodiratime,nosymfollow\n1",
    ),
    (
        "owners mapped",
        &[(
            "/mounts/-",
            r#"{"destination":"/m","source":"ROOTFS/etc","options":["bind","idmap"],"uidMappings":[{"containerID":0,"hostID":1000,"size":10}],"gidMappings":[{"containerID":0,"hostID":2000,"size":10}]}"#,
        )],
        "stat -c %u:%g /m/passwd",
        "1000:2000",
    ),
    (
        "rootfsPropagation",
        &[("/linux/rootfsPropagation", r#""shared""#)],
        "grep ' / / \\| / ' /proc/self/mountinfo | grep -c 'shared:'",
        "1",
    ),
    (
        "propagation is private otherwise",
        &[("/linux/rootfsPropagation", r#""private""#)],
        "grep -c 'shared:\\|master:' /proc/self/mountinfo",
        "0[1]",
    ),
    (
        "cgroup mount",
        &[],
        "ls /sys/fs/cgroup | wc -l; touch /sys/fs/cgroup/x 2>&1 | grep -c Read-only",
        "10\n1",
    ),
    // linux
    (
        "hostname and domainname",
        &[("/hostname", r#""box""#), ("/domainname", r#""example""#)],
        "hostname; cat /proc/sys/kernel/domainname",
        "box\nexample",
    ),
    (
        "sysctl",
        &[("/linux/sysctl", r#"{"net.ipv4.ip_forward":"1","kernel.msgmax":"4096"}"#)],
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
        "1\n4096",
    ),
    ("loopback is up", &[], "cat /sys/class/net/lo/flags", "0x9"),
    (
        "masked and read-only paths",
        &[
            ("/linux/maskedPaths", r#"["/etc/group","/proc/fs","/nosuch"]"#),
            ("/linux/readonlyPaths", r#"["/proc/sys","/nosuch"]"#),
        ],
        "ls /proc/fs | wc -l; wc -c < /etc/group; (echo x > /proc/sys/kernel/panic) 2>&1 | grep -c only; touch /proc/fs/x 2>&1 | grep -c Read-only",
        "0\n0\n1\n1",
    ),
    (
        "default devices",
        &[],
        "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done; readlink /dev/ptmx",
        "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666\npts/ptmx",
    ),
    (
        "further devices",
        &[(
            "/linux/devices",
            r#"[{"path":"/dev/fuse","type":"c","major":10,"minor":229,"fileMode":384,"uid":7,"gid":8},{"path":"/dev/pipe","type":"p"}]"#,
        )],
        "stat -c '%t:%T %a %u:%g' /dev/fuse; test -p /dev/pipe && echo pipe",
        "a:e5 600 7:8\npipe",
    ),
    (
        "devices that no rule allows",
        &[(
            "/process/capabilities",
            r#"{"bounding":["CAP_MKNOD"],"permitted":["CAP_MKNOD"],"effective":["CAP_MKNOD"]}"#,
        )],
        "mknod /node c 1 11 && (: > /node) 2>&1",
        "sh: can't create /node: Operation not permitted[1]",
    ),
    (
        "a device that a rule allows",
        &[
            ("/linux/resources/devices/-", r#"{"allow":true,"type":"c","major":1,"minor":11,"access":"w"}"#),
            ("/linux/devices", r#"[{"path":"/dev/kmsg","type":"c","major":1,"minor":11}]"#),
        ],
        "(: > /dev/kmsg) && echo open; (: <> /dev/kmsg) 2>&1 | grep -c permitted",
        "open\n1",
    ),
    (
        "personality",
        &[("/linux/personality", r#"{"domain":"LINUX32"}"#)],
        "cat /proc/self/personality",
        "00000008",
    ),
    ("cgroup namespace", &[], "grep -c ':/$' /proc/self/cgroup | grep -v '^0$' | wc -l", "1"),
    // seccomp
    (
        "seccomp refuses",
        &[(
            "/linux/seccomp",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
        )],
        "mkdir /x 2>&1; grep 'Seccomp:' /proc/self/status",
        "mkdir: can't create directory '/x': No space left on device\nSeccomp:\t2",
    ),
    (
        "seccomp without noNewPrivileges",
        &[
            ("/process/noNewPrivileges", "false"),
            (
                "/linux/seccomp",
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#,
            ),
        ],
        "mkdir /x 2>&1; grep CapEff /proc/self/status",
        "mkdir: can't create directory '/x': Operation not permitted\nCapEff:\t0000000020000420",
    ),
    (
        "seccomp kills",
        &[(
            "/linux/seccomp",
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
        )],
        "(mkdir /x); echo $?",
        "159Bad system call",
    ),
    // namespaces
    (
        "user namespace",
        &[
            ("/linux/namespaces/-", r#"{"type":"user"}"#),
            ("/linux/uidMappings", r#"[{"containerID":0,"hostID":0,"size":4294967295}]"#),
            ("/linux/gidMappings", r#"[{"containerID":0,"hostID":0,"size":4294967295}]"#),
        ],
        "id -u; test -c /dev/null && cat /dev/null && echo null; hostname",
        "0\nnull\nrunc",
    ),
    (
        "time namespace",
        &[
            ("/linux/namespaces/-", r#"{"type":"time"}"#),
            ("/linux/timeOffsets", r#"{"boottime":{"secs":864000}}"#),
        ],
        "test $(cut -d. -f1 /proc/uptime) -ge 864000 && echo later",
        "later",
    ),
];

#[test]
fn the_configuration_has_its_effect() {
    let mut wrong = Vec::new();
    for (name, changes, script, expected) in ROWS {
        let Some(mut bundle) = Bundle::new() else { return };
        let rootfs = bundle.path("rootfs").display().to_string();
        for (pointer, value) in *changes {
            let value: Value = serde_json::from_str(&value.replace("ROOTFS", &rootfs)).unwrap();
            bundle.set(pointer, value);
        }
        let said = bundle.says(script);
        if said != *expected {
            wrong.push(format!("{name}: {said:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Configurations that are refused, with a part of the message.
const REFUSED: &[(&str, &str, &str)] = &[
    ("/ociVersion", r#""2.0.0""#, "ociVersion"),
    ("/process", "null", "process is missing"),
    ("/process/args", "[]", "process.args is empty"),
    ("/process/cwd", r#""etc""#, "process.cwd"),
    ("/process/rlimits/-", r#"{"type":"RLIMIT_NOFILE","soft":1,"hard":1}"#, "named twice"),
    ("/process/apparmorProfile", r#""nosuch""#, "pparmor"),
    ("/process/terminal", "true", "--console-socket"),
    ("/root", "null", "root is missing"),
    ("/root/path", r#""nosuch""#, "nosuch"),
    ("/mounts/-", r#"{"destination":"/x","type":"nosuchfs","source":"x"}"#, "/x"),
    (
        "/mounts/-",
        r#"{"destination":"/x","type":"tmpfs","source":"x","options":["nosuchoption"]}"#,
        "nosuchoption",
    ),
    ("/mounts/-", r#"{"destination":"/x","source":"/nosuch","options":["bind"]}"#, "/nosuch"),
    ("/linux/namespaces/-", r#"{"type":"pid"}"#, "named twice"),
    ("/linux/namespaces/-", r#"{"type":"user","path":"/nosuch"}"#, "/nosuch"),
    ("/linux/namespaces/-", r#"{"type":"user"}"#, "uidMappings"),
    ("/linux/sysctl", r#"{"kernel.panic":"1"}"#, "kernel.panic"),
    ("/linux/cgroupsPath", r#""/a/../../b""#, "cgroupsPath"),
    ("/linux/rootfsPropagation", r#""sideways""#, "sideways"),
    ("/linux/timeOffsets", r#"{"boottime":{"secs":1}}"#, "time namespace"),
    (
        "/linux/seccomp",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
        "index",
    ),
    ("/linux/seccomp", r#"{"defaultAction":"SCMP_ACT_RUIN"}"#, "config.json"),
];

#[test]
fn what_has_no_meaning_is_refused_and_leaves_nothing() {
    for (pointer, value, why) in REFUSED {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.set(pointer, serde_json::from_str(value).unwrap()).write();
        let dir = bundle.path("").display().to_string();
        let (status, _, told) = bundle.output(&["create", "-b", &dir, &bundle.id]);
        assert!(status == 1 && told.contains(why), "{pointer} {value}: {told}");
        assert_eq!(bundle.status(), "none");
        let left =
            finished(std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &bundle.id])).1;
        assert!(left.is_empty(), "{pointer} {value}: {left}");
    }
}

#[test]
fn hooks_run_at_their_turns() {
    let Some(mut bundle) = Bundle::new() else { return };
    let log = bundle.path("rootfs/log");
    std::fs::write(&log, "").unwrap();
    let own_net = std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string();
    let hook = |name: &str, at: &str| {
        let script = format!(
            "read s; case $s in *'\"id\":\"corten-test'*) ;; *) exit 9;; esac; n=theirs; [ \"$(readlink /proc/self/ns/net)\" = '{own_net}' ] && n=ours; echo {name} $n \"$(echo $s | sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/')\" >> {at}"
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"] }])
    };
    let host = log.display().to_string();
    bundle.config["hooks"] = json!({
        "prestart": hook("prestart", &host), "createRuntime": hook("createRuntime", &host),
        "createContainer": hook("createContainer", &host), "startContainer": hook("startContainer", "/log"),
        "poststart": hook("poststart", &host), "poststop": hook("poststop", &host),
    });
    bundle.script("sleep 1000");
    bundle.create();
    let said = || std::fs::read_to_string(&log).unwrap();
    assert_eq!(
        said(),
        "prestart ours creating\ncreateRuntime ours creating\ncreateContainer theirs creating\n"
    );
    bundle.must(&["start", &bundle.id]);
    assert!(said().ends_with("startContainer theirs created\npoststart ours running\n"), "{}", said());
    bundle.must(&["delete", "-f", &bundle.id]);
    assert!(said().ends_with("poststop ours stopped\n"), "{}", said());

    bundle.config["hooks"] = json!({ "createContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", "echo not today >&2; exit 1"] }] });
    let (status, _, told) = bundle.run();
    assert!(status == 1 && told.contains("not today"), "{told}");
    assert_eq!(bundle.status(), "none");
    bundle.config["hooks"] = json!({ "startContainer": [{ "path": "/bin/false" }] });
    let (status, _, told) = bundle.run();
    assert!(status == 1 && told.contains("startContainer"), "{told}");
}

#[test]
fn namespaces_are_joined_by_path() {
    let (Some(mut first), Some(mut second)) = (Bundle::new(), Bundle::new()) else { return };
    first.set("/hostname", json!("shared")).script("sleep 1000");
    first.create();
    let state: Value = serde_json::from_str(&first.must(&["state", &first.id])).unwrap();
    let pid = state["pid"].as_u64().unwrap();
    let joined = [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    let mut namespaces: Vec<Value> = joined
        .iter()
        .map(|(kind, file)| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") }))
        .collect();
    namespaces.push(json!({ "type": "mount" }));
    second.set("/linux/namespaces", json!(namespaces)).config.as_object_mut().unwrap().remove("hostname");
    let said = second.says("hostname; for n in pid net ipc uts; do readlink /proc/self/ns/$n; done");
    let expected: Vec<String> = ["pid", "net", "ipc", "uts"]
        .iter()
        .map(|file| std::fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string())
        .collect();
    assert_eq!(said, format!("shared\n{}", expected.join("\n")));

    // A user namespace with all that belongs to it.
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
    let (Some(mut owner), Some(mut guest)) = (Bundle::new(), Bundle::new()) else { return };
    for bundle in [&mut owner, &mut guest] {
        finished(
            std::process::Command::new("chown").arg("-R").arg("100000:100000").arg(bundle.path("rootfs")),
        );
        finished(std::process::Command::new("chmod").arg("755").arg(bundle.path("")));
    }
    owner.set("/linux/namespaces/-", json!({ "type": "user" }));
    owner.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map).script("sleep 1000");
    owner.create();
    owner.must(&["start", &owner.id]);
    assert_eq!(
        owner.must(&["exec", &owner.id, "sh", "-c", "id -u; cut -c1-33 /proc/self/uid_map"]),
        "0\n         0     100000      65536"
    );
    let state: Value = serde_json::from_str(&owner.must(&["state", &owner.id])).unwrap();
    let pid = state["pid"].as_u64().unwrap();
    let joined = json!([{ "type": "user", "path": format!("/proc/{pid}/ns/user") }, { "type": "network", "path": format!("/proc/{pid}/ns/net") }, { "type": "mount" }, { "type": "pid" }, { "type": "ipc" }]);
    guest.set("/linux/namespaces", joined).config.as_object_mut().unwrap().remove("hostname");
    assert_eq!(
        guest.says("id -u; readlink /proc/self/ns/user"),
        format!("0\n{}", std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap().display())
    );
}

#[test]
fn descriptors_and_sockets_of_the_service_manager_are_passed_on() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("ls /proc/self/fd | wc -l; cat <&3; echo $LISTEN_FDS $LISTEN_PID $NOTIFY_SOCKET; test -S $NOTIFY_SOCKET && echo socket").write();
    let told = bundle.path("told");
    std::fs::write(&told, "through 3\n").unwrap();
    let notify = bundle.path("notify.sock");
    let _socket = std::os::unix::net::UnixDatagram::bind(&notify).unwrap();
    // The shell opens the descriptor and becomes the runtime.
    let script = format!(
        "exec 3< {}; exec {} --root {} run -b {} {}",
        told.display(),
        bundle.runtime.display(),
        bundle.path("state").display(),
        bundle.path("").display(),
        bundle.id
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).env("LISTEN_FDS", "1").env("LISTEN_PID", "1").env("NOTIFY_SOCKET", &notify);
    let (status, out, err) = finished(&mut command);
    assert_eq!((status, out.as_str()), (0, "5\nthrough 3\n1 1 /run/notify/notify.sock\nsocket"), "{err}");
}

#[test]
fn a_terminal_goes_to_the_console_socket() {
    use std::io::Read;
    let Some(mut bundle) = Bundle::new() else { return };
    bundle
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({ "height": 11, "width": 22 }));
    bundle.script("tty; stty size; test -c /dev/console && echo console; readlink /proc/self/fd/0").write();
    let path = bundle.path("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let dir = bundle.path("").display().to_string();
    bundle.must(&["create", "-b", &dir, "--console-socket", path.to_str().unwrap(), &bundle.id]);
    let (stream, _) = listener.accept().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&stream, &mut [std::io::IoSliceMut::new(&mut bytes)], &mut ancillary, flags)
        .unwrap();
    let master = ancillary.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    bundle.must(&["start", &bundle.id]);
    let mut said = Vec::new();
    // The last user's end is an error here.
    let _ = std::fs::File::from(master.unwrap()).read_to_end(&mut said);
    assert_eq!(String::from_utf8_lossy(&said), "/dev/pts/0\r\n11 22\r\nconsole\r\n/dev/pts/0\r\n");
}

#[test]
fn somebody_else_decides_about_system_calls() {
    use std::io::Read;
    let Some(mut bundle) = Bundle::new() else { return };
    let path = bundle.path("agent.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "meta",
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }],
    });
    bundle.script("mkdir /x 2>&1; echo done");
    bundle.create();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    bundle.must(&["start", &bundle.id]);
    let state: Value = serde_json::from_str(&agent.join().unwrap()).unwrap();
    assert_eq!((state["metadata"].as_str(), state["fds"][0].as_str()), (Some("meta"), Some("seccompFd")));
    assert_eq!(state["state"]["id"].as_str(), Some(bundle.id.as_str()));
    // Nobody holds the listener any more: the call is refused with ENOSYS.
    bundle.wait_for("stopped");
    assert!(
        bundle.said().contains("Function not implemented") && bundle.said().ends_with("done"),
        "{}",
        bundle.said()
    );
}
