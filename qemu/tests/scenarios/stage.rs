//! Where a scenario is played: a directory, the artifacts, a key, and disks made from the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use qemu::keys::Key;
use qemu::{Artifacts, Config, Disk, Error, Machine, Result};

/// The longest a boot may take on a busy host under software emulation.
pub const BOOT: Duration = Duration::from_secs(180);

/// The longest a fallback may take: three tries, each with a boot, a panic and its delay.
pub const FALLBACK: Duration = Duration::from_secs(400);

/// The longest an orderly shutdown may take.
pub const SHUTDOWN: Duration = Duration::from_secs(90);

/// The place of one scenario.
pub struct Stage {
    directory: PathBuf,
    pub artifacts: Artifacts,
    key: Key,
    machines: AtomicU32,
}

impl Stage {
    /// A new stage with the scenario's name.
    pub fn new(name: &str) -> Result<Stage> {
        let artifacts = Artifacts::of_this_checkout();
        let directory = artifacts.directory().join("scenarios").join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)
            .map_err(|error| Error::Usage(format!("{}: {error}", directory.display())))?;
        let key = Key::of(&artifacts)?;
        Ok(Stage { directory, artifacts, key, machines: AtomicU32::new(0) })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A fresh disk over the image that users get.
    pub fn fresh_disk(&self) -> Result<Disk> {
        Disk::overlay(&self.artifacts.disk()?, &self.path("disk.qcow2"))
    }

    /// A machine with a fresh disk.
    pub fn fresh_machine(&self) -> Result<Config> {
        Ok(Config::disk(self.fresh_disk()?))
    }

    /// A disk that a scenario may look into and damage.
    pub fn raw_disk(&self) -> Result<Disk> {
        Disk::raw_copy(&self.artifacts.disk()?, &self.path("disk.img"))
    }

    /// A disk on its way to a second release.
    pub fn disk_with_an_update(&self) -> Result<Disk> {
        let disk = self.raw_disk()?;
        self.update(&disk)?;
        Ok(disk)
    }

    /// Puts the next release into slot B, with three tries; A stays good.
    pub fn update(&self, disk: &Disk) -> Result<()> {
        let next = Disk::raw_copy(&self.artifacts.file("next/corten.img")?, &self.path("next.img"))?;
        disk.fill_partition("ROOT-B", &next, "ROOT-A")?;
        disk.set_partition_uuid(disk.number_of("ROOT-B")?, &next.partition("ROOT-A")?.uuid)?;
        for file in ["vmlinuz", "boot.cfg"] {
            disk.esp_write(&format!("corten/b/{file}"), &next.esp_read(&format!("corten/a/{file}"))?)?;
        }
        disk.esp_write(
            "grub/grubenv",
            &grubenv("a_prio=1\na_tries=0\na_ok=1\nb_prio=2\nb_tries=3\nb_ok=0\nlast_good=a\n"),
        )?;
        fs::remove_file(next.path()).map_err(|error| Error::Usage(error.to_string()))
    }

    /// Switches a machine on.
    pub fn switch_on(&self, config: &Config) -> Result<Machine> {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        Machine::start(&self.directory.join(format!("machine-{number}")), config, &self.key)
    }

    /// Switches a machine on and waits until a login works.
    pub fn boot(&self, config: &Config) -> Result<Machine> {
        let mut machine = self.switch_on(config)?;
        machine.wait_for_ssh(BOOT)?;
        Ok(machine)
    }

    /// The scenario has ended well: nothing needs to be kept.
    pub fn strike(self) -> Result<()> {
        fs::remove_dir_all(&self.directory).map_err(|error| Error::Usage(error.to_string()))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.directory.exists() && !thread::panicking() {
            eprintln!("the stage is kept: {}", self.directory.display());
        }
    }
}

/// A GRUB environment block with these lines.
pub fn grubenv(lines: &str) -> Vec<u8> {
    let mut block = b"# GRUB Environment Block\n".to_vec();
    block.extend_from_slice(lines.as_bytes());
    block.resize(1024, b'#');
    block
}

/// Plays a scenario: its stage is struck when it ends well, and kept with its logs when not.
pub fn play(name: &str, scenario: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    let stage = Stage::new(name)?;
    match scenario(&stage) {
        Ok(()) => stage.strike(),
        Err(error) => {
            // The message of a test that returns an error escapes its line breaks.
            eprintln!("{error}");
            Err(error)
        }
    }
}

/// A file with some bytes that do not repeat soon.
pub fn file_of(path: &Path, length: usize) -> Result<Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let bytes: Vec<u8> = (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .collect();
    fs::write(path, &bytes).map_err(|error| Error::Usage(format!("{}: {error}", path.display())))?;
    Ok(bytes)
}
