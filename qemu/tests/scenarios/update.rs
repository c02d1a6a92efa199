//! A release comes as a signed file, goes into the slot that does not run, and is booted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use qemu::{Config, Error, Machine, Result};

use crate::stage::{BOOT, Stage, play};

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
