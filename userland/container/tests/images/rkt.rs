//! `rkt`: App Container Images, whom to trust, and the life of a pod.

use std::process::{Command, Stdio};

use crate::world::{World, done, refused};

impl World {
    fn rkt(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container-rkt"));
        command.arg("--store").arg(self.path("store")).arg("--state").arg(self.path("state"));
        command.args(args).stdin(Stdio::null());
        command
    }

    /// An App Container Image of busybox that greets, and what shall lie beside its manifest.
    fn aci(&self, name: &str, more: &str) -> String {
        let dir = self.path("aci");
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("rootfs/bin")).unwrap();
        std::fs::copy("/bin/busybox", dir.join("rootfs/bin/sh")).unwrap();
        let manifest = format!(
            r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"{name}",
            "labels":[{{"name":"version","value":"1.0"}},{{"name":"os","value":"linux"}}],
            "app":{{"exec":["/bin/sh","-c","echo hello $WHO"],"user":"0","group":"0",
            "environment":[{{"name":"WHO","value":"pod"}}],"workingDirectory":"/"}}}}"#
        );
        std::fs::write(dir.join("manifest"), manifest).unwrap();
        let file = self.path("image.aci").to_str().unwrap().to_owned();
        let script = format!("{more}\ntar czf \"$0\" *");
        done(Command::new("sh").args(["-c", &script, &file]).current_dir(dir));
        file
    }
}

const INSECURE: &str = "--insecure-options=image";

#[test]
fn a_pod_lives_through_its_states() {
    let world = World::new();
    let aci = world.aci("example.com/greeter", "");
    let id = done(&mut world.rkt(&[INSECURE, "fetch", &aci]));
    assert!(id.starts_with("sha256-"), "{id}");
    assert!(done(&mut world.rkt(&["image", "list"])).contains("example.com/greeter:1.0"));
    let manifest = done(&mut world.rkt(&["image", "cat-manifest", "example.com/greeter"]));
    assert!(manifest.contains("\"name\": \"example.com/greeter\""), "{manifest}");
    let run = |args: &[&str]| done(&mut world.rkt(&[&["run", "--net=none"], args].concat()));
    assert_eq!(run(&["example.com/greeter:1.0"]), "hello pod");
    assert_eq!(run(&["--set-env=WHO=you", "example.com/greeter"]), "hello you");
    let docker = format!("docker://{}", world.name("busybox"));
    assert_eq!(run(&["--exec=/bin/cat", &docker, "--", "/layer-two"]), "two");

    let file = world.path("uuid");
    let save = format!("--uuid-file-save={}", file.display());
    let uuid = done(&mut world.rkt(&["prepare", "--net=none", &save, &docker, "--", "sh", "-c", "exit 7"]));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), uuid);
    assert!(done(&mut world.rkt(&["status", &uuid])).contains("state=prepared"));
    assert_eq!(world.rkt(&["run-prepared", &uuid]).status().unwrap().code(), Some(7));
    assert!(refused(&mut world.rkt(&["run-prepared", &uuid])).contains("not prepared"));
    let told = done(&mut world.rkt(&["status", "--wait", &uuid[..8]]));
    assert!(told.contains("state=exited") && told.contains("app-busybox=7"), "{told}");
    done(&mut world.rkt(&["rm", &format!("--uuid-file={}", file.display())]));

    let volume = format!("v,kind=host,source={}", world.dir.path().display());
    let wait = [
        "run",
        "--net=none",
        "--volume",
        &volume,
        "--mount",
        "volume=v,target=/v",
        &docker,
        "--",
        "sh",
        "-c",
        "touch /v/ready; trap 'exit 0' TERM; while true; do sleep 0.1; done",
    ];
    let mut running = world.rkt(&wait).spawn().unwrap();
    while !world.path("ready").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let list = done(&mut world.rkt(&["list"]));
    let row = list.lines().find(|line| line.contains("running")).unwrap();
    let uuid = row.split_whitespace().next().unwrap();
    assert_eq!(done(&mut world.rkt(&["enter", uuid, "cat", "/layer-two"])), "two");
    refused(&mut world.rkt(&["rm", uuid]));
    done(&mut world.rkt(&["stop", uuid]));
    assert_eq!(running.wait().unwrap().code(), Some(0));
    assert!(!done(&mut world.rkt(&["gc"])).contains("Garbage"), "not before the grace period is over");
    assert!(done(&mut world.rkt(&["gc", "--grace-period=0s"])).contains("Garbage collecting pod"));
    assert_eq!(done(&mut world.rkt(&["list"])).lines().count(), 1);
    done(&mut world.rkt(&["image", "rm", "example.com/greeter"]));
    refused(&mut world.rkt(&["image", "cat-manifest", "example.com/greeter:1.0"]));
}

#[test]
fn only_a_trusted_key_for_the_name_lets_an_image_in() {
    let world = World::new();
    let aci = world.aci("example.com/signed", "");
    let (key, public) = (world.path("k.key"), world.path("k.pub"));
    done(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key));
    done(Command::new("openssl").args(["pkey", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public));
    let mut sign = Command::new("openssl");
    sign.args(["pkeyutl", "-sign", "-rawin", "-inkey"]).arg(&key).arg("-in").arg(&aci);
    // /etc of its own for each: what `trust add` writes there would be the machine's.
    let with_keys = |prefix: &str, args: &str| {
        let script = format!(
            "mount -t tmpfs none /usr/local && mkdir -p /usr/local/u /usr/local/w && \
             mount -t overlay -o lowerdir=/etc,upperdir=/usr/local/u,workdir=/usr/local/w none /etc && \
             r=\"{} --store {} --state {}\"; $r trust add {prefix} {} && {args}",
            env!("CARGO_BIN_EXE_container-rkt"),
            world.path("store").display(),
            world.path("state").display(),
            public.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]);
        command
    };
    let fetch = format!("$r fetch {aci}");
    assert!(refused(&mut world.rkt(&["fetch", &aci])).contains("no trusted key"));
    assert!(refused(&mut with_keys("--root", &fetch)).contains("no trusted key"), "not signed");
    done(sign.arg("-out").arg(format!("{aci}.sig")));
    let other = refused(&mut with_keys("--prefix example.com/sign", &fetch));
    assert!(other.contains("no trusted key"), "a key for another name: {other}");
    assert_eq!(done(&mut world.rkt(&["image", "list"])).lines().count(), 1);
    let gone = format!("k=$($r trust list | tail -n 1 | sed 's/.* //'); $r trust rm --root $k && {fetch}");
    refused(&mut with_keys("--root", &gone));
    done(&mut with_keys("--prefix example.com", &fetch));
    done(&mut world.rkt(&["image", "rm", "example.com/signed"]));
    let mut bytes = std::fs::read(&aci).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&aci, bytes).unwrap();
    assert!(refused(&mut with_keys("--root", &fetch)).contains("no trusted key"), "tampered");
}

#[test]
fn an_image_that_means_ill_is_refused() {
    let world = World::new();
    let fetch =
        |more: &str| refused(&mut world.rkt(&[INSECURE, "fetch", &world.aci("example.com/bad", more)]));
    assert!(fetch("echo more >other").contains("beside manifest and rootfs"));
    assert!(fetch("rm manifest; ln -s /etc/passwd manifest").contains("no manifest"));
    assert!(fetch("rm -r rootfs; ln -s / rootfs").contains("no rootfs"));
    assert!(fetch("echo '{' >manifest").contains("its manifest"));
    assert!(fetch("sed -i 's/linux/plan9/' manifest").contains("plan9"));
    assert_eq!(done(&mut world.rkt(&["image", "list"])).lines().count(), 1);
    assert_eq!(std::fs::read_dir(world.path("store/tmp")).unwrap().count(), 0);
}
