//! podman and containerd of Debian, with this runtime in the place of theirs. Where they are not installed, that is
//! said and the test passes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bundle::{RUNC, finished, make_rootfs, wait_until};

fn has(tools: &[&str]) -> bool {
    let there = rustix::process::geteuid().is_root() && tools.iter().all(|tool| Path::new(tool).exists());
    if !there {
        eprintln!("skipped: needs root and {}", tools.join(", "));
    }
    there
}

/// podman with storage of its own.
struct Podman {
    dir: tempfile::TempDir,
}

impl Podman {
    fn new() -> Option<Self> {
        if !has(&["/usr/bin/podman", "/usr/bin/conmon", "/bin/busybox"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let podman = Self { dir };
        make_rootfs(&podman.dir.path().join("image"));
        let tar = podman.dir.path().join("image.tar");
        finished(
            Command::new("tar").arg("-C").arg(podman.dir.path().join("image")).arg("-cf").arg(&tar).arg("."),
        );
        std::fs::write(
            podman.dir.path().join("policy.json"),
            r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
        )
        .unwrap();
        podman.must(&["import", tar.to_str().unwrap(), "box"]);
        Some(podman)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("podman");
        let at = |name: &str| self.dir.path().join(name);
        command.arg("--root").arg(at("root")).arg("--runroot").arg(at("run")).arg("--tmpdir").arg(at("tmp"));
        command.args([
            "--runtime",
            RUNC,
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
            "--storage-driver",
            "vfs",
        ]);
        command.args(args).stdin(Stdio::null());
        command
    }

    fn must(&self, args: &[&str]) -> String {
        let (status, out, err) = finished(&mut self.command(args));
        assert_eq!(status, 0, "{args:?}: {out}{err}");
        out
    }

    /// The machine gives nobody the right to raise limits: they are set as they are.
    fn run(&self, options: &[&str], command: &[&str]) -> (i32, String, String) {
        let mut args =
            vec!["run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"];
        args.extend(options);
        args.push("box");
        args.extend(command);
        finished(&mut self.command(&args))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = finished(&mut self.command(&["rm", "-af", "-t", "0"]));
        let _ = finished(&mut self.command(&["pod", "rm", "-af"]));
    }
}

#[test]
fn podman_runs_containers() {
    let Some(podman) = Podman::new() else { return };
    let (status, out, err) = podman.run(&["--rm"], &["sh", "-c", "echo hello; id -u; exit 3"]);
    assert_eq!((status, out.as_str()), (3, "hello\n0"), "{err}");
    assert_eq!(podman.run(&["--rm"], &["nosuch"]).0, 127);
    assert_eq!(podman.run(&["--rm"], &["/etc/passwd"]).0, 126);
    let (_, out, err) = podman.run(
        &["--rm", "-u", "33:34", "-w", "/etc", "-e", "A=b", "--read-only", "--hostname", "h"],
        &["sh", "-c", "id -u; pwd; echo $A; hostname; touch /x 2>&1 | grep -c only"],
    );
    assert_eq!(out, "33\n/etc\nb\nh\n1", "{err}");
    let (_, out, err) = podman.run(&["--rm", "-t"], &["sh", "-c", "tty"]);
    assert_eq!(out.trim(), "/dev/pts/0", "{err}");
    let (_, out, err) = podman.run(
        &["--rm", "--pids-limit", "17", "--memory", "64m"],
        &["sh", "-c", "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"],
    );
    assert_eq!(out, "17", "{err}");

    let (status, _, err) = podman.run(
        &["-d", "--name", "back"],
        &["sh", "-c", "trap 'exit 4' TERM; echo up; while true; do sleep 0.1; done"],
    );
    assert_eq!(status, 0, "{err}");
    wait_until(|| podman.must(&["logs", "back"]) == "up");
    assert_eq!(podman.must(&["exec", "back", "sh", "-c", "cat /proc/1/comm"]), "sh");
    assert_eq!(finished(&mut podman.command(&["exec", "back", "sh", "-c", "exit 9"])).0, 9);
    assert!(podman.must(&["ps"]).contains("back"));
    assert!(podman.must(&["top", "back"]).contains("sleep") || !podman.must(&["top", "back"]).is_empty());
    podman.must(&["kill", "--signal", "TERM", "back"]);
    assert_eq!(podman.must(&["wait", "back"]), "4");
    podman.must(&["start", "back"]);
    podman.must(&["stop", "-t", "5", "back"]);
    podman.must(&["rm", "back"]);
}

#[test]
fn podman_runs_pods_without_an_infra_container_and_user_namespaces() {
    let Some(podman) = Podman::new() else { return };
    // Containers that share namespaces, as those of a pod do.
    let (status, _, err) = podman.run(&["-d", "--name", "first"], &["sleep", "1000"]);
    assert_eq!(status, 0, "{err}");
    let joined = podman.must(&[
        "run",
        "--rm",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        "--network",
        "container:first",
        "--ipc",
        "container:first",
        "--pid",
        "container:first",
        "box",
        "ps",
    ]);
    assert!(joined.contains("sleep 1000"), "{joined}");
    let pid = podman.must(&["inspect", "-f", "{{.State.Pid}}", "first"]);
    let net = std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    let seen = podman.must(&[
        "run",
        "--rm",
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1024:1024",
        "--network",
        "container:first",
        "box",
        "readlink",
        "/proc/self/ns/net",
    ]);
    assert_eq!(seen, net);
    podman.must(&["pause", "first"]);
    podman.must(&["unpause", "first"]);
    podman.must(&["rm", "-f", "-t", "0", "first"]);
    let (status, out, err) = podman.run(
        &["--rm", "--uidmap", "0:100000:5000", "--gidmap", "0:100000:5000"],
        &["sh", "-c", "id -u; cat /proc/self/uid_map"],
    );
    assert_eq!(
        (status, out.split_whitespace().collect::<Vec<_>>()),
        (0, vec!["0", "0", "100000", "5000"]),
        "{err}"
    );
}

/// A containerd of its own.
struct Containerd {
    dir: tempfile::TempDir,
    daemon: Child,
}

impl Containerd {
    fn new() -> Option<Self> {
        if !has(&["/usr/bin/containerd", "/usr/bin/ctr", "/bin/busybox"]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{}\"\n",
            at("root"),
            at("state"),
            at("sock")
        );
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let daemon = Command::new("containerd")
            .args(["-c", &at("config.toml")])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Self { dir, daemon };
        wait_until(|| finished(&mut containerd.ctr(&["version"])).0 == 0);
        Some(containerd)
    }

    fn ctr(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("-a").arg(self.dir.path().join("sock")).args(args).stdin(Stdio::null());
        command
    }

    fn must(&self, args: &[&str]) -> String {
        let (status, out, err) = finished(&mut self.ctr(args));
        assert_eq!(status, 0, "{args:?}: {out}{err}");
        out
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = finished(&mut self.ctr(&["task", "kill", "-s", "KILL", "back"]));
        let _ = finished(&mut self.ctr(&["task", "rm", "-f", "back"]));
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn containerd_runs_containers() {
    let Some(containerd) = Containerd::new() else { return };
    let rootfs: PathBuf = containerd.dir.path().join("rootfs");
    make_rootfs(&rootfs);
    let rootfs = rootfs.display().to_string();
    let run = ["run", "--runc-binary", RUNC, "--rootfs"];
    let args = |options: &[&'static str], id: &'static str, command: &[&'static str]| {
        let mut all: Vec<String> = run.iter().chain(options).map(|word| (*word).to_owned()).collect();
        all.extend([rootfs.clone(), id.to_owned()]);
        all.extend(command.iter().map(|word| (*word).to_owned()));
        all
    };
    let borrowed =
        |all: &[String]| finished(&mut containerd.ctr(&all.iter().map(String::as_str).collect::<Vec<_>>()));
    let (status, out, err) = borrowed(&args(&["--rm"], "once", &["sh", "-c", "echo hello; exit 3"]));
    assert_eq!((status, out.as_str()), (3, "hello"), "{err}");
    let (status, _, err) = borrowed(&args(&["-d"], "back", &["sleep", "1000"]));
    assert_eq!(status, 0, "{err}");
    assert!(containerd.must(&["task", "ls"]).contains("RUNNING"));
    assert_eq!(containerd.must(&["task", "exec", "--exec-id", "e", "back", "cat", "/proc/1/comm"]), "sleep");
    containerd.must(&["task", "pause", "back"]);
    assert!(containerd.must(&["task", "ls"]).contains("PAUSED"));
    containerd.must(&["task", "resume", "back"]);
    assert!(containerd.must(&["task", "ps", "back"]).lines().count() > 1);
    containerd.must(&["task", "kill", "-s", "KILL", "back"]);
    wait_until(|| containerd.must(&["task", "ls"]).contains("STOPPED"));
    containerd.must(&["task", "rm", "back"]);
    containerd.must(&["container", "rm", "back"]);
}
