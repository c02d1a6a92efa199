//! Full disks, sudden deaths and registries that mean ill: nothing half is taken for whole, and nothing leaks.

use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::world::{World, done, refused, response, server};

#[test]
fn a_full_disk_ends_a_pull_cleanly_and_the_next_succeeds() {
    let world = World::new();
    let image = world.name("busybox");
    // The image has two megabytes.
    let script = "mkdir -p \"$0\" && mount -t tmpfs -o size=1m none \"$0\" && ! \"$@\" 2>\"$0.error\" && \
                  find \"$0/images\" \"$0/blobs\" \"$0/tmp\" -type f >\"$0.left\" && \
                  mount -o remount,size=64m \"$0\" && \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(world.path("store"));
    command.arg(env!("CARGO_BIN_EXE_container-docker")).arg("--store").arg(world.path("store"));
    command.arg("--state").arg(world.path("state")).args(["pull", &image]);
    let told = done(&mut command);
    assert!(told.contains("Status: Downloaded newer image"), "{told}");
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    assert!(read("store.error").contains("No space left on device"), "{}", read("store.error"));
    assert_eq!(read("store.left"), "", "whole layers may stay for the next attempt, nothing else");
}

#[test]
fn a_killed_pull_leaves_nothing_half() {
    let world = World::new();
    let image = world.name("busybox");
    let mut whole = 0;
    for delay in [2, 10, 20, 30, 40, 60, 90, 150, 400] {
        let mut pull = world.docker(&["pull", &image]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = pull.kill();
        pull.wait().unwrap();
        world.done(&["gc"]);
        assert_eq!(std::fs::read_dir(world.path("store/tmp")).unwrap().count(), 0);
        if world.done(&["images", "-q"]).is_empty() {
            assert_eq!(std::fs::read_dir(world.path("store/layers")).unwrap().count(), 0);
        } else {
            // It can be made into an archive, which checks each of its bytes.
            world.done(&["save", "-o", world.path("saved.tar").to_str().unwrap(), &image]);
            whole += 1;
        }
        world.done(&["image", "prune", "-a"]);
    }
    world.done(&["pull", &image]);
    eprintln!("{whole} of 9 pulls were whole before they were killed");
}

#[test]
fn a_killed_commit_leaves_nothing_half() {
    let world = World::new();
    let image = world.name("busybox");
    world.done(&["pull", &image]);
    let script = "i=0; while [ $i -lt 300 ]; do cp /bin/busybox /copy$i; i=$((i+50)); done";
    world.done(&["run", "--name", "c", "--network", "none", &image, "sh", "-c", script]);
    for delay in [2, 10, 20, 40, 80] {
        let mut commit = world.docker(&["commit", "c", "made"]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay));
        let _ = commit.kill();
        commit.wait().unwrap();
        world.done(&["gc"]);
        assert_eq!(std::fs::read_dir(world.path("store/tmp")).unwrap().count(), 0);
        if !world.done(&["images", "-q", "made"]).is_empty() {
            world.done(&["save", "-o", world.path("saved.tar").to_str().unwrap(), "made"]);
            world.done(&["rmi", "made"]);
        }
    }
    world.done(&["commit", "c", "made"]);
    let compare = ["run", "--rm", "--network", "none", "made", "cmp", "/bin/busybox", "/copy250"];
    world.done(&compare);
    world.done(&["rm", "c"]);
}

/// Credentials for this host, where the command looks for them.
fn log_in(world: &World, host: &str) {
    std::fs::create_dir_all(world.path("docker")).unwrap();
    let auths = format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#);
    std::fs::write(world.path("docker/config.json"), auths).unwrap();
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_server() {
    let world = World::new();
    let (send, thief_saw) = channel();
    let thief = server(move |request| {
        send.send(request.to_ascii_lowercase()).unwrap();
        response("404 Not Found", "")
    });
    let (send, registry_saw) = channel();
    let registry = server(move |request| {
        let lower = request.to_ascii_lowercase();
        send.send(lower.clone()).unwrap();
        if !lower.contains("authorization:") {
            return response("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n");
        }
        if request.starts_with("GET /v2/ ") {
            return response("200 OK", "");
        }
        response("307 Temporary Redirect", &format!("Location: http://{thief}/stolen\r\n"))
    });
    log_in(&world, &registry);
    refused(&mut world.docker(&["pull", &format!("{registry}/box")]));
    assert!(registry_saw.try_iter().any(|request| request.contains("authorization: basic bwu6c2vjcmv0")));
    let stolen: Vec<String> = thief_saw.try_iter().collect();
    assert!(stolen.iter().any(|request| request.starts_with("get /stolen")), "{stolen:?}");
    assert!(!stolen.iter().any(|request| request.contains("authorization")), "{stolen:?}");
}

#[test]
fn a_token_is_got_for_what_is_wanted_and_again_when_it_has_expired() {
    let world = World::new();
    let (send, asked) = channel();
    let token = server(move |request| {
        send.send(request.lines().next().unwrap_or_default().to_owned()).unwrap();
        let count = request.len();
        let body = format!(r#"{{"token":"t{count}","expires_in":60}}"#);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    });
    let uses = std::sync::atomic::AtomicUsize::new(0);
    let registry = server(move |request| {
        let lower = request.to_ascii_lowercase();
        let used = uses.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let head = lower.starts_with("head");
        // The third request finds its token expired.
        if !lower.contains("authorization: bearer t") || used == 2 {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{token}/t\",service=\"s\"\r\n");
            return response("401 Unauthorized", &challenge);
        }
        if head { response("200 OK", "") } else { response("201 Created", "") }
    });
    log_in(&world, &registry);
    world.done(&["pull", &world.name("busybox")]);
    let target = format!("{registry}/deep/box");
    world.done(&["tag", &world.name("busybox"), &target]);
    world.done(&["push", &target]);
    let asked: Vec<String> = asked.try_iter().collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    for line in asked {
        assert!(
            line.starts_with("GET /t?scope=repository:deep/box:pull%2Cpush")
                || line.starts_with("GET /t?scope=repository:deep/box:pull,push"),
            "{line}"
        );
        assert!(line.contains("service=s"), "{line}");
    }
}

#[test]
fn a_mirror_is_asked_first_for_docker_hub_and_its_failure_is_no_end() {
    let world = World::new();
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(r#"{{"registry-mirrors":["http://{dead}","http://{}"]}}"#, world.host);
    // Where the hub has it, the repository is library/busybox.
    let (from, to) = (world.name("busybox"), world.name("library/busybox"));
    let both = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
    world.skopeo(&["copy", both[0], both[1], &from, &to]);
    let told = done(&mut world.docker_with(&[("docker/daemon.json", &text)], &["pull", "busybox"]));
    assert!(told.contains("docker.io/library/busybox:latest"), "{told}");
}
