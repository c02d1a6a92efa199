//! A container's life, verb by verb.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::bundle::{Bundle, RUNC, finished, wait_until};

#[test]
fn create_start_kill_delete() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("echo begun; trap 'echo heard; exit 5' TERM; while true; do sleep 0.05; done");
    bundle.config["annotations"] = json!({ "a": "b" });
    let id = bundle.id.clone();
    let pid_file = bundle.path("pid");
    bundle.write();
    let dir = bundle.path("");
    let out = std::fs::File::create(bundle.path("out")).unwrap();
    let mut create = bundle.runc(&[
        "create",
        &id,
        "--bundle",
        dir.to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
    ]);
    assert!(
        create.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap().success(),
        "{}",
        bundle.said()
    );

    let state: Value = serde_json::from_str(&bundle.must(&["state", &id])).unwrap();
    assert_eq!((state["status"].as_str(), state["id"].as_str()), (Some("created"), Some(id.as_str())));
    assert_eq!(state["annotations"], json!({ "a": "b" }));
    assert_eq!(state["bundle"].as_str(), dir.to_str().map(|dir| dir.trim_end_matches('/')));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    assert_eq!(state["pid"].to_string(), pid);
    assert_eq!(bundle.said(), "", "the program has not begun");
    // What the configuration says after create changes nothing.
    let kept = bundle.config.clone();
    bundle.set("/process/args", json!(["false"])).write();
    bundle.config = kept;

    assert_ne!(bundle.output(&["create", "-b", dir.to_str().unwrap(), &id]).0, 0, "the name is taken");
    assert_ne!(bundle.output(&["pause", "nosuch"]).0, 0);
    bundle.must(&["start", &id]);
    wait_until(|| bundle.said() == "begun");
    assert_eq!(bundle.status(), "running");
    assert_ne!(bundle.output(&["start", &id]).0, 0, "it runs already");
    assert_ne!(bundle.output(&["delete", &id]).0, 0, "it runs");
    bundle.must(&["kill", &id, "TERM"]);
    bundle.wait_for("stopped");
    assert_eq!(bundle.said(), "begun\nheard");
    assert_ne!(bundle.output(&["kill", &id, "KILL"]).0, 0, "it is stopped");
    assert_ne!(bundle.output(&["exec", &id, "true"]).0, 0);
    bundle.must(&["delete", &id]);
    assert_eq!(bundle.status(), "none");
    assert_ne!(bundle.output(&["delete", &id]).0, 0);
    bundle.must(&["delete", "--force", &id]);
    assert_eq!(std::fs::read_dir(bundle.path("state")).unwrap().count(), 0);
}

#[test]
fn run_ends_with_the_programs_status_and_leaves_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    assert_eq!(bundle.script("echo out; echo err >&2; exit 7").run(), (7, "out".into(), "err".into()));
    assert_eq!(
        bundle.script("kill -9 $$; sleep 1; kill -9 -1; exit 3").run().0,
        3,
        "PID 1 is not killed from within"
    );
    assert_eq!(std::fs::read_dir(bundle.path("state")).unwrap().count(), 0);
    assert!(
        !std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(bundle.path("rootfs").to_str().unwrap())
    );
    assert!(
        finished(std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &bundle.id]))
            .1
            .is_empty()
    );
    let (status, _, why) = bundle.set("/process/args", json!(["nosuch"])).run();
    assert!(status == 1 && why.contains("executable file not found in $PATH"), "{why}");
    let (status, _, why) = bundle.set("/process/args", json!(["/etc/passwd"])).run();
    assert!(status == 1 && why.to_lowercase().contains("permission denied"), "{why}");
}

#[test]
fn others_join_by_exec() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("sleep 1000");
    bundle.create();
    let id = bundle.id.clone();
    bundle.must(&["start", &id]);
    let (status, out, _) = bundle.output(&[
        "exec",
        "-e",
        "A=b",
        "--cwd",
        "/etc",
        "-u",
        "33:34",
        &id,
        "sh",
        "-c",
        "echo $A $PWD $(id -u):$(id -g) $HOME; exit 6",
    ]);
    assert_eq!((status, out.as_str()), (6, "b /etc 33:34 /srv"));
    assert_eq!(bundle.must(&["exec", &id, "hostname"]), "runc");
    assert_eq!(
        bundle.must(&["exec", &id, "grep", "CapEff", "/proc/self/status"]),
        "CapEff:\t0000000020000420"
    );
    let of_exec = bundle.must(&["exec", &id, "cat", "/proc/self/cgroup"]);
    assert_eq!(of_exec, bundle.must(&["exec", &id, "cat", "/proc/1/cgroup"]), "the container's cgroups");
    let process = bundle.path("process.json");
    std::fs::write(&process, json!({ "user": { "uid": 0, "gid": 0 }, "args": ["sh", "-c", "echo from file"], "cwd": "/", "env": ["PATH=/bin"] }).to_string()).unwrap();
    assert_eq!(bundle.must(&["exec", "--process", process.to_str().unwrap(), &id]), "from file");
    let pid_file = bundle.path("exec-pid");
    // Its streams are those of who started it: not a pipe that we wait for the end of.
    let mut detached =
        bundle.runc(&["exec", "-d", "--pid-file", pid_file.to_str().unwrap(), &id, "sleep", "500"]);
    assert!(detached.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid = std::fs::read_to_string(pid_file).unwrap();
    assert!(std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().contains("500"));
    let pids: Vec<u32> = serde_json::from_str(&bundle.must(&["ps", "-f", "json", &id])).unwrap();
    assert!(pids.len() == 2 && pids.contains(&pid.parse().unwrap()), "{pids:?} {pid}");
    if finished(std::process::Command::new("which").arg("ps")).0 == 0 {
        assert!(bundle.must(&["ps", &id]).contains("sleep 500"));
    }
    let (status, _, why) = bundle.output(&["exec", &id, "nosuch"]);
    assert!(status == 1 && why.contains("executable file not found"), "{why}");
    assert_ne!(bundle.output(&["exec", "-u", "root", &id, "true"]).0, 0, "a user is a number");
    let list: Value = serde_json::from_str(&bundle.must(&["list", "-f", "json"])).unwrap();
    assert_eq!((list[0]["id"].as_str(), list[0]["status"].as_str()), (Some(id.as_str()), Some("running")));
    assert!(bundle.must(&["list"]).contains(&id));
    assert_eq!(bundle.must(&["list", "-q"]), id);
}

/// What a container's processes have in common holds for those that join it, too.
#[test]
fn who_joins_is_as_the_others_are() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/personality", json!({ "domain": "LINUX32" }));
    bundle.set("/process/execCPUAffinity", json!({ "initial": "0", "final": "0" }));
    bundle.script("sleep 1000");
    bundle.create();
    let id = bundle.id.clone();
    bundle.must(&["start", &id]);
    assert_eq!(bundle.must(&["exec", &id, "busybox", "uname", "-m"]), "i686");
    let allowed = "grep Cpus_allowed_list /proc/self/status";
    assert_eq!(bundle.must(&["exec", &id, "sh", "-c", allowed]), "Cpus_allowed_list:\t0");
    let (_, _, told) = bundle.output(&["--debug", "exec", &id, "true"]);
    assert!(told.contains("affinity: 0x1"), "{told}");
    // One variable of a name: what the caller says.
    assert_eq!(bundle.must(&["exec", "-e", "PATH=/bin:/x", &id, "env"]).matches("PATH=").count(), 1);
    assert!(bundle.must(&["exec", "-e", "PATH=/bin:/x", &id, "env"]).contains("PATH=/bin:/x"));
}

#[test]
fn paused_and_resumed() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.script("while true; do echo x; sleep 0.01; done");
    bundle.create();
    let id = bundle.id.clone();
    bundle.must(&["start", &id]);
    wait_until(|| !bundle.said().is_empty());
    bundle.must(&["pause", &id]);
    assert_eq!(bundle.status(), "paused");
    let length = bundle.said().len();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(bundle.said().len(), length);
    assert_ne!(bundle.output(&["exec", &id, "true"]).0, 0);
    bundle.must(&["resume", &id]);
    assert_ne!(bundle.output(&["resume", &id]).0, 0);
    wait_until(|| bundle.said().len() > length);
    bundle.must(&["pause", &id]);
    bundle.must(&["delete", "--force", &id]);
}

#[test]
fn limits_are_set_and_updated() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.set("/linux/resources/pids", json!({ "limit": 20 }));
    bundle.set("/linux/resources/memory", json!({ "limit": 64 << 20 }));
    bundle.set("/linux/resources/cpu", json!({ "shares": 512 }));
    bundle.script("sleep 1000");
    bundle.create();
    let id = bundle.id.clone();
    let read = |v1: &str, v2: &str| {
        let v1 = format!("/sys/fs/cgroup/{}/{id}/{}", v1.split('.').next().unwrap(), v1);
        let text = std::fs::read_to_string(v1)
            .or_else(|_| std::fs::read_to_string(format!("/sys/fs/cgroup/{id}/{v2}")));
        text.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(read("pids.max", "pids.max"), "20");
    assert_eq!(read("memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    bundle.must(&["update", "--pids-limit", "30", "--memory", "50331648", "--cpu-share", "256", &id]);
    assert_eq!(read("pids.max", "pids.max"), "30");
    assert_eq!(read("memory.limit_in_bytes", "memory.max"), (48 << 20).to_string());
    let mut from = bundle.runc(&["update", "-r", "-", &id]).stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut from.stdin.take().unwrap(), br#"{"pids":{"limit":40}}"#).unwrap();
    assert!(from.wait().unwrap().success());
    assert_eq!(read("pids.max", "pids.max"), "40");
    let stats: Value = serde_json::from_str(&bundle.must(&["events", "--stats", &id])).unwrap();
    assert_eq!((stats["type"].as_str(), stats["data"]["pids"]["limit"].as_u64()), (Some("stats"), Some(40)));
    assert!(stats["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
}

#[test]
fn a_killed_runtime_leaves_what_delete_can_clear() {
    let Some(mut bundle) = Bundle::new() else { return };
    let id = bundle.id.clone();
    // A hook that holds create up at a known place.
    let mark = bundle.path("mark");
    let script = format!("touch {}; sleep 30", mark.display());
    bundle.config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    bundle.script("sleep 1000").write();
    let dir = bundle.path("");
    let mut create =
        bundle.runc(&["create", "-b", dir.to_str().unwrap(), &id]).stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| mark.exists());
    create.kill().unwrap();
    create.wait().unwrap();
    bundle.must(&["delete", "--force", &id]);
    assert_eq!(bundle.status(), "none");
    wait_until(|| {
        finished(std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &id])).1.is_empty()
    });
}

#[test]
fn the_log_is_what_engines_read() {
    let Some(bundle) = Bundle::new() else { return };
    let log = bundle.path("log");
    let (status, _, _) = finished(
        bundle
            .runc(&["--log", log.to_str().unwrap(), "--log-format", "json", "state", "nosuch"])
            .env("X", "y"),
    );
    assert_eq!(status, 1);
    let line: Value =
        serde_json::from_str(std::fs::read_to_string(log).unwrap().lines().next().unwrap()).unwrap();
    assert!(line["level"] == "error" && line["msg"].as_str().unwrap().contains("does not exist"));
    for bad in ["a/b", "..", "", "a b"] {
        assert_ne!(bundle.output(&["state", bad]).0, 0);
    }
    let version = finished(std::process::Command::new(RUNC).arg("--version")).1;
    assert!(version.contains("runc version") && version.contains("spec: 1."), "{version}");
    let features: Value = serde_json::from_str(&bundle.must(&["features"])).unwrap();
    assert!(features["linux"]["namespaces"].as_array().unwrap().iter().any(|kind| kind == "time"));
}
