//! The `docker` face against Debian's docker-registry: pull, run, kill, exec, remove, with a busybox image
//! that umoci makes. Needs root and the packages busybox-static, umoci, skopeo and docker-registry; says so
//! and passes where they are missing.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A registry's storage with the image, made once for all tests.
fn storage() -> Option<&'static Path> {
    static STORAGE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = STORAGE.get_or_init(|| {
        let tools = ["/usr/bin/umoci", "/usr/bin/skopeo", "/usr/bin/docker-registry", "/bin/busybox"];
        if !rustix::process::geteuid().is_root() || !tools.iter().all(|tool| Path::new(tool).exists()) {
            eprintln!("skipped: needs root, umoci, skopeo, docker-registry and busybox-static");
            return None;
        }
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("registry-{}", std::process::id()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu/fixtures/busybox-image");
        let made = Command::new(script).arg(&dir).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(dir)
    });
    made.as_deref()
}

/// A registry, a store, and the command.
struct World {
    dir: tempfile::TempDir,
    namespace: String,
    registry: Child,
    image: String,
}

/// A network namespace of its own: bridges, and rules for them, are not for the machine that tests.
fn namespace() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("cdocker{}n{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    for command in [format!("netns add {name}"), format!("-n {name} link set lo up")] {
        assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success());
    }
    name
}

fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

impl World {
    fn new() -> Option<Self> {
        let storage = storage()?;
        let dir = tempfile::tempdir().unwrap();
        let namespace = namespace();
        let config = dir.path().join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n",
            storage.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut registry = inside(&namespace, "docker-registry");
        registry.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = registry.spawn().unwrap();
        let world = Self { dir, namespace, registry, image: "127.0.0.1:5000/busybox".to_owned() };
        let listens = || {
            let mut ask = inside(&world.namespace, "busybox");
            ask.args(["nc", "-w", "1", "127.0.0.1", "5000"]).stdin(Stdio::null()).stderr(Stdio::null());
            ask.status().unwrap().success()
        };
        while !listens() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Some(world)
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut command = inside(&self.namespace, env!("CARGO_BIN_EXE_container-docker"));
        command.arg("--store").arg(self.dir.path().join("store"));
        command.arg("--state").arg(self.dir.path().join("run/state")).args(args).stdin(Stdio::null());
        command
    }

    fn output(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.docker(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        (status.code().unwrap_or(-1), text(stdout), text(stderr))
    }

    /// What a shell script in a new container prints, and its exit status.
    fn script(&self, options: &[&str], script: &str) -> (i32, String, String) {
        let mut args = vec!["run", "--rm"];
        args.extend(options);
        args.extend([self.image.as_str(), "sh", "-c", script]);
        self.output(&args)
    }

    /// A container that runs until it is ended; returns when it has begun.
    fn running(&self, name: &str) -> Child {
        let script = "trap 'exit 0' INT TERM; echo ready; while true; do sleep 0.1; done";
        let mut command = self.docker(&["run", "--name", name, &self.image, "sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        // It may say so before its parent has noted that it runs.
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.output(&["ps"]).1.contains(name) {
            assert!(Instant::now() < deadline, "{name} does not come to run");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for id in self.output(&["ps", "-aq"]).1.lines() {
            self.output(&["rm", "-f", id]);
        }
        let _ = self.registry.kill();
        let _ = self.registry.wait();
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

#[test]
fn an_image_is_pulled_and_runs_isolated() {
    let Some(world) = World::new() else { return };
    let (status, told, _) = world.output(&["pull", &world.image]);
    assert_eq!(status, 0);
    assert!(told.contains("Status: Downloaded newer image"), "{told}");
    assert!(world.output(&["pull", &world.image]).1.contains("Image is up to date"));

    let seen = world.script(
        &["--hostname", "box"],
        "cat /proc/1/comm; hostname; cat /layer-two; ls /layer-one-only; exit 7",
    );
    assert_eq!((seen.0, seen.1.as_str()), (7, "sh\nbox\ntwo"));
    assert!(seen.2.contains("/layer-one-only"), "the second layer removed it");

    let (_, status, _) = world.script(&[], "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status");
    assert_eq!(status, "CapEff:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2");
    // Made, removed at its end: nothing is left.
    assert_eq!(world.output(&["ps", "-aq"]).1, "");
}

#[test]
fn the_machine_is_out_of_reach() {
    let Some(world) = World::new() else { return };
    let (_, fds, _) = world.script(&[], "ls /proc/self/fd");
    assert_eq!(fds, "0\n1\n2\n3", "3 is the directory that ls reads");
    let attacks = [
        "mknod /disk b 254 0 && head -c 1 /disk",
        "mknod /dev/disk b 254 0 && head -c 1 /dev/disk",
        "echo 1 > /proc/sys/kernel/panic",
        "echo c > /proc/sysrq-trigger",
        "mount -t tmpfs none /mnt",
        "unshare -U true",
        "test -s /proc/kcore || test -s /proc/keys",
        "ls /sys/firmware | grep .",
        "touch /sys/x",
    ];
    for attack in attacks {
        assert_ne!(world.script(&[], attack).0, 0, "{attack}");
    }
    let before = std::fs::metadata("/dev/null").unwrap();
    world.script(&[], "chmod 600 /dev/null; chown 5 /dev/null");
    let after = std::fs::metadata("/dev/null").unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()));
    // CVE-2019-5736: our own program, where it is a process of the container, can be neither read nor written.
    for attack in ["head -c 1 /proc/1/exe", ": >> /proc/1/exe", "readlink /proc/1/fd/3"] {
        assert_ne!(world.script(&["--init"], attack).0, 0, "{attack}");
    }
    // CVE-2024-21626: a working directory that is a descriptor of the runtime.
    for number in 3..12 {
        let dir = format!("/proc/self/fd/{number}");
        let (status, seen, _) = world.script(&["-w", &dir], "cat ../../../../etc/hostname");
        assert!(status != 0 && seen.is_empty(), "{dir}");
    }
}

#[test]
fn options_have_their_effect() {
    let Some(world) = World::new() else { return };
    let told = |options: &[&str], script: &str| world.script(options, script).1;
    assert_eq!(told(&["-e", "A=b", "-w", "/new/dir"], "echo $A $PWD $HOME"), "b /new/dir /root");
    assert_eq!(told(&["-u", "www-data"], "id -u; id -G; echo $HOME"), "33\n33 4\n/var/www");
    assert_eq!(
        told(&["-u", "7:8"], "id -u; id -g; grep CapEff /proc/self/status"),
        "7\n8\nCapEff:\t0000000000000000"
    );
    assert_ne!(world.script(&["-u", "stranger"], "true").0, 0);
    assert_ne!(world.script(&["--read-only"], "touch /x").0, 0);
    assert_eq!(told(&["--cap-drop", "ALL"], "grep CapEff /proc/self/status"), "CapEff:\t0000000000000000");
    assert_eq!(told(&["--ulimit", "nofile=77"], "ulimit -n"), "77");
    assert_eq!(told(&["--init"], "cat /proc/1/comm | grep -c '^sh$'; exit 4"), "0");
    assert_eq!(world.script(&["--init"], "exit 4").0, 4);
    let volume = world.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "shared\n").unwrap();
    let mapping = format!("{}:/data:ro", volume.display());
    assert_eq!(told(&["-v", &mapping], "cat /data/file; touch /data/x || echo refused"), "shared\nrefused");
    for (option, why) in [
        (["-p", "80:80:80:80"], "too many colons"),
        (["-v", "a/b:/c"], "name of a volume"),
        (["--ipc", "container:x"], "No such container"),
        (["--pid", "elsewhere"], "invalid PID mode"),
        (["--rm=perhaps", "--init"], "invalid argument"),
    ] {
        let (status, _, said) = world.output(&["run", option[0], option[1], &world.image, "true"]);
        assert!(status == 125 && said.contains(why), "{option:?}: {said}");
    }
}

/// As Docker's own command reads them.
#[test]
fn options_are_written_in_any_way() {
    let Some(world) = World::new() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let publish = format!("-p={port}:80");
    for options in [
        [&publish, "-eA=b", "--rm=false"],
        ["-ieA=b", "-w=/tmp", "--init=false"],
        ["--env=A=b", "--read-only=true", "-t=0"],
    ] {
        assert_eq!(world.script(&options, "echo $A").1, "b", "{options:?}");
    }
    assert_eq!(world.output(&["ps", "-aq"]).1.lines().count(), 1, "one was not to be removed");
    assert_eq!(world.output(&["run", "--rm", &world.image, "echo", "-p=1", "--rm"]).1, "-p=1 --rm");
    let file = world.dir.path().join("cid").display().to_string();
    let pid = ["--pid=host", "--cidfile", &file];
    let here = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    assert_eq!(world.script(&pid, "readlink /proc/self/ns/pid").1, here);
    assert_eq!(std::fs::read_to_string(&file).unwrap().len(), 64);
    assert_eq!(world.script(&pid, "true").0, 125, "the file is there");
    assert_eq!(world.script(&["--pull", "always"], "true").0, 0);
    assert_eq!(world.output(&["run", "--pull=never", "nowhere:1"]).0, 125);
}

#[test]
fn exit_statuses_are_dockers() {
    let Some(world) = World::new() else { return };
    let status = |program: &str| world.output(&["run", "--rm", &world.image, program]).0;
    assert_eq!(status("/no/such"), 127);
    assert_eq!(status("nosuch"), 127);
    assert_eq!(status("/etc/passwd"), 126);
    assert_eq!(status("/etc"), 126);
    assert_eq!(status("true"), 0);
    assert_eq!(
        world.script(&[], "kill -9 $$ ; sleep 1; kill -9 -1; exit 3").0,
        3,
        "PID 1 cannot be killed from within"
    );
    assert_eq!(world.output(&["run", "--rm", "--bad-flag", &world.image]).0, 125);
}

#[test]
fn a_unit_can_kill_remove_and_start_again() {
    let Some(world) = World::new() else { return };
    assert_ne!(world.output(&["kill", "busybox1"]).0, 0, "nothing there yet");
    let mut first = world.running("busybox1");
    assert!(world.output(&["ps"]).1.contains("busybox1"));
    assert_eq!(world.output(&["rm", "busybox1"]).0, 1, "it runs");
    assert_eq!(
        world.output(&["run", "--name", "busybox1", &world.image, "true"]).0,
        125,
        "the name is taken"
    );
    let (status, seen, _) = world.output(&["exec", "busybox1", "sh", "-c", "cat /proc/1/comm; exit 3"]);
    assert_eq!((status, seen.as_str()), (3, "sh"));
    assert_eq!(world.output(&["kill", "busybox1"]), (0, "busybox1".into(), String::new()));
    assert_eq!(first.wait().unwrap().code(), Some(137));
    assert_eq!(world.output(&["rm", "busybox1"]).0, 0);

    let mut second = world.running("busybox1");
    assert_eq!(world.output(&["stop", "busybox1"]).0, 0);
    assert_eq!(second.wait().unwrap().code(), Some(0), "it heard SIGTERM");
    assert_eq!(world.output(&["rm", "busybox1"]).0, 0);

    let mut asked = world.running("busybox1");
    let parent = rustix::process::Pid::from_child(&asked);
    rustix::process::kill_process(parent, rustix::process::Signal::TERM).unwrap();
    assert_eq!(asked.wait().unwrap().code(), Some(0), "its parent passed SIGTERM on");

    assert_eq!(world.output(&["rm", "busybox1"]).0, 0);
    // Its parent is killed: the kernel takes the container along, a moment later.
    let mut third = world.running("busybox1");
    third.kill().unwrap();
    third.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while !world.output(&["ps", "-a"]).1.contains("Exited (137)") {
        assert!(Instant::now() < deadline, "{}", world.output(&["ps", "-a"]).1);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(world.output(&["rm", "busybox1"]).0, 0);
    assert_eq!(std::fs::read_dir(world.dir.path().join("store/containers")).unwrap().count(), 0);
    assert!(!std::fs::read_to_string("/proc/self/mounts").unwrap().contains("store/containers"));
}

#[test]
fn a_detached_container_outlives_the_command() {
    let Some(world) = World::new() else { return };
    let (status, id, _) =
        world.output(&["run", "-d", "--rm", "--name", "back", &world.image, "sleep", "1000"]);
    assert_eq!((status, id.len()), (0, 64));
    assert!(world.output(&["ps", "-q"]).1.contains(&id[..12]));
    assert_eq!(world.output(&["rm", "-f", "back"]).0, 0);
    assert_eq!(world.output(&["ps", "-aq"]).1, "");
    assert_eq!(world.output(&["run", "-d", "--rm", &world.image, "/no/such"]).0, 127);
}

/// A registry that answers every request with the bytes of `answer`, closing the connection after it.
fn liar(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("127.0.0.1:{}/busybox", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let first =
                String::from_utf8_lossy(&request[..read]).lines().next().unwrap_or_default().to_owned();
            let _ = stream.write_all(&answer(&first));
        }
    });
    image
}

fn http(body: &[u8]) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

#[test]
fn a_lying_registry_leaves_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pull = |image: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container-docker"));
        command.arg("--store").arg(dir.path().join("store")).arg("--state").arg(dir.path().join("state"));
        let output = command.args(["pull", image]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"{digest}"}},
        "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":2,"digest":"{digest}"}}]}}"#
    );
    let lies =
        liar(move |request| http(if request.contains("manifests") { manifest.as_bytes() } else { b"{}" }));
    let (status, why) = pull(&lies);
    assert!(status == Some(1) && why.contains("something else than asked for"), "{why}");
    let (_, why) = pull(&format!("{lies}@{digest}"));
    assert!(why.contains("something else than asked for"), "{why}");
    let rubbish = liar(|_| b"\x15\x03\x01 rubbish".to_vec());
    assert_eq!(pull(&rubbish).0, Some(1));
    let endless = liar(|request| {
        let mut answer = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        answer.resize(if request.contains("manifests") { 5 << 20 } else { 100 }, b' ');
        answer
    });
    let (_, why) = pull(&endless);
    assert!(why.contains("more than"), "{why}");
    for name in ["tmp", "layers", "images", "blobs/sha256"] {
        assert_eq!(std::fs::read_dir(dir.path().join("store").join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn networks_are_made_shown_and_removed() {
    let Some(world) = World::new() else { return };
    let (status, id, _) =
        world.output(&["network", "create", "--subnet", "10.77.0.0/24", "--label", "a=b", "back"]);
    assert_eq!((status, id.len()), (0, 64));
    let listed = world.output(&["network", "ls"]).1;
    for row in ["bridge", "host", "none", "back"] {
        assert!(listed.lines().any(|line| line.split_whitespace().nth(1) == Some(row)), "{listed}");
    }
    let told = world.output(&["network", "inspect", "back"]).1;
    for part in ["\"Subnet\": \"10.77.0.0/24\"", "\"Gateway\": \"10.77.0.1\"", "\"a\": \"b\""] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    for (bad, why) in [
        (&["network", "create", "back"][..], "already exists"),
        (&["network", "create", "--subnet", "10.77.0.128/25", "other"], "overlaps"),
        (&["network", "create", "--driver", "overlay", "other"], "not found"),
        (&["network", "create", "../other"], "invalid name"),
        (&["network", "create", "-o", "com.docker.network.bridge.name=../../x", "other"], "invalid name"),
        (
            &["network", "create", "--subnet", "10.78.0.0/24", "--gateway", "10.79.0.1", "other"],
            "not in subnet",
        ),
        (&["network", "rm", "bridge"], "pre-defined"),
        (&["network", "rm", "nothing"], "not found"),
    ] {
        let (status, _, said) = world.output(bad);
        assert!(status != 0 && said.contains(why), "{bad:?}: {status}, {said}");
    }
    assert_eq!(world.output(&["network", "rm", "back"]), (0, "back".into(), String::new()));
}

#[test]
fn a_container_is_on_the_networks_that_it_asks_for() {
    let Some(world) = World::new() else { return };
    assert!(world.script(&[], "ip -4 addr show eth0").1.contains("172.17.0.2/16"), "the default bridge");
    assert!(world.script(&["--network", "none"], "ip addr").1.lines().all(|line| !line.contains("eth0")));
    assert_eq!(world.output(&["network", "create", "--subnet", "10.77.0.0/24", "back"]).0, 0);
    let serve = "while true; do echo served | nc -l -p 80; done";
    let web =
        ["run", "-d", "--name", "web", "--network", "back", "--network-alias", "www", "--ip", "10.77.0.7"];
    let mut web = web.to_vec();
    web.extend(["-p", "127.0.0.1:8080:80", &world.image, "sh", "-c", serve]);
    let (status, _, said) = world.output(&web);
    assert_eq!(status, 0, "{said}");
    let ask =
        || inside(&world.namespace, "busybox").args(["nc", "127.0.0.1", "8080"]).output().unwrap().stdout;
    let deadline = Instant::now() + Duration::from_secs(20);
    while ask() != b"served\n" {
        assert!(Instant::now() < deadline, "nothing is served at the published port");
        std::thread::sleep(Duration::from_millis(100));
    }
    let asks =
        "nc www 80 </dev/null; grep nameserver /etc/resolv.conf; grep db /etc/hosts; cat /etc/hostname";
    let options = ["--network", "back", "--add-host", "db:192.0.2.2", "--hostname", "box"];
    assert_eq!(world.script(&options, asks).1, "served\nnameserver 127.0.0.11\n192.0.2.2\tdb\nbox");
    let address = world.script(&["--network", "container:web"], "ip -4 addr show eth0").1;
    assert!(address.contains("10.77.0.7/24"), "{address}");
    assert!(
        world.script(&["--dns", "192.0.2.9"], "cat /etc/resolv.conf").1.starts_with("nameserver 192.0.2.9")
    );
    for (options, why) in [
        (&["--network", "nothing"][..], "not found"),
        (&["--network", "back", "--ip", "10.77.0.7"], "already in use"),
        (&["--network", "back", "--ip", "10.78.0.7"], "not in"),
        (&["--network", "container:nobody"], "No such container"),
        (&["-p", "127.0.0.1:8080:80"], "already allocated"),
    ] {
        let (status, _, said) = world.script(options, "true");
        assert!(status == 125 && said.contains(why), "{options:?}: {status}, {said}");
    }
    assert_eq!(world.output(&["rm", "-f", "web"]).0, 0);
    assert_eq!(world.output(&["network", "rm", "back"]).0, 0);
    assert_eq!(world.output(&["ps", "-aq"]).1, "", "what did not start is removed");
    let links = inside(&world.namespace, "ip").args(["-o", "link"]).output().unwrap().stdout;
    let links = String::from_utf8(links).unwrap();
    assert!(!links.contains("veth") && !links.contains("br-"), "{links}");
}

#[test]
fn volumes_have_names_or_go_with_their_container() {
    let Some(world) = World::new() else { return };
    let kept = world.dir.path().join("store/volumes");
    let names = || std::fs::read_dir(&kept).map(|all| all.count()).unwrap_or(0);
    assert_eq!(world.script(&["-v", "data:/d"], "echo kept > /d/f").0, 0);
    assert_eq!(
        world.script(&["-v", "data:/d:ro"], "cat /d/f; touch /d/g || echo refused").1,
        "kept\nrefused"
    );
    assert_eq!(names(), 1);
    assert_eq!(world.script(&["-v", "/own"], "touch /own/f && grep -c ' /own ' /proc/mounts").1, "1");
    assert_eq!(names(), 1, "a volume without a name goes with --rm");
    let keeper =
        ["run", "--name", "keeper", "--mount", "type=volume,target=/own", &world.image, "touch", "/own/f"];
    assert_eq!(world.output(&keeper).0, 0);
    assert_eq!((names(), world.script(&["--volumes-from", "keeper:ro"], "ls /own").1.as_str()), (2, "f"));
    assert_eq!(world.output(&["rm", "-v", "keeper"]).0, 0);
    assert_eq!(names(), 1);
    let missing = world.script(&["--mount", "type=bind,source=/no/such,target=/x"], "true");
    assert!(missing.0 == 125 && missing.2.contains("does not exist"), "{}", missing.2);
    let seen = world.script(&["--mount", "type=tmpfs,target=/t,tmpfs-size=1m"], "df -k /t | tail -1").1;
    assert_eq!(seen.split_whitespace().nth(1), Some("1024"), "{seen}");
    let device =
        world.script(&["--device", "/dev/null:/dev/nothing"], "echo x > /dev/nothing; test -c /dev/nothing");
    assert_eq!(device.0, 0, "{}", device.2);
}
