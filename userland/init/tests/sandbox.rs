//! Every wall of the sandbox, run against: units with the settings of systemd.exec(5) under a real PID 1, each with a
//! program that tries what it should not be able to do, or looks around.
//!
//! Without cargo's harness, and for root (`machine::program`).

use std::process::ExitCode;

use machine::{Machine, program};

mod machine;

fn main() -> ExitCode {
    program::run("walls_hold", &[], walls_hold)
}

/// A case: a unit's name, its settings, the shell script that it runs, and what that must write.
struct Case(&'static str, &'static str, &'static str, &'static str);

/// Raw system calls by name, with arguments that do no harm where they are allowed: prints `name=ok`, or the error's
/// number.
const PROBE: &str = r#"
my %calls = (
  wx         => sub { syscall(9, 0, 4096, 7, 0x22, -1, 0) },
  later      => sub { my $a = syscall(9, 0, 4096, 3, 0x22, -1, 0); syscall(10, $a, 4096, 5) },
  realtime   => sub { syscall(144, 0, 1, my $p = pack("i", 1)) },
  batch      => sub { syscall(144, 0, 3, my $p = pack("i", 0)) },
  setattr    => sub { syscall(314, 0, my $p = pack("LLQlLQQQ", 48, 1, 0, 0, 1, 0, 0, 0), 0) },
  unix       => sub { syscall(41, 1, 1, 0) },
  inet       => sub { syscall(41, 2, 2, 0) },
  netlink    => sub { syscall(41, 16, 3, 0) },
  newuser    => sub { syscall(272, 0x10000000) },
  newuts     => sub { syscall(272, 0x04000000) },
  clone3     => sub { syscall(435, my $p = pack("Q11", (0) x 11), 0) },
  setns      => sub { syscall(308, -1, 0) },
  chmod      => sub { open(my $f, ">", "/tmp/f"); my $p = "/tmp/f"; syscall(90, $p, 04755) },
  plainchmod => sub { open(my $f, ">", "/tmp/f"); my $p = "/tmp/f"; syscall(90, $p, 0755) },
  open       => sub { my $p = "/tmp/s"; syscall(2, $p, 0101, 04755) },
  openat     => sub { my $p = "/tmp/t"; syscall(257, -100, $p, 0101, 02755) },
  openat2    => sub { my $p = "/tmp/u"; syscall(437, -100, $p, my $h = pack("QQQ", 0, 0, 0), 24) },
  persona    => sub { syscall(135, 0x40000) },
  askpersona => sub { syscall(135, 0xffffffff) },
  syslog     => sub { syscall(103, 99, 0, 0) },
  hostname   => sub { syscall(170, 0, 99999) },
  clock      => sub { syscall(227, 99, 0) },
  module     => sub { syscall(175, 0, 0, 0) },
  rawio      => sub { syscall(172, 99) },
  mount      => sub { syscall(165, 0, 0, 0, 0, 0) },
  swapon     => sub { syscall(167, 0, 0) },
  reboot     => sub { syscall(169, 0, 0, 0, 0) },
  ptrace     => sub { syscall(101, 9999, 0, 0, 0) },
  getpid     => sub { syscall(39) },
  x32        => sub { syscall(0x40000000 | 165, 0, 0, 0, 0, 0) },
);
$| = 1;
for my $name (@ARGV) {
  my $result = $calls{$name}->();
  print "$name=", ($result == -1 ? $! + 0 : "ok"), "\n";
}
"#;

/// Sends a datagram to itself at an address and waits for it: prints `ok`, or `no` if it does not arrive.
const SEND: &str = r#"
use Socket qw(:DEFAULT inet_pton pack_sockaddr_in6);
my ($to) = @ARGV;
my $six = $to =~ /:/;
socket(my $s, $six ? PF_INET6 : PF_INET, SOCK_DGRAM, 0) or die "socket: $!";
my $any = $six ? pack_sockaddr_in6(0, inet_pton(AF_INET6, $to)) : pack_sockaddr_in(0, inet_pton(AF_INET, $to));
bind($s, $any) or die "bind: $!";
my $sent = send($s, "x", 0, getsockname($s));
my $bits = "";
vec($bits, fileno($s), 1) = 1;
print $sent && select($bits, undef, undef, 0.3) ? "ok\n" : "no\n";
"#;

const CASES: &[Case] = &[
    // what is read-only, hidden, writable
    Case(
        "system-full",
        "ProtectSystem=full",
        "t touch /etc/x; t touch /var/x; t touch /x; t mount -o remount,bind,rw /etc; t touch /etc/x",
        "no ok ok ok ok",
    ),
    Case(
        "system-strict",
        "ProtectSystem=strict\nReadWritePaths=/var/rw -/no/such\nReadOnlyPaths=/var/rw/ro\nStateDirectory=strict\n\
         RuntimeDirectory=strict",
        "t touch /etc/x; t touch /x; t touch /var/x; t touch /var/rw/x; t touch /var/rw/ro/x; t touch /var/lib/strict/x; \
         t touch /run/strict/x; t touch /tmp/x; t test -c /dev/null -a -w /dev/null; t touch /home/core/x",
        "no no no ok no ok ok no ok ok",
    ),
    Case(
        "root-start-only",
        "RootDirectory=/var/jail\nRootDirectoryStartOnly=yes\nBindReadOnlyPaths=/usr /out\n\
         ExecStartPre=/bin/sh -c 'test -e /etc/passwd && ! test -e /jailed && echo outside >/var/jail/before'",
        "cat /before; t test -e /etc/passwd; t test -e /jailed",
        "outside no ok",
    ),
    Case(
        "home-yes",
        "ProtectHome=yes",
        "t test -e /home/core/secret; ls /home | wc -l; t touch /home/x; t test -e /root/secret; stat -c %%a /home",
        "no 0 no no 0",
    ),
    Case(
        "home-read-only",
        "ProtectHome=read-only",
        "t cat /home/core/secret; t touch /home/core/x; t touch /root/x",
        "secret ok no no",
    ),
    Case(
        "home-tmpfs",
        "ProtectHome=tmpfs\nBindPaths=/home/core",
        "ls /home; t cat /home/core/secret; t touch /home/x",
        "core secret ok no",
    ),
    Case(
        "tmp",
        "PrivateTmp=yes",
        "t test -e /tmp/outside; t test -e /var/tmp/outside; t touch /tmp/inside; t touch /var/tmp/inside; stat -c %%a /tmp",
        "no no ok ok 1777",
    ),
    Case(
        "paths",
        "InaccessiblePaths=/var/closed /var/rw/file -/none\nBindPaths=/var/rw:/mnt/there\n\
         BindReadOnlyPaths=/var/rw:/mnt/here -/none:/mnt/none\nTemporaryFileSystem=/var/empty:ro /var/fresh:size=1M\n\
         NoExecPaths=/var\nExecPaths=/var/exec",
        "t ls /var/closed/in; t test -s /var/rw/file; ls /var/closed | wc -l; t touch /mnt/there/new; t touch /mnt/here/new2; \
         ls /var/empty | wc -l; t touch /var/empty/x; t touch /var/fresh/x; t /var/rw/true; t /var/exec/true; t test -e /mnt/none",
        "no no 0 ok no 0 no ok no ok no",
    ),
    Case(
        "devices",
        "PrivateDevices=yes",
        "t test -e /dev/kmsg; t test -e /dev/mem; for d in null zero full random urandom tty; do t test -c /dev/$$d; done; \
         t sh -c ': > /dev/null'; t touch /dev/x; t touch /dev/shm/x; t mknod /tmp/mem c 1 1; probe rawio",
        "no no ok ok ok ok ok ok ok no ok no rawio=1",
    ),
    Case(
        "tunables",
        "ProtectKernelTunables=yes\nProtectControlGroups=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\n\
         ProtectClock=yes\nProtectHostname=yes",
        "t sh -c 'echo 1 > /proc/sys/vm/swappiness'; t mkdir /sys/fs/cgroup/x; t sh -c 'echo x > /proc/sys/kernel/hostname'; \
         t grep -q . /proc/kallsyms; t ls /usr/lib/modules/x; t test -s /dev/kmsg; probe module syslog clock hostname; \
         bits CapBnd 0 16 25 34 35",
        "no no no no no no module=1 syslog=1 clock=1 hostname=1 1 0 0 0 0",
    ),
    Case(
        "proc",
        "ProtectProc=invisible\nProcSubset=pid\nUser=core",
        "t test -e /proc/1/comm; t test -e /proc/self/comm; t test -e /proc/uptime; t test -e /proc/sys",
        "no ok no no",
    ),
    Case("proc-root", "User=core", "t test -e /proc/1/comm; t test -e /proc/uptime", "ok ok"),
    Case(
        "network",
        "PrivateNetwork=yes",
        "ls /sys/class/net >/dev/null; cat /proc/net/dev | grep -c :; ip -o link | grep -c 'LOOPBACK,UP'; \
         test $(readlink /proc/self/ns/net) = $(readlink /proc/1/ns/net) && echo same || echo own",
        "1 1 own",
    ),
    Case(
        "ipc",
        "PrivateIPC=yes",
        "test $(readlink /proc/self/ns/ipc) = $(readlink /proc/1/ns/ipc) && echo same || echo own",
        "own",
    ),
    Case(
        "users",
        "PrivateUsers=yes\nUser=core\nPrivateMounts=yes",
        "cat /proc/self/uid_map | tr -s ' ' ; stat -c %%u /home/core/secret; stat -c %%u /",
        " 0 0 1 500 500 1 500 0",
    ),
    Case(
        "mounts",
        "PrivateMounts=yes",
        "mount -t tmpfs none /mnt; touch /mnt/only-here; t test -e /mnt/only-here",
        "ok",
    ),
    Case(
        "root",
        "RootDirectory=/var/jail\nBindReadOnlyPaths=/usr /out",
        "pwd; t test -e /etc/passwd; t test -e /jailed; t test -c /dev/null; t test -e /proc/self; t touch /run/x",
        "/ no ok ok ok ok",
    ),
    // what can be called
    Case(
        "free",
        "",
        "probe wx later realtime setattr unix inet netlink chmod open openat persona syslog hostname clock mount",
        "wx=ok later=ok realtime=ok setattr=ok unix=ok inet=ok netlink=ok chmod=ok open=ok openat=ok persona=ok \
         syslog=22 hostname=22 clock=22 mount=14",
    ),
    Case("write-execute", "MemoryDenyWriteExecute=yes", "probe wx later getpid", "wx=1 later=1 getpid=ok"),
    Case(
        "realtime",
        "RestrictRealtime=yes\nLockPersonality=yes",
        "probe realtime setattr batch persona askpersona",
        "realtime=1 setattr=1 batch=ok persona=1 askpersona=ok",
    ),
    Case(
        "set-id",
        "RestrictSUIDSGID=yes\nPrivateTmp=yes",
        "probe chmod plainchmod open openat openat2; t mkdir -m 2755 /tmp/d; t mkdir -m 755 /tmp/e",
        "chmod=1 plainchmod=ok open=1 openat=1 openat2=38 no ok",
    ),
    Case(
        "families-allow",
        "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
        "probe unix inet netlink",
        "unix=ok inet=97 netlink=ok",
    ),
    Case(
        "families-deny",
        "RestrictAddressFamilies=~AF_INET AF_NETLINK",
        "probe unix inet netlink",
        "unix=ok inet=97 netlink=97",
    ),
    Case("families-none", "RestrictAddressFamilies=none", "probe unix inet", "unix=97 inet=97"),
    Case(
        "namespaces",
        "RestrictNamespaces=yes",
        "probe newuser newuts clone3 setns; t unshare -n true",
        "newuser=1 newuts=1 clone3=38 setns=1 no",
    ),
    Case(
        "namespaces-some",
        "RestrictNamespaces=~user",
        "probe newuser newuts setns",
        "newuser=1 newuts=ok setns=1",
    ),
    Case(
        "calls-allow",
        "SystemCallFilter=@system-service\nSystemCallFilter=~@chown\nSystemCallErrorNumber=EPERM",
        "probe mount swapon reboot getpid x32; t chown 0 /tmp",
        "mount=1 swapon=1 reboot=1 getpid=ok x32=1 no",
    ),
    Case(
        "calls-and-more",
        "SystemCallFilter=@system-service\nSystemCallFilter=~ @privileged @resources\nRestrictNamespaces=yes\n\
         RestrictSUIDSGID=yes\nRestrictAddressFamilies=AF_UNIX\nMemoryDenyWriteExecute=yes\nUser=core",
        "probe getpid inet newuts chmod wx",
        "getpid=ok inet=97 newuts=1 chmod=1 wx=1",
    ),
    Case(
        "calls-no-filter",
        "SystemCallFilter=~seccomp:EPERM @mount:EBUSY\nSystemCallErrorNumber=EPERM",
        "probe mount",
        "mount=16",
    ),
    Case(
        "calls-deny",
        "SystemCallFilter=~@mount:EINTR @swap reboot:ENOTTY\nSystemCallErrorNumber=EBUSY",
        "probe mount swapon reboot getpid x32",
        "mount=4 swapon=16 reboot=25 getpid=ok x32=4",
    ),
    Case(
        "calls-user",
        "SystemCallFilter=~@mount\nSystemCallErrorNumber=EPERM\nUser=core",
        "probe mount; grep NoNewPrivs /proc/self/status | cut -f2",
        "mount=1 1",
    ),
    Case("calls-root", "SystemCallFilter=~@mount", "grep NoNewPrivs /proc/self/status | cut -f2", "0"),
    Case(
        "native",
        "SystemCallArchitectures=native",
        "grep Seccomp: /proc/self/status | cut -f2; probe getpid",
        "2 getpid=ok",
    ),
    // who it is
    Case(
        "ambient",
        "User=core\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_CHOWN",
        "grep -E 'Cap(Eff|Bnd|Amb)' /proc/self/status | cut -f2",
        "0000000000000400 0000000000000401 0000000000000400",
    ),
    Case(
        "secure",
        "SecureBits=noroot noroot-locked",
        "perl -e 'print syscall(157, 27, 0, 0, 0, 0), \"\\n\"'",
        "3",
    ),
    Case(
        "dynamic",
        "DynamicUser=yes\nStateDirectory=dynamic\nRuntimeDirectory=dynamic\nCacheDirectory=dynamic/deep",
        "test $(id -u) -ge 61184 -a $(id -u) -le 65519 && echo in-range; id -u > /var/lib/dynamic/id; \
         t touch /var/cache/dynamic/deep/x; t touch /run/dynamic/x; t touch /etc/x; t touch /tmp/x; \
         readlink /var/lib/dynamic; stat -c %%a /var/lib/private; ls /var/lib/private; echo $$STATE_DIRECTORY",
        "in-range ok ok no ok private/dynamic 755 dynamic /var/lib/dynamic",
    ),
    Case(
        "credentials",
        "User=core\nLoadCredential=file:/root/secret\nSetCredential=set:a\\x20b\nLoadCredential=none:/no/such\n\
         SetCredential=none:default\nPrivateMounts=yes",
        "cat $$CREDENTIALS_DIRECTORY/file $$CREDENTIALS_DIRECTORY/set; echo; cat $$CREDENTIALS_DIRECTORY/none; echo; \
         stat -c '%%a %%U' $$CREDENTIALS_DIRECTORY $$CREDENTIALS_DIRECTORY/file; t touch $$CREDENTIALS_DIRECTORY/x; ls /run/credentials",
        "secret a b default 500 core 400 core no credentials.service",
    ),
    // what its cgroup reaches
    Case(
        "device-policy",
        "DevicePolicy=closed\nDeviceAllow=/dev/loop-control r\nDeviceAllow=char-fuse",
        "t sh -c ': > /dev/null'; t test $$(head -c1 /dev/zero | wc -c) = 1; t sh -c ': < /dev/loop-control'; t sh -c ': > /dev/loop-control'; \
         t sh -c ': < /dev/kmsg-node'; t mknod /tmp/node c 1 11; t mknod /tmp/zero c 1 5",
        "ok ok ok no no no ok",
    ),
    Case(
        "device-strict",
        "DevicePolicy=strict\nDeviceAllow=/dev/zero r\nDeviceAllow=/dev/null r",
        "head -c1 /dev/zero | wc -c; (: > /dev/zero) || echo no; (: < /dev/full) || echo no",
        "1 no no",
    ),
    Case(
        "addresses",
        "IPAddressDeny=any\nIPAddressAllow=127.0.0.2 ::1\nPrivateNetwork=yes",
        "send 127.0.0.2; send 127.0.0.1; send ::1; send ::ffff:127.0.0.1",
        "ok no ok no",
    ),
    Case(
        "addresses-free",
        "IPAddressDeny=10.0.0.0/8\nPrivateNetwork=yes",
        "send 127.0.0.1; send ::1",
        "ok ok",
    ),
    Case(
        "delegate",
        "Delegate=yes\nUser=core",
        "g=/sys/fs/cgroup/system.slice/delegate.service; stat -c %%U $$g $$g/cgroup.procs $$g/cgroup.subtree_control; \
         t mkdir $$g/inner; t sh -c 'echo $$$$ > '$$g/inner/cgroup.procs; grep -c delegate.service/inner /proc/self/cgroup",
        "core core core ok ok 0",
    ),
    // when and where it runs
    Case(
        "scheduling",
        "Nice=5\nOOMScoreAdjust=300\nCPUSchedulingPolicy=batch\nIOSchedulingClass=idle\nCPUAffinity=0\n\
         TimerSlackNSec=1ms\nLimitCORE=0\nLimitSTACK=1M:2M\nUMask=0077\nCoredumpFilter=default",
        "nice; cat /proc/self/oom_score_adj; grep Cpus_allowed_list /proc/self/status | cut -f2; ulimit -Ss; \
         umask; cat /proc/self/coredump_filter; perl -e 'print syscall(145, 0), \" \", syscall(252, 1, 0) >> 13, \"\\n\"'",
        "5 300 0 1024 0077 00000033 3 3",
    ),
    Case("input", "StandardInputText=hello\\tthere\nStandardInputData=d29ybGQK", "cat", "hello there world"),
    Case("input-file", "StandardInput=file:/root/secret", "cat", "secret"),
    Case("search", "ExecSearchPath=/var/exec", "echo $$SYSTEMD_EXEC_PID | grep -c '^[0-9]*$$'", "1"),
];

/// Settings with which a unit must not run, and the exit status that says why.
const FAILURES: &[(&str, &str, &str)] = &[
    ("fails-chdir", "WorkingDirectory=/no/such", "200"),
    ("fails-exec", "", "203"),
    ("fails-stdin", "StandardInput=file:/no/such", "208"),
    ("fails-stdout", "StandardOutput=append:/no/such/file", "209"),
    ("fails-root", "RootDirectory=/no/such\nMountAPIVFS=no", "210"),
    ("fails-group", "Group=nobody-knows", "216"),
    ("fails-user", "User=nobody-knows", "217"),
    ("fails-stderr", "StandardError=file:/no/such/file", "222"),
    ("fails-network", "NetworkNamespacePath=/no/such", "225"),
    ("fails-namespace", "BindPaths=/no/such", "226"),
    ("fails-runtime", "RuntimeDirectory=file-not-folder", "233"),
    ("fails-state", "StateDirectory=file-not-folder", "238"),
    ("fails-cache", "CacheDirectory=file-not-folder", "239"),
    ("fails-logs", "LogsDirectory=file-not-folder", "240"),
    ("fails-configuration", "ConfigurationDirectory=file-not-folder", "241"),
    ("fails-credentials", "LoadCredential=x:/no/such", "243"),
];

/// What the units find.
const SETUP: &str = "mkdir -p /home/core /root /var/rw/ro /var/closed/in /var/exec /var/empty/in /var/fresh /var/tmp \
    /var/jail/usr /var/jail/out /mnt /var/lib /var/cache /var/log; chmod 1777 /tmp /var/tmp; \
    echo secret > /home/core/secret; echo secret > /root/secret; chown -R core:core /home/core; chmod 700 /root; \
    echo file > /var/rw/file; touch /tmp/outside /var/tmp/outside /var/jail/jailed; chmod 1777 /home/core; \
    for name in bin sbin lib lib64; do ln -sfn usr/$$name /var/jail/$$name; done; \
    cp /bin/true /var/rw/true; cp /bin/true /var/exec/true; cp /bin/sh /var/exec/sh; \
    touch /run/file-not-folder /var/lib/file-not-folder /var/cache/file-not-folder /var/log/file-not-folder \
    /etc/file-not-folder; n() { test -e /dev/$$1 || mknod -m 666 /dev/$$1 c $$2 $$3; }; n zero 1 5; n full 1 7; \
    n random 1 8; n urandom 1 9; n tty 5 0; n loop-control 10 237; n kmsg-node 1 11; echo log > /dev/kmsg; chmod 777 /out";

fn walls_hold() {
    let probe = ("probe", PROBE);
    let mut units: Vec<(String, String)> = vec![
        (probe.0.into(), probe.1.into()),
        ("send".into(), SEND.into()),
        ("sysinit.target".into(), "[Unit]\nDescription=System\n".into()),
        ("basic.target".into(), "[Unit]\nDescription=Basic\n".into()),
        (
            "setup.service".into(),
            format!(
                "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\n\
                 ExecStart=/bin/sh -c '{SETUP}'\n"
            ),
        ),
    ];
    let mut wanted = String::new();
    let mut add = |name: &str, text: String| {
        wanted.push_str(&format!(" {name}.service"));
        units.push((format!("{name}.service"), text));
    };
    for Case(name, settings, script, _) in CASES {
        let functions = "t() { if \"$$@\" 2>/dev/null; then echo ok; else echo no; fi; }; \
             probe() { perl /usr/lib/systemd/system/probe \"$$@\"; }; \
             send() { perl /usr/lib/systemd/system/send $$1; }; \
             bits() { set=$$(grep $$1 /proc/self/status | cut -f2); shift; for bit; do \
             echo $$(( 0x$$set >> bit & 1 )); done; }";
        let script = script.replace('\\', "\\\\").replace('"', "\\\"");
        let functions = functions.replace('"', "\\\"");
        add(
            name,
            format!(
                "[Unit]\nDefaultDependencies=no\nAfter=setup.service\nRequires=setup.service\n\
                 [Service]\nType=oneshot\nRemainAfterExit=yes\nStandardOutput=file:/out/{name}\n\
                 StandardError=append:/out/{name}.err\n{settings}\nExecStart=/bin/sh -c \"{functions}; {script}\"\n"
            ),
        );
    }
    for (name, settings, _) in FAILURES {
        let program = if *name == "fails-exec" { "/no/such/program" } else { "/bin/true" };
        add(
            name,
            format!(
                "[Unit]\nDefaultDependencies=no\nAfter=setup.service\nRequires=setup.service\n\
                 [Service]\nType=oneshot\n{settings}\nExecStart={program}\n"
            ),
        );
    }
    for (name, text) in JOINED {
        add(name, (*text).to_owned());
    }
    units.push((
        "multi-user.target".into(),
        format!("[Unit]\nDescription=Users\nAllowIsolate=yes\nWants=setup.service{wanted}\nAfter=setup.service{wanted}\n"),
    ));
    let files: Vec<(&str, &str)> = units.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let machine = Machine::start(&files);
    machine.until("multi-user.target is up", |m| m.says(&["is-active", "multi-user.target"], "active"));

    let mut wrong = Vec::new();
    for Case(name, settings, _, want) in CASES {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let got = words(&machine.file(&format!("out/{name}")));
        if got != words(want) {
            let error = words(&machine.file(&format!("out/{name}.err")));
            let status = machine.show(&format!("{name}.service"), "ExecMainStatus");
            wrong.push(format!("{name} ({settings})\n  want: {want}\n  got:  {got}\n  {status} {error}"));
        }
    }
    for (name, settings, want) in FAILURES {
        let got = machine.show(&format!("{name}.service"), "ExecMainStatus");
        if got != *want {
            wrong.push(format!("{name} ({settings}): status {got}, wanted {want}"));
        }
    }
    assert!(wrong.is_empty(), "{} walls do not hold:\n{}", wrong.len(), wrong.join("\n"));
    after_the_end(&machine);
    what_is_joined_stays_while_one_is_left(&machine);
}

/// Units with the private files and network of another: JoinsNamespaceOf= counts where both have such.
const JOINED: &[(&str, &str)] = &[
    (
        "first",
        "[Unit]\nDefaultDependencies=no\nAfter=setup.service\nBefore=second.service third.service stranger.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nPrivateTmp=yes\nPrivateNetwork=yes\n\
         ExecStart=/bin/sh -c 'echo shared > /tmp/word; readlink /proc/self/ns/net > /out/first'\n",
    ),
    (
        "second",
        "[Unit]\nDefaultDependencies=no\nAfter=setup.service\nJoinsNamespaceOf=first.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nPrivateTmp=yes\nPrivateNetwork=yes\n\
         ExecStart=/bin/sh -c 'cat /tmp/word > /out/second.word; readlink /proc/self/ns/net > /out/second'\n",
    ),
    (
        "third",
        "[Unit]\nDefaultDependencies=no\nAfter=setup.service\nJoinsNamespaceOf=first.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nPrivateTmp=yes\n\
         ExecStart=/bin/sh -c 'cat /tmp/word > /out/third.word; readlink /proc/self/ns/net > /out/third'\n",
    ),
    (
        "stranger",
        "[Unit]\nDefaultDependencies=no\nAfter=setup.service\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nPrivateTmp=yes\nPrivateNetwork=yes\n\
         ExecStart=/bin/sh -c 'ls /tmp > /out/stranger.word; readlink /proc/self/ns/net > /out/stranger'\n",
    ),
];

fn what_is_joined_stays_while_one_is_left(machine: &Machine) {
    let net = |name: &str| machine.file(&format!("out/{name}"));
    let word = |name: &str| machine.file(&format!("out/{name}.word"));
    assert!(net("first").starts_with("net:") && net("second") == net("first"));
    assert_ne!(net("third"), net("first"), "it has no private network to join with");
    assert_ne!(net("stranger"), net("first"));
    assert_eq!(
        (word("second"), word("third"), word("stranger")),
        ("shared\n".into(), "shared\n".into(), String::new())
    );
    let there = || {
        let listing = machine.run(&["sh", "-c", "ls /tmp | grep -c systemd-private-.*-first.service-"]);
        String::from_utf8_lossy(&listing.stdout).trim().to_owned()
    };
    for unit in ["first.service", "third.service"] {
        assert!(machine.systemctl(&["stop", unit]).status.success());
    }
    machine.until("they are forgotten", |m| {
        !m.run(&["test", "-e", "/run/systemd/exec/third.service"]).status.success()
    });
    assert_eq!(there(), "1");
    // the one that has made it joins those that are left
    std::fs::remove_file(format!("{}/out/first", machine.root())).expect("it has run");
    assert!(machine.systemctl(&["start", "first.service"]).status.success());
    assert_eq!(net("first"), net("second"));
    assert!(machine.systemctl(&["stop", "first.service", "second.service"]).status.success());
    machine.until("the last one has cleared it away", |_| there() == "0");
}

/// What a unit leaves behind when it stops, and finds again when it starts.
fn after_the_end(machine: &Machine) {
    let there = |path: &str| machine.run(&["test", "-e", path]).status.success();
    let owner = machine.file("var/lib/private/dynamic/id");
    assert!(there("/run/credentials/credentials.service"));
    assert!(there("/run/userdb/dynamic.user") && there("/run/systemd/exec/dynamic.service"));
    let private = || {
        let listing = machine.run(&["sh", "-c", "ls /tmp | grep -c systemd-private-.*-tmp.service-"]);
        String::from_utf8_lossy(&listing.stdout).trim().to_owned()
    };
    assert_eq!(private(), "1");
    for unit in ["dynamic", "credentials", "tmp", "network", "ipc"] {
        assert!(machine.systemctl(&["stop", &format!("{unit}.service")]).status.success(), "{unit}");
    }
    machine.until("what is private is gone", |_| private() == "0");
    machine.until("the dynamic user is gone", |_| !there("/run/userdb/dynamic.user"));
    assert!(!there("/run/credentials/credentials.service") && !there("/run/dynamic"));
    machine.until("pinned namespaces are gone", |_| {
        !there("/run/systemd/exec/network.service") && !there("/run/systemd/exec/ipc.service")
    });
    // The number may differ, the state is the unit's own all the same.
    assert!(machine.systemctl(&["start", "dynamic.service"]).status.success());
    assert_eq!(machine.file("var/lib/private/dynamic/id"), owner);
}
