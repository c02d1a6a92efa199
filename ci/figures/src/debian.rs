//! The peer: Debian minbase with systemd on an ext4 disk, booted with Corten's kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

use qemu::{Artifacts, Boot, Config, Disk, Error, Result};

use crate::boot::REPORT;

/// The disk of a Debian root tree, with the unit that reports the memory in use.
pub fn disk(artifacts: &Artifacts, tree: &Path) -> Result<PathBuf> {
    let unit = tree.join("etc/systemd/system/report.service");
    let wants = tree.join("etc/systemd/system/multi-user.target.wants");
    let fault = |error: std::io::Error| Error::Usage(format!("{}: {error}", unit.display()));
    std::fs::write(&unit, REPORT).map_err(fault)?;
    std::fs::create_dir_all(&wants).map_err(fault)?;
    let link = wants.join("report.service");
    if !link.is_symlink() {
        std::os::unix::fs::symlink("../report.service", &link).map_err(fault)?;
    }
    // Without udev there is no unit of the serial line's device: its getty would hold multi-user up for 90 s.
    let getty = tree.join("etc/systemd/system/serial-getty@ttyS0.service");
    if !getty.is_symlink() {
        std::os::unix::fs::symlink("/dev/null", &getty).map_err(fault)?;
    }
    let image = artifacts.directory().join("bench-debian.img");
    let made = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-d"])
        .arg(tree)
        .arg(&image)
        .arg("1G")
        .status()
        .map_err(|error| Error::Usage(format!("mkfs.ext4: {error}: apt-get install e2fsprogs")))?;
    if made.success() {
        Ok(image)
    } else {
        Err(Error::Usage(format!("mkfs.ext4 failed on {}", image.display())))
    }
}

/// The machine that boots it; nothing is written to the image.
pub fn machine(artifacts: &Artifacts, disk: Disk) -> Result<Config> {
    boot(artifacts, disk, "rw systemd.log_target=kmsg")
}

/// The same machine with a shell in the place of PID 1, which reports the memory that the kernel alone takes.
pub fn kernel_alone(artifacts: &Artifacts, disk: Disk) -> Result<Config> {
    let script = "mount -t proc proc /proc; sleep 5; while read -r line; do case $line in Mem*) echo $line;; esac; \
                  done < /proc/meminfo; echo report ends; systemctl poweroff -ff";
    boot(artifacts, disk, &format!("ro init=/bin/sh -- -c \"{script}\""))
}

fn boot(artifacts: &Artifacts, disk: Disk, words: &str) -> Result<Config> {
    Ok(Config::new(Boot::Kernel {
        kernel: artifacts.kernel()?,
        initrd: None,
        disk: Some(disk),
        command_line: format!("root=/dev/vda console=ttyS0,115200 {words}"),
    }))
}
