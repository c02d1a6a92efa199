//! What is kept over a reboot, and what grows.

use std::process::Command;

use qemu::{Config, Error, Result};

use crate::stage::{BOOT, SHUTDOWN, play};

#[test]
fn the_second_boot_keeps_state() -> Result<()> {
    play("second-boot", |stage| {
        let disk = stage.fresh_disk()?;
        let mut machine = stage.boot(&Config::disk(disk.clone()))?;
        let identity = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub";
        let first = machine.run(identity)?;
        assert_eq!(first.lines().next().map(str::len), Some(32), "no machine-id: {first}");
        machine.run("echo kept > /home/core/note; echo kept | sudo tee /etc/note")?;
        machine.ssh("sudo systemctl poweroff")?;
        machine.wait_for_end(SHUTDOWN)?;

        let machine = stage.boot(&Config::disk(disk))?;
        assert_eq!(machine.run(identity)?, first, "another machine came up");
        assert_eq!(machine.run("cat /home/core/note /etc/note")?, "kept\nkept\n");
        assert!(
            machine.run("journalctl --list-boots")?.lines().count() >= 2,
            "the first boot's journal is gone"
        );
        Ok(())
    })
}

#[test]
fn two_machines_are_not_the_same() -> Result<()> {
    play("identity", |stage| {
        let identity = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub";
        let one = stage.boot(&stage.fresh_machine()?)?.run(identity)?;
        let other = stage.boot(&stage.fresh_machine()?)?.run(identity)?;
        assert_ne!(one, other);
        Ok(())
    })
}

#[test]
fn state_grows_to_a_bigger_disk() -> Result<()> {
    play("growth", |stage| {
        let disk = stage.fresh_disk()?;
        for gigabytes in [8_u64, 20] {
            disk.grow_to(gigabytes << 30)?;
            let mut machine = stage.boot(&Config::disk(disk.clone()))?;
            let kilobytes: u64 = machine
                .run("df -k --output=size /var")?
                .lines()
                .nth(1)
                .and_then(|size| size.trim().parse().ok())
                .expect("df prints a size");
            let slots = 3 << 20;
            assert!(kilobytes > (gigabytes << 20) - slots, "/var has {kilobytes} KiB of {gigabytes} GiB");
            machine.ssh("sudo systemctl poweroff")?;
            machine.wait_for_end(SHUTDOWN)?;
        }
        Ok(())
    })
}

#[test]
fn the_journal_is_one_that_debians_journalctl_trusts() -> Result<()> {
    play("journal", |stage| {
        let mut machine = stage.boot(&stage.fresh_machine()?)?;
        machine.run("sudo journalctl --sync")?;
        let name = machine.run("ls /var/log/journal")?;
        let journal = format!("/var/log/journal/{}/system.journal", name.trim());
        machine.run(&format!("sudo cat {journal} > /tmp/system.journal"))?;
        let copy = stage.path("system.journal");
        machine.door().copy_from("/tmp/system.journal", &copy)?;

        let output = Command::new("journalctl")
            .args(["--no-pager", "-u", "sshd.service", "--file"])
            .arg(&copy)
            .output()
            .map_err(|error| Error::Usage(format!("journalctl: {error}")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("sshd["), "Debian's journalctl finds no sshd in {}: {text}", copy.display());

        machine.press_power_button()?;
        machine.wait_for_end(SHUTDOWN)?;
        Ok(())
    })
}

#[test]
fn a_broken_state_partition_still_lets_the_operator_in() -> Result<()> {
    play("broken-state", |stage| {
        let disk = stage.raw_disk()?;
        let state = disk.partition("STATE")?;
        disk.write_at(state.start, &vec![0xa5; 1 << 20])?;
        let mut machine = stage.switch_on(&Config::disk(disk))?;
        machine.wait_for_ssh(BOOT)?;
        assert!(machine.console().text().contains("STATE"), "the console says nothing of STATE");
        assert_ne!(machine.run("systemctl is-active multi-user.target")?.trim(), "");
        assert_eq!(machine.ssh("systemctl is-active boot-complete.target")?.stdout.trim(), "inactive");
        Ok(())
    })
}
