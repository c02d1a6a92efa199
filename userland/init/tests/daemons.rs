//! Debian with its PID 1 replaced by ours, and nothing else: it boots as it was installed, generators, journald and
//! logind included, and its daemons, with their own unit files, start, serve, reload, stop and survive kill -9.
//!
//! Without cargo's harness, and for root (`machine::program`).

use std::process::ExitCode;

use machine::{Machine, debian, program};

mod machine;

fn main() -> ExitCode {
    program::run("daemons_serve", &[], daemons_serve)
}

/// What is laid over the tree. The kernel and the clock are the test machine's own: nothing is to change them. There
/// is no terminal. A job for cron, for the boot.
const FILES: &[(&str, &str)] = &[
    ("etc/default/chrony", "DAEMON_OPTS=-x\n"),
    ("etc/cron.d/hello", "@reboot root echo from cron >/run/hello-from-cron\n"),
    ("etc/systemd/system/systemd-sysctl.service", ""),
    ("etc/systemd/system/systemd-modules-load.service", ""),
    ("etc/systemd/system/proc-sys-fs-binfmt_misc.automount", ""),
    ("etc/systemd/system/sys-kernel-debug.mount", ""),
    ("etc/systemd/system/sys-kernel-tracing.mount", ""),
    ("etc/systemd/system/fstrim.timer", ""),
    ("etc/systemd/system/e2scrub_all.timer", ""),
    ("etc/systemd/system/apt-daily.timer", ""),
    ("etc/systemd/system/apt-daily-upgrade.timer", ""),
    ("etc/systemd/system-generators/systemd-getty-generator", ""),
    ("etc/systemd/system-generators/systemd-gpt-auto-generator", ""),
];

/// A daemon, by its unit.
struct Daemon {
    unit: &'static str,
    /// What a client runs, and what it then has to print.
    ask: &'static str,
    answer: &'static str,
}

const DAEMONS: &[Daemon] = &[
    Daemon { unit: "nginx.service", ask: "busybox wget -qO- http://127.0.0.1/", answer: "Welcome to nginx!" },
    Daemon {
        unit: "postgresql@15-main.service",
        ask: "setpriv --reuid=postgres --regid=postgres --init-groups psql -tAc 'select 6*7'",
        answer: "42",
    },
    Daemon { unit: "ssh.service", ask: LOGIN, answer: "uid=0(root)" },
    Daemon { unit: "etcd.service", ask: "etcdctl put a b && etcdctl get a", answer: "OK\na\nb" },
    Daemon {
        unit: "dbus.service",
        ask: "busctl --no-pager call org.freedesktop.DBus / org.freedesktop.DBus ListNames",
        answer: "\"org.freedesktop.systemd1\"",
    },
    Daemon { unit: "containerd.service", ask: "ctr version", answer: "Server:" },
    Daemon {
        unit: "docker.service",
        ask: "docker run --rm --network none box /bin/busybox echo from a container",
        answer: "from a container",
    },
    Daemon { unit: "cron.service", ask: "cat /run/hello-from-cron", answer: "from cron" },
    Daemon { unit: "redis-server.service", ask: "redis-cli set a b && redis-cli get a", answer: "OK\nb" },
    Daemon { unit: "chrony.service", ask: "chronyc -n tracking", answer: "Stratum" },
];

const LOGIN: &str = "ssh -o StrictHostKeyChecking=no -o BatchMode=yes root@127.0.0.1 id";

/// What a person sets up before asking: a key for ssh, an image for docker.
const SETUP: &str = "set -e; mkdir -p /root/.ssh /tmp/box/bin; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519; \
                     cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys; cp /bin/busybox /tmp/box/bin/; \
                     tar -C /tmp/box -c . | docker import - box";

fn daemons_serve() {
    let machine = Machine::of_tree(&debian::tree(), FILES);
    machine.until("Debian is up", |m| m.says(&["is-system-running"], "running"));
    shell(&machine, SETUP);
    for daemon in DAEMONS {
        daemon.serves(&machine);
    }
    the_sandbox_holds(&machine);
    a_service_of_the_bus_is_started_by_who_asks_it(&machine);
    sockets_start_their_services(&machine);
    for daemon in DAEMONS {
        daemon.reloads(&machine);
    }
    for daemon in DAEMONS {
        daemon.is_killed(&machine);
    }
    for daemon in DAEMONS {
        daemon.comes_back(&machine);
    }
    let kept = shell(&machine, "etcdctl get a --print-value-only; redis-cli get a");
    assert_eq!(kept.trim(), "b\nb", "what was written before the kill is there");
    for daemon in DAEMONS {
        daemon.stops(&machine);
    }
}

/// What a shell inside prints; it has to succeed.
fn shell(machine: &Machine, script: &str) -> String {
    let output = machine.run(&["sh", "-c", script]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{script}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

impl Daemon {
    fn serves(&self, machine: &Machine) {
        machine.until(self.unit, |m| {
            let output = m.run(&["sh", "-c", self.ask]);
            let said = String::from_utf8_lossy(&output.stdout);
            if !said.contains(self.answer) {
                eprintln!("{}: {said}{}", self.ask, String::from_utf8_lossy(&output.stderr));
            }
            said.contains(self.answer)
        });
        assert!(machine.says(&["is-active", self.unit], "active"));
    }

    /// Reloading leaves the main process what it is.
    fn reloads(&self, machine: &Machine) {
        if machine.show(self.unit, "CanReload") != "yes" {
            let refused = machine.systemctl(&["reload", self.unit]);
            assert!(String::from_utf8_lossy(&refused.stderr).contains("not applicable"), "{}", self.unit);
            return;
        }
        let main = machine.show(self.unit, "MainPID");
        shell(machine, &format!("systemctl reload {}", self.unit));
        assert!(machine.shows(self.unit, "MainPID", &main));
        self.serves(machine);
    }

    /// kill -9 for the main process: its end is seen, and whether it starts again is as the unit says.
    fn is_killed(&self, machine: &Machine) {
        let main = machine.show(self.unit, "MainPID");
        shell(machine, &format!("systemctl kill -s KILL --kill-who=main {}", self.unit));
        let restarts = machine.show(self.unit, "Restart") != "no";
        machine.until(self.unit, |m| {
            let (now, state) = (m.show(self.unit, "MainPID"), m.show(self.unit, "ActiveState"));
            match self.unit {
                // whoever asks next has its socket start it again
                "dbus.service" => now != main,
                _ if restarts => now != main && now != "0" && state == "active",
                _ => state == "failed",
            }
        });
        assert!(!restarts || machine.show(self.unit, "NRestarts") != "0", "{}", self.unit);
        if !restarts && self.unit != "dbus.service" {
            assert!(machine.shows(self.unit, "ExecMainPID", &main));
            assert!(machine.shows(self.unit, "ExecMainStatus", "9"));
        }
    }

    fn comes_back(&self, machine: &Machine) {
        shell(machine, &format!("systemctl start {}", self.unit));
        self.serves(machine);
    }

    /// Nothing of it is left but what KillMode=process leaves on purpose.
    fn stops(&self, machine: &Machine) {
        let socket = machine.show(self.unit, "TriggeredBy");
        shell(machine, &format!("systemctl stop {} {socket}", self.unit));
        assert!(machine.says(&["is-active", self.unit], "inactive"));
        assert!(machine.shows(self.unit, "Result", "success"));
        assert!(machine.shows(self.unit, "MainPID", "0"));
        if machine.show(self.unit, "KillMode") != "process" {
            assert!(machine.shows(self.unit, "ControlGroup", ""));
        }
    }
}

/// redis-server's unit has most of the sandbox there is.
fn the_sandbox_holds(machine: &Machine) {
    let pid = machine.show("redis-server.service", "MainPID");
    let status = shell(machine, &format!("cat /proc/{pid}/status"));
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000"] {
        assert!(status.contains(line), "{line}\n{status}");
    }
    assert_eq!(shell(machine, "redis-cli save").trim(), "OK", "ReadWritePaths= lets it write its state");
    shell(machine, "test -s /var/lib/redis/dump.rdb");
}

/// Debian's dbus-daemon has PID 1 start what is asked for by name (ActivationRequest).
fn a_service_of_the_bus_is_started_by_who_asks_it(machine: &Machine) {
    let name = "org.freedesktop.hostname1";
    assert!(machine.says(&["is-active", "systemd-hostnamed.service"], "inactive"));
    let ask = format!("busctl get-property {name} /org/freedesktop/hostname1 {name} Hostname");
    assert!(shell(machine, &ask).starts_with("s \""));
    assert!(machine.says(&["is-active", "systemd-hostnamed.service"], "active"));
}

/// ssh.socket and docker.socket are asked while their services do not run.
fn sockets_start_their_services(machine: &Machine) {
    shell(machine, "systemctl stop ssh.service docker.service 2>&1; systemctl start ssh.socket");
    for (unit, ask) in [("ssh.service", LOGIN), ("docker.service", "docker version")] {
        assert!(machine.says(&["is-active", unit], "inactive"));
        shell(machine, ask);
        assert!(machine.says(&["is-active", unit], "active"));
    }
    // The service has the port for itself again afterwards.
    shell(machine, "systemctl stop ssh.socket ssh.service && systemctl start ssh.service");
}
