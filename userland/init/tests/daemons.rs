//! Daemons of Debian with their own unit files, unchanged, under a real PID 1: redis-server, whose unit has most of the
//! sandbox there is, and chrony, which gives its privileges up itself.
//!
//! Without the harness of `cargo test`, because PID 1 must have one thread. Needs root (it makes namespaces and
//! mounts); anybody else is told so and passes.

use std::ffi::OsString;
use std::fs;
use std::process::ExitCode;

use machine::Machine;

mod machine;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if std::process::id() == 1 {
        return init::init(args);
    }
    if args.iter().any(|arg| arg == "--list") {
        println!("daemons_serve: test");
        return ExitCode::SUCCESS;
    }
    if !rustix::process::getuid().is_root() {
        println!("daemons: skipped, needs root");
        return ExitCode::SUCCESS;
    }
    daemons_serve();
    println!("daemons: ok");
    ExitCode::SUCCESS
}

/// What the packages' scripts do on a real system. The clock is the test machine's own, so chrony is told not to touch it.
const SETUP: &str = "mkdir -p /etc/redis /etc/chrony /etc/default /var/lib/redis /var/log/redis /var/tmp /root; \
    for user in redis:120 _chrony:121; do n=$${user#*:}; u=$${user%%:*}; echo $$u:x:$$n:$$n::/var/lib/$$u:/usr/sbin/nologin >> /etc/passwd; \
    echo $$u:x:$$n: >> /etc/group; done; chown redis:redis /var/lib/redis /var/log/redis; \
    echo port 0 > /etc/redis/redis.conf; echo unixsocket /run/redis/redis.sock >> /etc/redis/redis.conf; \
    echo dir /var/lib/redis >> /etc/redis/redis.conf; echo bindcmdaddress /run/chrony/chronyd.sock > /etc/chrony/chrony.conf; \
    echo driftfile /var/lib/chrony/chrony.drift >> /etc/chrony/chrony.conf; echo port 0 >> /etc/chrony/chrony.conf; \
    echo cmdport 0 >> /etc/chrony/chrony.conf; echo pidfile /run/chrony/chronyd.pid >> /etc/chrony/chrony.conf; \
    echo DAEMON_OPTS=-x > /etc/default/chrony; chmod 1777 /tmp /var/tmp; \
    n() { test -e /dev/$$1 || mknod -m 666 /dev/$$1 c $$2 $$3; }; n zero 1 5; n full 1 7; n random 1 8; n urandom 1 9; n tty 5 0";

fn daemons_serve() {
    let of_package = |name: &str| {
        let path = format!("/lib/systemd/system/{name}");
        fs::read_to_string(&path).expect("a unit file of a package in ci/packages")
    };
    let setup = format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c '{SETUP}'\n"
    );
    let (redis, chrony) = (of_package("redis-server.service"), of_package("chrony.service"));
    let files = [
        ("sysinit.target", "[Unit]\nDescription=System\nRequires=setup.service\nAfter=setup.service\n"),
        ("basic.target", "[Unit]\nDescription=Basic\nRequires=sysinit.target\nAfter=sysinit.target\n"),
        (
            "multi-user.target",
            "[Unit]\nDescription=Users\nRequires=basic.target\nAfter=basic.target\nAllowIsolate=yes\n\
             Wants=redis-server.service chrony.service\n",
        ),
        ("shutdown.target", "[Unit]\nDescription=Shutdown\nDefaultDependencies=no\n"),
        ("setup.service", &setup),
        ("redis-server.service", &redis),
        ("chrony.service", &chrony),
    ];
    let machine = Machine::start(&files);
    for unit in ["redis-server.service", "chrony.service"] {
        machine.until(unit, |m| m.says(&["is-active", unit], "active"));
    }
    let cli = |words: &[&str]| {
        let mut all = vec!["redis-cli", "-s", "/run/redis/redis.sock"];
        all.extend(words);
        String::from_utf8_lossy(&machine.run(&all).stdout).trim().to_owned()
    };
    assert_eq!(cli(&["set", "a", "b"]), "OK");
    assert_eq!(cli(&["save"]), "OK", "ReadWritePaths= lets it write its state");
    assert!(
        !machine.file("var/lib/redis/dump.rdb").is_empty()
            || machine.run(&["test", "-s", "/var/lib/redis/dump.rdb"]).status.success()
    );
    let status = |pid: &str| {
        String::from_utf8_lossy(&machine.run(&["cat", &format!("/proc/{pid}/status")]).stdout).into_owned()
    };
    let of_redis = status(&machine.show("redis-server.service", "MainPID"));
    for line in ["Uid:\t120\t120\t120\t120", "NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000"] {
        assert!(of_redis.contains(line), "{line}\n{of_redis}");
    }
    let of_chrony = status(&machine.show("chrony.service", "MainPID"));
    assert!(of_chrony.contains("Uid:\t121\t121") && of_chrony.contains("Seccomp:\t2"), "{of_chrony}");

    // Killed, it comes back with what it had saved.
    let pid = machine.show("redis-server.service", "MainPID");
    assert!(machine.systemctl(&["kill", "-s", "KILL", "redis-server.service"]).status.success());
    machine.until("redis is back", |m| {
        let now = m.show("redis-server.service", "MainPID");
        now != pid && now != "0" && m.says(&["is-active", "redis-server.service"], "active")
    });
    assert_eq!(cli(&["get", "a"]), "b");
    for unit in ["redis-server.service", "chrony.service"] {
        assert!(machine.systemctl(&["stop", unit]).status.success(), "{unit}");
        assert!(machine.says(&["is-active", unit], "inactive"));
    }
    assert!(!machine.run(&["test", "-e", "/run/redis"]).status.success());
}
