//! From QEMU's start to a command's answer over SSH.

use std::fs;
use std::time::{Duration, Instant};

use qemu::keys::Key;
use qemu::{Artifacts, Config, Disk, Error, Firmware, Machine, Result};

use crate::median::Figures;

const WITHIN: Duration = Duration::from_secs(180);

/// First boots of fresh disks, on either firmware in turn.
pub fn print(artifacts: &Artifacts, runs: u32) -> Result<()> {
    let place = artifacts.directory().join("bench");
    let mut figures = [(Firmware::Bios, Figures::default()), (Firmware::Uefi, Figures::default())];
    for _ in 0..runs {
        for (firmware, seconds) in &mut figures {
            let _ = fs::remove_dir_all(&place);
            fs::create_dir_all(&place)
                .map_err(|error| Error::Usage(format!("{}: {error}", place.display())))?;
            let disk = Disk::overlay(&artifacts.disk()?, &place.join("disk.qcow2"))?;
            let began = Instant::now();
            let config = Config::disk(disk).firmware(*firmware);
            let mut machine = Machine::start(&place.join("machine"), &config, &Key::of(artifacts)?)?;
            machine.wait_for_ssh(WITHIN)?;
            seconds.add(began.elapsed().as_secs_f64());
        }
    }
    for (firmware, seconds) in &figures {
        println!("QEMU's start to SSH login, first boot, {firmware:?}, s: {seconds}");
    }
    println!();
    Ok(())
}
