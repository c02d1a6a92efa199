//! PID 1 for real: this program is its own init in namespaces of its own, on a root made of Debian's /usr and unit
//! files of the scenario, and Debian's systemctl talks to it. The root is in memory: no disk is looked at.
//!
//! Without the harness of `cargo test`, because PID 1 must have one thread. Needs root (it makes namespaces and
//! mounts); anybody else is told so and passes.

#![allow(clippy::unwrap_used)] // A test, but clippy sees none without the harness.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

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
    let machine = Machine::start();
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
        m.shows("hello.service", "SubState", "running") && m.show("hello.service", "MainPID") != pid
    });
    assert!(machine.shows("hello.service", "NRestarts", "1"));
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

/// PID 1 in its namespaces.
struct Machine {
    _folder: tempfile::TempDir,
    unshare: std::cell::RefCell<Child>,
    init: u32,
}

impl Machine {
    fn start() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for path in ["dev", "proc", "sys", "run", "tmp", "var", "etc", "usr", "out"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\ncore:x:500:501::/home/core:/bin/sh\n")
            .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\ncore:x:501:\ndocker:x:233:\n").unwrap();
        let units = folder.path().join("units");
        fs::create_dir(&units).unwrap();
        for (name, text) in UNITS {
            fs::write(units.join(name), text).unwrap();
        }
        symlink("multi-user.target", units.join("default.target")).unwrap();
        fs::copy(std::env::current_exe().unwrap(), root.join("init")).unwrap();
        let script = format!(
            "set -e; R={root}
             G=$(mount -t cgroup2 | head -1 | cut -d' ' -f3); mkdir -p $G/corten-$$; echo $$ > $G/corten-$$/cgroup.procs
             mount --make-rprivate /
             mkdir $R.memory; mount -t tmpfs -o mode=755 none $R.memory; cp -a $R/. $R.memory; R=$R.memory
             mount --rbind -o ro /usr $R/usr
             mount --bind {units} $R/usr/lib/systemd/system
             mount -t tmpfs none $R/dev; mkdir $R/dev/pts $R/dev/shm
             mknod -m 666 $R/dev/null c 1 3; touch $R/dev/console; touch $R/dev/kmsg
             exec unshare --cgroup --pid --net --uts --ipc --mount --fork --kill-child chroot $R /init",
            root = root.display(),
            units = units.display()
        );
        let unshare = Command::new("unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is part of Debian's util-linux");
        let started = Instant::now();
        let init = loop {
            let children = format!("/proc/{0}/task/{0}/children", unshare.id());
            let text = fs::read_to_string(children).unwrap_or_default();
            let child: Option<u32> = text.trim().parse().ok();
            if let Some(child) = child
                && fs::read_link(format!("/proc/{child}/exe")).is_ok_and(|exe| exe.ends_with("init"))
            {
                break child;
            }
            assert!(started.elapsed() < PATIENCE, "init did not start");
            sleep(PAUSE);
        };
        Machine { _folder: folder, unshare: unshare.into(), init }
    }

    fn run(&self, command: &[&str]) -> Output {
        Command::new("nsenter")
            .args(["--target", &self.init.to_string(), "--all", "--root", "--wd=/"])
            .args(command)
            .output()
            .expect("nsenter is part of Debian's util-linux")
    }

    fn systemctl(&self, args: &[&str]) -> Output {
        let mut command = vec!["systemctl"];
        command.extend(args);
        self.run(&command)
    }

    fn says(&self, args: &[&str], want: &str) -> bool {
        let said = self.systemctl(args);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        if said.trim() != want {
            eprintln!("systemctl {args:?}: {}", said.trim());
        }
        said.trim() == want
    }

    fn show(&self, unit: &str, property: &str) -> String {
        let out = self.systemctl(&["show", "--value", "-p", property, unit]);
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    fn shows(&self, unit: &str, property: &str, want: &str) -> bool {
        let value = self.show(unit, property);
        if value != want {
            eprintln!("{unit}: {property}={value}, wanted {want}");
        }
        value == want
    }

    fn file(&self, path: &str) -> String {
        fs::read_to_string(format!("/proc/{}/root/{path}", self.init)).unwrap_or_default()
    }

    fn until(&self, what: &str, holds: impl Fn(&Machine) -> bool) {
        let started = Instant::now();
        while !holds(self) {
            assert!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.console());
            sleep(PAUSE);
        }
    }

    /// What PID 1 wrote to the console and the kernel's log.
    fn console(&self) -> String {
        let read = |name: &str| {
            let path = format!("/proc/{}/root/dev/{name}", self.init);
            fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        };
        format!("console:\n{}\nkernel log:\n{}", read("console"), read("kmsg"))
    }

    /// Waits until the machine is off.
    fn gone(&self) {
        let started = Instant::now();
        while self.unshare.borrow_mut().try_wait().unwrap().is_none() {
            assert!(started.elapsed() < PATIENCE, "not off within {PATIENCE:?}\n{}", self.console());
            sleep(PAUSE);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // PID 1 of the namespace takes everything in it along.
        if self.unshare.borrow_mut().try_wait().is_ok_and(|status| status.is_none()) {
            eprintln!("{}", self.console());
            let _ = Command::new("kill").args(["-KILL", &self.init.to_string()]).status();
            let _ = self.unshare.borrow_mut().wait();
        }
        let groups = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        if let Some(place) =
            groups.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4))
        {
            remove_groups(&Path::new(place).join(format!("corten-{}", self.unshare.borrow().id())));
        }
    }
}

/// Removes a cgroup and all below it.
fn remove_groups(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
