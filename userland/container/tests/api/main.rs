//! The Docker Engine API, as the stock `docker` command uses it: each test is a script of its commands with their
//! effects. The server and a registry live in a network namespace of their own.
//!
//! Needs root and the packages busybox-static, umoci, skopeo, docker-registry and iproute2, and a `docker` command;
//! where there is none it is taken from Debian's package docker.io, without installing that.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod beside;
mod changing;
mod copying;
mod faults;
mod joining;
mod sharing;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const IMAGE: &str = "127.0.0.1:5000/busybox";

/// A registry's storage with the image, made once for all tests.
fn storage() -> &'static Path {
    static STORAGE: OnceLock<PathBuf> = OnceLock::new();
    STORAGE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("api-registry-{}", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu/fixtures/busybox-image");
        let made = Command::new(script).arg(&dir).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        dir
    })
}

/// The stock command: the one that is installed, or Debian's.
fn docker() -> &'static Path {
    static DOCKER: OnceLock<PathBuf> = OnceLock::new();
    DOCKER.get_or_init(|| {
        let known = ["/usr/local/bin/docker", "/usr/bin/docker"].map(PathBuf::from);
        known.into_iter().find(|path| path.exists()).unwrap_or_else(|| debians().join("usr/bin/docker"))
    })
}

/// The files of Debian's package docker.io, which is not installed for that.
fn debians() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker.io");
        if !dir.join("usr/sbin/dockerd").exists() {
            std::fs::create_dir_all(&dir).unwrap();
            let script = "apt-get download docker.io && dpkg-deb -x docker.io_*.deb .";
            let got = Command::new("sh").args(["-c", script]).current_dir(&dir).status().unwrap();
            assert!(got.success(), "docker.io cannot be downloaded");
        }
        dir
    })
}

/// A machine with a server on it.
struct World {
    dir: tempfile::TempDir,
    namespace: String,
    registry: Child,
    server: Child,
}

impl World {
    fn new() -> World {
        World::served_by(serve)
    }

    /// A machine with this server on it, which is told its network namespace and its directory.
    fn served_by(serve: impl Fn(&str, &Path) -> Child) -> World {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("api{}w{number}", std::process::id());
        for command in [format!("netns add {namespace}"), format!("-n {namespace} link set lo up")] {
            assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success());
        }
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n",
            storage().display()
        );
        std::fs::write(&config, text).unwrap();
        let mut registry = inside(&namespace, "docker-registry");
        registry.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = registry.spawn().unwrap();
        let server = serve(&namespace, dir.path());
        let world = World { dir, namespace, registry, server };
        world.until("the registry answers", || world.docker(&["pull", IMAGE]).0 == 0);
        world
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(docker());
        command.env("DOCKER_HOST", format!("unix://{}/docker.sock", self.dir.path().display()));
        command.env("DOCKER_CONFIG", self.dir.path()).args(args).stdin(Stdio::null());
        command
    }

    /// What a command says: exit status, output, error output.
    fn docker(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// The output of a command that must do.
    fn done(&self, args: &[&str]) -> String {
        let (status, output, error) = self.docker(args);
        assert_eq!(status, 0, "docker {args:?}: {error}");
        output
    }

    /// What the server tells of the last hour, one action a line.
    fn events(&self, filter: &str) -> String {
        let until_now = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Action}}", "--filter"];
        self.done(&[&until_now[..], &[filter]].concat())
    }

    /// What a command says on standard error that must not do.
    fn refused(&self, args: &[&str]) -> String {
        let (status, output, error) = self.docker(args);
        assert_ne!(status, 0, "docker {args:?}: {output}");
        error
    }

    fn with_input(&self, args: &[&str], input: &str) -> (i32, String) {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap())
    }

    fn until(&self, what: &str, there: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !there() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn serve(namespace: &str, dir: &Path) -> Child {
    let mut server = inside(namespace, env!("CARGO_BIN_EXE_container-dockerd"));
    server.arg("--store").arg(dir.join("store")).arg("--state").arg(dir.join("run/containers"));
    std::fs::create_dir_all(dir.join("run")).unwrap();
    server.arg("-H").arg(format!("unix://{}/docker.sock", dir.display()));
    let server = server.stdin(Stdio::null()).spawn().unwrap();
    comes_up(dir);
    server
}

fn comes_up(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::os::unix::net::UnixStream::connect(dir.join("docker.sock")).is_err() {
        assert!(Instant::now() < deadline, "the server does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let all = self.docker(&["ps", "-aq"]).1;
        for id in all.lines() {
            self.docker(&["rm", "-f", id]);
        }
        for child in [&mut self.server, &mut self.registry] {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

const COUNTS: &str = "trap 'exit 3' TERM; i=0; while true; do echo $i; i=$((i+1)); sleep 0.1; done";

#[test]
fn images_come_get_names_and_go() {
    let world = World::new();
    assert!(
        world
            .done(&["version", "-f", "{{.Server.Platform.Name}} {{.Server.MinAPIVersion}}"])
            .contains("Corten 1.24")
    );
    assert!(world.done(&["pull", IMAGE]).contains("Image is up to date"));
    assert!(world.done(&["images"]).contains(IMAGE));
    world.done(&["tag", IMAGE, "mine:1"]);
    assert_eq!(world.done(&["images", "-q", "--filter", "reference=mi*"]).lines().count(), 1);
    assert!(world.done(&["history", "-q", "mine:1"]).contains("<missing>"));
    assert!(world.done(&["inspect", "-f", "{{.Os}}", "mine:1"]).contains("linux"));
    world.done(&["tag", IMAGE, "127.0.0.1:5000/mine:2"]);
    let told = world.done(&["push", "127.0.0.1:5000/mine:2"]);
    assert!(told.contains("The push refers to repository [127.0.0.1:5000/mine]"), "{told}");
    assert!(told.contains("Mounted from busybox") && told.contains("2: digest: sha256:"), "{told}");
    assert!(world.refused(&["push", "127.0.0.1:5000/nothing"]).contains("An image does not exist locally"));
    world.done(&["rmi", "127.0.0.1:5000/mine:2"]);
    assert!(world.done(&["pull", "127.0.0.1:5000/mine:2"]).contains("Downloaded newer image"));
    world.done(&["rmi", "127.0.0.1:5000/mine:2"]);
    assert_eq!(world.done(&["rmi", "mine:1"]), "Untagged: mine:1");
    assert!(world.refused(&["rmi", "mine:1"]).contains("No such image: mine:1"));
    assert!(world.refused(&["pull", "127.0.0.1:5000/nothing"]).contains("nothing"));
    std::fs::write(world.dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    let mut build = world.command(&["build", "."]);
    let told = build.env("DOCKER_BUILDKIT", "0").current_dir(world.dir.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&told.stderr).contains("build with buildah"), "{told:?}");
    assert!(world.done(&["rmi", IMAGE]).contains("Deleted: sha256:"));
    assert_eq!(world.done(&["images", "-q"]), "");
}

#[test]
fn images_are_saved_loaded_imported_and_committed() {
    let world = World::new();
    let file = world.dir.path().join("saved.tar");
    let file = file.to_str().unwrap();
    world.done(&["tag", IMAGE, "mine:1"]);
    world.done(&["save", "-o", file, "mine:1", IMAGE]);
    world.done(&["rmi", "mine:1", IMAGE]);
    assert!(world.done(&["load", "-i", file]).contains("Loaded image: mine:1"));
    std::fs::write(file, &std::fs::read(file).unwrap()[..100_000]).unwrap();
    world.done(&["rmi", "mine:1"]);
    world.done(&["rmi", IMAGE]);
    world.refused(&["load", "-i", file]);
    assert_eq!(world.done(&["images", "-q"]), "");
    world.done(&["pull", IMAGE]);

    world.done(&[
        "run",
        "--name",
        "c",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo x >/added; rm /layer-two",
    ]);
    let id =
        world.done(&["commit", "-m", "note", "-a", "me", "-c", "CMD [\"cat\", \"/added\"]", "c", "made:1"]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(world.done(&["run", "--rm", "--network", "none", "made:1"]), "x");
    assert_eq!(world.docker(&["run", "--rm", "--network", "none", "made:1", "cat", "/layer-two"]).0, 1);
    assert_eq!(world.done(&["inspect", "-f", "{{.Comment}} {{.Author}}", "made:1"]).trim(), "me");
    assert!(world.done(&["history", "made:1"]).contains("note"));

    let tar = world.dir.path().join("root.tar");
    let script = "mkdir -p bin && cp /bin/busybox bin/sh && tar cf ../root.tar .";
    let root = world.dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    assert!(Command::new("sh").args(["-c", script]).current_dir(root).status().unwrap().success());
    world.done(&["import", "-c", "CMD [\"sh\", \"-c\", \"echo imported\"]", tar.to_str().unwrap(), "root:1"]);
    assert_eq!(world.done(&["run", "--rm", "--network", "none", "root:1"]), "imported");
    world.done(&["rm", "c"]);
}

#[test]
fn a_container_runs_in_front_and_its_streams_are_apart() {
    let world = World::new();
    let run =
        ["run", "--name", "one", "--network", "none", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7"];
    assert_eq!(world.docker(&run), (7, "out".into(), "err".into()));
    assert_eq!(world.docker(&["logs", "one"]), (0, "out".into(), "err".into()));
    assert!(world.done(&["ps", "-a"]).contains("Exited (7)"));
    assert_eq!(world.docker(&["wait", "one"]), (0, "7".into(), String::new()));
    assert!(world.refused(&run).contains("Conflict. The container name \"/one\" is already in use"));
    assert!(world.refused(&["kill", "one"]).contains("is not running"));
    let cat = ["run", "-i", "--rm", "--network", "none", IMAGE, "cat"];
    let long = "0123456789abcdef\n".repeat(60_000);
    assert_eq!(world.with_input(&cat, &long), (0, long));
    let missing = world.docker(&["run", "--rm", "--network", "none", IMAGE, "nonesuch"]);
    assert_eq!(missing.0, 127, "{}", missing.2);
    world.done(&["rm", "one"]);
    assert_eq!(world.done(&["ps", "-aq"]), "", "what was to be removed is gone");
    assert!(world.refused(&["inspect", "one"]).contains("No such object"));
}

#[test]
fn a_terminal_has_the_size_of_the_clients() {
    let world = World::new();
    let script = format!(
        "stty rows 33 cols 77; docker run --rm -it --network none {IMAGE} sh -c 'sleep 1; tty; read x; stty size; echo got $x'"
    );
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &script, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    terminal.env("DOCKER_HOST", format!("unix://{}/docker.sock", world.dir.path().display()));
    let path = format!("{}:{}", docker().parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut child = terminal.env("PATH", path).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    stdin.write_all(b"word\n").unwrap();
    let mut seen = String::new();
    child.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "{seen}");
    for wanted in ["/dev/pts/0", "33 77", "got word"] {
        assert!(seen.contains(wanted), "{wanted} is not in {seen}");
    }
}

#[test]
fn a_container_in_the_background_outlives_the_server() {
    let mut world = World::new();
    let id = world.done(&["run", "-d", "--name", "box", "--network", "none", IMAGE, "sh", "-c", COUNTS]);
    assert_eq!(id.len(), 64);
    assert_eq!(
        world.docker(&["exec", "box", "sh", "-c", "echo in; echo bad >&2; exit 5"]),
        (5, "in".into(), "bad".into())
    );
    assert_eq!(world.with_input(&["exec", "-i", "box", "cat"], "hello"), (0, "hello".into()));
    assert!(world.done(&["top", "box"]).contains("sleep 0.1"));
    world.server.kill().unwrap();
    world.server.wait().unwrap();
    world.server = serve(&world.namespace, world.dir.path());
    assert!(world.done(&["ps"]).contains("Up"), "it goes on without a server");

    let mut follow = world.command(&["logs", "-f", "box"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut attached = world
        .command(&["attach", "--no-stdin", "--sig-proxy=false", "box"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    world.done(&["stop", "box"]);
    let mut text = String::new();
    follow.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(follow.wait().unwrap().success());
    let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.len() > 5 && numbers.iter().enumerate().all(|(at, number)| at == *number), "{text}");
    let mut live = String::new();
    attached.stdout.take().unwrap().read_to_string(&mut live).unwrap();
    assert_eq!(attached.wait().unwrap().code(), Some(3));
    assert!(!live.is_empty() && text.ends_with(&live));
    assert_eq!(world.done(&["logs", "--tail", "1", "box"]), numbers.last().unwrap().to_string());

    world.done(&["start", "box"]);
    world.done(&["rename", "box", "chest"]);
    assert!(world.refused(&["rm", "chest"]).contains("container is running"));
    world.done(&["restart", "-t", "5", "chest"]);
    world.done(&["kill", "chest"]);
    assert_eq!(world.done(&["inspect", "-f", "{{.State.ExitCode}}", "chest"]), "137");
    // The client says until which second.
    std::thread::sleep(Duration::from_millis(1100));
    let told = world.events("type=container");
    for action in ["create", "start", "exec_start: cat", "die", "stop", "rename", "restart", "kill"] {
        assert!(told.lines().any(|line| line.starts_with(action)), "{action} is not in {told}");
    }
    world.done(&["rm", "chest"]);
}

#[test]
fn policies_restart_and_stopping_ends_that() {
    let world = World::new();
    world.done(&[
        "run",
        "-d",
        "--name",
        "thrice",
        "--restart",
        "on-failure:2",
        "--network",
        "none",
        IMAGE,
        "false",
    ]);
    world.until("three runs", || {
        world.done(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "thrice"]) == "exited 2"
    });
    world.done(&[
        "run",
        "-d",
        "--name",
        "ever",
        "--restart",
        "always",
        "--network",
        "none",
        IMAGE,
        "sleep",
        "0.1",
    ]);
    world.until("it restarts", || {
        !world.done(&["inspect", "-f", "{{.RestartCount}}", "ever"]).starts_with('0')
    });
    // Whichever step of its lives, or between them, the stop meets.
    for milliseconds in (0..300).step_by(20) {
        std::thread::sleep(Duration::from_millis(milliseconds));
        world.done(&["stop", "-t", "1", "ever"]);
        assert_eq!(world.done(&["inspect", "-f", "{{.State.Status}}", "ever"]), "exited");
        world.done(&["start", "ever"]);
    }
    world.done(&["rm", "-f", "ever"]);
    assert_eq!(world.done(&["ps", "-aq", "--filter", "name=ever"]), "");
    let small =
        ["run", "--name", "talk", "--log-opt", "max-size=2k", "--network", "none", IMAGE, "seq", "1000"];
    world.done(&small);
    let log = world.done(&["inspect", "-f", "{{.LogPath}}", "talk"]);
    assert!(std::fs::metadata(log).unwrap().len() <= 2048);
}

#[test]
fn volumes_keep_what_is_written() {
    let world = World::new();
    world.done(&["volume", "create", "--label", "a=b", "data"]);
    world.done(&["run", "--rm", "--network", "none", "-v", "data:/d", IMAGE, "sh", "-c", "echo kept > /d/f"]);
    let read = ["run", "--name", "reader", "--network", "none", "-v", "data:/d:ro", IMAGE, "cat", "/d/f"];
    assert_eq!(world.done(&read), "kept");
    assert!(world.refused(&["volume", "rm", "data"]).contains("volume is in use"));
    world.done(&["rm", "reader"]);
    assert_eq!(world.done(&["volume", "ls", "-q", "--filter", "label=a=b"]), "data");
    world.done(&["volume", "rm", "data"]);
    assert!(world.refused(&["volume", "create", "../etc"]).contains("invalid characters"));
    assert!(world.done(&["system", "df"]).contains("Images"));
}

#[test]
fn networks_carry_names_and_published_ports() {
    let world = World::new();
    world.done(&["network", "create", "--subnet", "10.77.0.0/24", "back"]);
    assert!(world.refused(&["network", "create", "back"]).contains("already exists"));
    let serve = "while true; do echo served | nc -l -p 80; done";
    world.done(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "back",
        "-p",
        "8080:80",
        IMAGE,
        "sh",
        "-c",
        serve,
    ]);
    assert_eq!(world.done(&["port", "web"]), "80/tcp -> 0.0.0.0:8080");
    let address = world.done(&["inspect", "-f", "{{.NetworkSettings.Networks.back.IPAddress}}", "web"]);
    assert!(address.starts_with("10.77.0."), "{address}");
    world.until("it listens", || {
        world.docker(&["run", "--rm", "--network", "back", IMAGE, "sh", "-c", "nc web 80 </dev/null"]).1
            == "served"
    });
    assert!(
        world.refused(&["run", "--rm", "-p", "8080:80", IMAGE, "true"]).contains("port is already allocated")
    );
    assert!(world.refused(&["network", "rm", "back"]).contains("active endpoints"));
    world.done(&["rm", "-f", "web"]);
    world.done(&["network", "rm", "back"]);
    assert!(
        world
            .refused(&["run", "--rm", "--network", "back", IMAGE, "true"])
            .contains("network back not found")
    );
}

#[test]
fn requests_of_no_sense_are_answered_with_why() {
    let world = World::new();
    let ask = |request: &str| {
        let mut stream =
            std::os::unix::net::UnixStream::connect(world.dir.path().join("docker.sock")).unwrap();
        // A request that is too large is answered before all of it is taken.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let get = |path: &str| ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let post = |path: &str, body: &str| {
        let length = body.len();
        ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    };
    assert!(get("/v1.99/version").contains("client version 1.99 is too new"));
    assert!(get("/containers/..%2f..%2fetc/json").starts_with("HTTP/1.1 404"));
    assert!(get("/volumes/..%2f..").starts_with("HTTP/1.1 404"));
    assert!(get("/containers/json?filters=x").starts_with("HTTP/1.1 400"));
    assert!(get("/images/%ff/json").starts_with("HTTP/1.1 400"));
    assert!(post("/containers/create", "{").starts_with("HTTP/1.1 400"));
    assert!(
        post("/containers/create?name=../x", &format!("{{\"Image\":\"{IMAGE}\"}}"))
            .contains("Invalid container name")
    );
    let large = format!("{{\"Image\":\"{}\"}}", "a".repeat(5 << 20));
    assert!(!post("/containers/create", &large).starts_with("HTTP/1.1 2"));
    let attach =
        "POST /containers/none/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let mut stream = std::os::unix::net::UnixStream::connect(world.dir.path().join("docker.sock")).unwrap();
    stream.write_all(attach.as_bytes()).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 404");
}
