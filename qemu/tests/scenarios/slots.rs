//! A slot that does not come up falls back to the good one by itself.

use qemu::{Config, Disk, Result};

use crate::stage::{BOOT, FALLBACK, SHUTDOWN, Stage, play};

/// The word of the kernel command line that says which slot runs.
const SLOT: &str =
    "for word in $(cat /proc/cmdline); do case $word in corten.slot=*) echo ${word#*=};; esac; done";

#[test]
fn a_whole_update_is_booted_and_marked_good() -> Result<()> {
    play("slot-whole", |stage| {
        let disk = stage.disk_with_an_update()?;
        let mut machine = stage.boot(&Config::disk(disk.clone()))?;
        assert_eq!(machine.run(SLOT)?.trim(), "b");
        assert!(machine.run("cat /etc/os-release")?.contains("next"));
        machine.wait_for_success("systemctl is-active update-engine-mark-good.service", BOOT)?;
        machine.run("sync")?;
        machine.cut_power()?;
        let environment = String::from_utf8_lossy(&disk.esp_read("grub/grubenv")?).into_owned();
        for line in ["b_ok=1", "last_good=b"] {
            assert!(environment.contains(line), "no {line} in {environment}");
        }
        Ok(())
    })
}

/// Damages slot B's release, and expects the machine to come up on A by itself.
fn falls_back(name: &str, damage: impl FnOnce(&Stage, &Disk) -> Result<()>) -> Result<()> {
    play(name, |stage| {
        let disk = stage.disk_with_an_update()?;
        damage(stage, &disk)?;
        let mut machine = stage.switch_on(&Config::disk(disk))?;
        machine.wait_for_ssh(FALLBACK)?;
        assert_eq!(machine.run(SLOT)?.trim(), "a");
        assert!(!machine.run("cat /etc/os-release")?.contains("next"));
        Ok(())
    })
}

/// Adds a line to what GRUB reads of slot B.
fn add_to_boot_cfg(disk: &Disk, line: &str) -> Result<()> {
    let mut text = disk.esp_read("corten/b/boot.cfg")?;
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    disk.esp_write("corten/b/boot.cfg", &text)
}

#[test]
fn a_missing_kernel_falls_back() -> Result<()> {
    falls_back("slot-no-kernel", |_, disk| disk.esp_remove("corten/b/vmlinuz"))
}

#[test]
fn a_kernel_that_is_garbage_falls_back() -> Result<()> {
    falls_back("slot-garbage-kernel", |_, disk| disk.esp_write("corten/b/vmlinuz", b"not a kernel"))
}

#[test]
fn a_panicking_kernel_falls_back() -> Result<()> {
    // A root device that never comes: the kernel gives up on it and panics.
    falls_back("slot-panic", |_, disk| add_to_boot_cfg(disk, "set verity=\"corten.no-root\""))
}

#[test]
fn a_flipped_block_of_the_root_falls_back() -> Result<()> {
    falls_back("slot-flipped-block", |_, disk| {
        let at = disk.partition("ROOT-B")?.start + 1024;
        let byte = disk.read_at(at, 1)?[0];
        disk.write_at(at, &[byte ^ 1])
    })
}

#[test]
fn a_wrong_root_hash_falls_back() -> Result<()> {
    falls_back("slot-wrong-hash", |_, disk| {
        let text = String::from_utf8_lossy(&disk.esp_read("corten/b/boot.cfg")?).into_owned();
        let hash = text
            .split(|c: char| !c.is_ascii_hexdigit())
            .find(|word| word.len() == 64)
            .expect("boot.cfg holds the root hash")
            .to_owned();
        let wrong = format!("{}{}", if hash.starts_with('0') { "1" } else { "0" }, &hash[1..]);
        disk.esp_write("corten/b/boot.cfg", text.replace(&hash, &wrong).as_bytes())
    })
}

#[test]
fn a_failing_init_falls_back() -> Result<()> {
    falls_back("slot-no-init", |_, disk| add_to_boot_cfg(disk, "set extra=\"init=/usr/bin/false\""))
}

#[test]
fn a_boot_that_never_completes_falls_back() -> Result<()> {
    // The operator's health check, there since before the update, holds the new release back for ever.
    const HEALTH_CHECK: &str = "\
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
        TimeoutStartSec=infinity
        ExecStart=/usr/bin/sleep infinity
        [Install]
        RequiredBy=boot-complete.target
    - name: update-engine-watch-boot.service
      drop-ins:
        - name: 10-hurry.conf
          content: |
            [Service]
            Environment=BOOT_TIMEOUT=20
";
    play("slot-never-complete", |stage| {
        let disk = stage.raw_disk()?;
        let mut machine = stage.boot(&Config::disk(disk.clone()).cloud_config(HEALTH_CHECK))?;
        machine.wait_for_success("systemctl is-enabled health.service", BOOT)?;
        machine.press_power_button()?;
        machine.wait_for_end(SHUTDOWN)?;

        stage.update(&disk)?;
        let mut machine = stage.switch_on(&Config::disk(disk))?;
        machine.wait_for_text("corten.slot=b", BOOT)?;
        machine.wait_for("slot A", FALLBACK, |machine| {
            machine.ssh(SLOT).is_ok_and(|output| output.stdout.trim() == "a")
        })?;
        machine.wait_for_success("systemctl is-active boot-complete.target", BOOT)
    })
}
