//! A release comes as a signed file, goes into the slot that does not run, and is booted.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use qemu::{Config, Error, Machine, Result};

use crate::stage::{BOOT, FALLBACK, Stage, play};

const RELEASE: &str = "cat /usr/lib/os-release; sudo update_engine_client -status";

/// Runs a program of this host.
fn host(program: &str, arguments: &[&str]) -> Result<String> {
    let failed = |text: String| Error::Usage(format!("{program} {arguments:?}: {text}"));
    let output = Command::new(program).args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of the stage are text")
}

/// The payload of the release in folder `of`, as a whole or as the difference from another.
fn payload(stage: &Stage, key: &Path, of: &str, from: Option<&str>, name: &str) -> Result<PathBuf> {
    let build = stage.artifacts.directory();
    let folder = |name: &str| build.join(name).display().to_string();
    let output = stage.path(name);
    let of = folder(of);
    let mut arguments = vec!["payload", "--key", text(key), "--of", &of, "--output", text(&output)];
    let from = from.map(folder);
    arguments.extend(from.iter().flat_map(|from| ["--from", from]));
    let builder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("image").join("build");
    host(text(&builder), &arguments)?;
    Ok(output)
}

/// Installs a payload and boots into it.
fn change_over(machine: &mut Machine, payload: &Path, slot: &str, release: &str) -> Result<()> {
    machine.door().copy_to(payload, "/var/tmp/release.payload")?;
    let told = machine.run("sudo update_engine_client -payload /var/tmp/release.payload")?;
    assert!(told.contains(&format!("in slot {slot}")), "{told}");
    machine.ssh("sudo reboot")?;
    machine.wait_for("the other release", BOOT, |machine| {
        machine.ssh(RELEASE).is_ok_and(|output| {
            output.stdout.contains(release) && output.stdout.contains(&format!("BOOTED_SLOT={slot}"))
        })
    })?;
    machine.wait_for_success("systemctl is-active update-engine-mark-good.service", BOOT)
}

#[test]
fn a_signed_release_is_installed_there_and_back_again() -> Result<()> {
    play("update", |stage| {
        let (key, other) = (stage.path("key.pem"), stage.path("other.pem"));
        for key in [&key, &other] {
            host("openssl", &["genpkey", "-algorithm", "ed25519", "-out", text(key)])?;
        }
        let public = host("openssl", &["pkey", "-in", text(&key), "-pubout"])?;
        let full = payload(stage, &key, "next", None, "full.payload")?;
        let back = payload(stage, &key, "", Some("next"), "back.payload")?;

        let mut machine = stage.boot(&Config::disk(stage.fresh_disk()?))?;
        machine.door().copy_to(&full, "/var/tmp/full.payload")?;
        let install = "sudo update_engine_client -payload /var/tmp/full.payload";
        let refused = |machine: &Machine, why: &str| -> Result<()> {
            let output = machine.ssh(install)?;
            assert!(output.code == 1 && output.stderr.contains(why), "{output:?}");
            let status = machine.run("sudo update_engine_client -status")?;
            assert!(status.contains("NEXT_SLOT=a") && status.contains("SLOT_B_PRIORITY=0"), "{status}");
            Ok(())
        };
        // Everybody may ask; the slots are root's to see.
        let status = machine.run("update_engine_client -status")?;
        assert!(status.contains("CURRENT_OP=UPDATE_STATUS_IDLE\nNEW_VERSION=\n"), "{status}");
        assert!(status.contains("BOOTED_SLOT=a") && !status.contains("NEXT_SLOT"), "{status}");
        refused(&machine, "there is no key")?;
        let trust = |name: &str, key: &str| {
            format!(
                "sudo mkdir -p /etc/corten/update-keys; echo '{key}' | sudo tee /etc/corten/update-keys/{name}.pem"
            )
        };
        let stranger = host("openssl", &["pkey", "-in", text(&other), "-pubout"])?;
        machine.run(&trust("stranger", &stranger))?;
        refused(&machine, "not signed by a key")?;
        machine.run(&trust("ours", &public))?;

        // A byte that is wrong is found where it comes; the slot that was begun is not booted.
        let mut damaged = fs::read(&full).map_err(|error| Error::Usage(error.to_string()))?;
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        fs::write(stage.path("damaged"), damaged).map_err(|error| Error::Usage(error.to_string()))?;
        machine.door().copy_to(&stage.path("damaged"), "/var/tmp/full.payload")?;
        refused(&machine, "damaged")?;

        machine.run("echo kept | sudo tee /etc/kept /var/kept")?;
        change_over(&mut machine, &full, "b", "next")?;
        // The difference begins from the release that runs, and is small.
        let bytes = fs::metadata(&back).map_err(|error| Error::Usage(error.to_string()))?.len();
        assert!(bytes < 100 << 10, "{bytes} bytes for another version of the same");
        change_over(&mut machine, &back, "a", "VERSION_ID=\"0.1.0\"")?;
        assert_eq!(machine.run("cat /etc/kept /var/kept")?, "kept\nkept\n");
        Ok(())
    })
}

/// The machine trusts this key.
fn trust(machine: &Machine, key: &Path) -> Result<()> {
    let public = host("openssl", &["pkey", "-in", text(key), "-pubout"])?;
    let line = format!(
        "sudo mkdir -p /etc/corten/update-keys; echo '{public}' | sudo tee /etc/corten/update-keys/ours.pem"
    );
    machine.run(&line).map(drop)
}

fn new_key(stage: &Stage) -> Result<PathBuf> {
    let key = stage.path("key.pem");
    host("openssl", &["genpkey", "-algorithm", "ed25519", "-out", text(&key)])?;
    Ok(key)
}

/// The update server of this build, on this host.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// How machines in QEMU see this host.
    const HOST: &str = "10.0.2.2";

    fn start(stage: &Stage, more: &[&str]) -> Result<Server> {
        let failed = |error: std::io::Error| Error::Usage(format!("corten-update-server: {error}"));
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(failed)?.port();
        let process = Command::new(stage.artifacts.file("bin/corten-update-server")?)
            .arg("--data")
            .arg(stage.path("server"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(more)
            .spawn()
            .map_err(failed)?;
        let server = Server { process, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(Error::Usage("corten-update-server does not listen".to_owned()))
    }

    /// What it answers to an operator on this host; without TLS only.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<String> {
        let exchange = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            let length = body.len();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer)
        };
        let answer = exchange().map_err(|error| Error::Usage(format!("{method} {path}: {error}")))?;
        if answer.starts_with("HTTP/1.1 200") {
            Ok(answer)
        } else {
            Err(Error::Usage(format!("{method} {path}: {answer}")))
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_gives_a_machine_its_release_over_tls() -> Result<()> {
    play("update-server", |stage| {
        let key = new_key(stage)?;
        let full = payload(stage, &key, "next", None, "full.payload")?;
        let bytes = fs::read(&full).map_err(|error| Error::Usage(error.to_string()))?;
        let (certificate, private) = (stage.path("server.pem"), stage.path("server.key"));
        let plain = stage.path("plain.cnf");
        fs::write(&plain, "[req]\ndistinguished_name=name\n[name]\n")
            .map_err(|error| Error::Usage(error.to_string()))?;
        let name = format!("subjectAltName=IP:{}", Server::HOST);
        host(
            "openssl",
            &[
                "req",
                "-config",
                text(&plain),
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-keyout",
                text(&private),
                "-out",
                text(&certificate),
                "-subj",
                "/CN=updates",
                "-addext",
                &name,
            ],
        )?;
        let operator = Server::start(stage, &[])?;
        operator.ask("PUT", "/api/v1/packages/next", br#"{"version":"next"}"#)?;
        operator.ask("PUT", "/api/v1/packages/next/payload", &bytes)?;
        operator.ask("PUT", "/api/v1/channels/stable", br#"{"version":"next"}"#)?;
        operator.ask("PUT", "/api/v1/groups/stable", br#"{"channel":"stable"}"#)?;
        drop(operator);

        let server = Server::start(stage, &["--certificate", text(&certificate), "--key", text(&private)])?;
        let mut machine = stage.boot(&Config::disk(stage.fresh_disk()?))?;
        trust(&machine, &key)?;
        machine.door().copy_to(&certificate, "/var/tmp/server.pem")?;
        let configuration = format!(
            "GROUP=stable\nREBOOT_STRATEGY=off\nSERVER=https://{}:{}/v1/update/\nSERVER_CERTIFICATES=/etc/corten/server.pem",
            Server::HOST,
            server.port
        );
        machine.run(&format!(
            "sudo cp /var/tmp/server.pem /etc/corten/server.pem; sudo mkdir -p /etc/coreos; \
             echo '{configuration}' | sudo tee /etc/coreos/update.conf; sudo systemctl start update-engine.service"
        ))?;
        // The operator needs no sudo for that.
        let told = machine.run("update_engine_client -update")?;
        assert!(told.contains("Release next is installed"), "{told}");
        let status = machine.run("update_engine_client -status")?;
        assert!(
            status.contains("CURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT\nNEW_VERSION=next\n"),
            "{status}"
        );
        machine.ssh("sudo reboot")?;
        machine.wait_for("the other release", BOOT, |machine| {
            machine.ssh(RELEASE).is_ok_and(|output| output.stdout.contains("BOOTED_SLOT=b"))
        })?;
        machine.wait_for_success("systemctl is-active update-engine-mark-good.service", BOOT)?;
        let told = machine.run("update_engine_client -update")?;
        assert!(told.contains("There is no update"), "{told}");
        drop(server);
        let operator = Server::start(stage, &[])?;
        let machines = operator.ask("GET", "/api/v1/machines", b"")?;
        assert!(machines.contains("runs the release"), "{machines}");
        let groups = operator.ask("GET", "/api/v1/groups", b"")?;
        assert!(groups.contains(r#""outcome":"done""#), "{groups}");
        Ok(())
    })
}

#[test]
fn a_release_that_a_health_gate_refuses_is_given_up_at_once_and_not_tried_again() -> Result<()> {
    const GATE: &str = "\
#cloud-config
coreos:
  units:
    - name: health.service
      enable: true
      content: |
        [Unit]
        ConditionKernelCommandLine=corten.slot=b
        Before=boot-complete.target
        [Service]
        Type=oneshot
        ExecStart=/usr/bin/false
        [Install]
        RequiredBy=boot-complete.target
";
    play("update-gate", |stage| {
        let key = new_key(stage)?;
        let full = payload(stage, &key, "next", None, "full.payload")?;
        let mut machine = stage.boot(&Config::disk(stage.fresh_disk()?).cloud_config(GATE))?;
        machine.wait_for_success("systemctl is-enabled health.service", BOOT)?;
        trust(&machine, &key)?;
        machine.door().copy_to(&full, "/var/tmp/full.payload")?;
        machine.run("sudo update_engine_client -payload /var/tmp/full.payload")?;
        let boot = machine.run("cat /proc/sys/kernel/random/boot_id")?;
        machine.ssh("sudo reboot")?;
        // One boot of the new release, not three, and far from the five minutes of the watch.
        machine.wait_for("slot A again", FALLBACK, |machine| {
            machine.ssh("cat /proc/cmdline /proc/sys/kernel/random/boot_id").is_ok_and(|output| {
                output.stdout.contains("corten.slot=a") && !output.stdout.contains(boot.trim())
            })
        })?;
        let status = machine.run("sudo update_engine_client -status")?;
        assert!(status.contains("NEXT_SLOT=a") && status.contains("SLOT_B_TRIES=0"), "{status}");
        let again = machine.ssh("sudo update_engine_client -payload /var/tmp/full.payload")?;
        assert!(again.code == 1 && again.stderr.contains("has failed on this machine"), "{again:?}");
        assert!(again.stderr.contains("health.service"), "{again:?}");
        let forced = machine.run("sudo update_engine_client -payload /var/tmp/full.payload -force_update")?;
        assert!(forced.contains("in slot b"), "{forced}");
        Ok(())
    })
}
