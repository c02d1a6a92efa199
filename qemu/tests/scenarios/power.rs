//! Orderly ends and power cuts.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use qemu::{Config, Result};

use crate::stage::{BOOT, SHUTDOWN, play};

#[test]
fn reboots_and_powers_off_in_order() -> Result<()> {
    play("order", |stage| {
        let mut machine = stage.boot(&stage.fresh_machine()?)?;
        let first = machine.run("cat /proc/sys/kernel/random/boot_id")?;
        machine.ssh("sudo reboot")?;
        machine.wait_for("another boot", BOOT, |machine| {
            machine
                .ssh("cat /proc/sys/kernel/random/boot_id")
                .is_ok_and(|output| output.code == 0 && output.stdout != first)
        })?;
        machine.press_power_button()?;
        machine.wait_for_end(SHUTDOWN)?;
        Ok(())
    })
}

/// A number below `limit` from a small generator: the seed is printed, so that a run can be told again.
fn below(seed: &mut u64, limit: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % limit
}

#[test]
fn ten_power_cuts_leave_a_machine_that_boots() -> Result<()> {
    let mut seed: u64 =
        std::env::var("CORTEN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64 | 1)
        });
    eprintln!("to play this again: CORTEN_SEED={seed}");
    play("power-cuts", |stage| {
        let disk = stage.fresh_disk()?;
        disk.grow_to(6 << 30)?;
        let config = Config::disk(disk);

        // First boots: the disk grows, the file systems and keys are made.
        for _ in 0..4 {
            let machine = stage.switch_on(&config)?;
            thread::sleep(Duration::from_millis(1500 + below(&mut seed, 9000)));
            machine.cut_power()?;
        }
        let machine = stage.boot(&config)?;
        machine.run("echo precious > /home/core/precious; sync")?;
        let identity = machine.run("cat /etc/machine-id")?;
        machine.cut_power()?;
        // Later boots, and at work.
        for _ in 0..3 {
            let machine = stage.switch_on(&config)?;
            thread::sleep(Duration::from_millis(2500 + below(&mut seed, 12_000)));
            machine.cut_power()?;
        }
        // On the way down.
        for _ in 0..2 {
            let machine = stage.boot(&config)?;
            machine.press_power_button()?;
            thread::sleep(Duration::from_millis(below(&mut seed, 2500)));
            machine.cut_power()?;
        }
        let mut machine = stage.boot(&config)?;
        assert_eq!(machine.run("cat /home/core/precious")?.trim(), "precious");
        assert_eq!(machine.run("cat /etc/machine-id")?, identity);
        machine.wait_for_success("systemctl is-active boot-complete.target", BOOT)
    })
}
