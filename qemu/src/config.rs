//! What a machine is made of.

use std::ops::Range;
use std::path::PathBuf;

use crate::Disk;
use crate::network::Plug;

/// The firmware a machine starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// OVMF.
    Uefi,
}

/// What a machine boots.
#[derive(Clone, Debug)]
pub enum Boot {
    /// A disk, through the firmware and GRUB.
    Disk(Disk),
    /// A kernel that QEMU loads itself.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// Its initramfs.
        initrd: Option<PathBuf>,
        /// A disk to find.
        disk: Option<Disk>,
        /// The kernel command line.
        command_line: String,
    },
}

/// A TCP port of the host's loopback that leads to a port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The port on 127.0.0.1.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

impl std::str::FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Forward, String> {
        let (host, guest) = text.split_once(':').unwrap_or((text, text));
        let port = |part: &str| {
            part.parse().map_err(|_| format!("{part:?} is not a port; write HOST:GUEST, such as 8080:80"))
        };
        Ok(Forward { host: port(host)?, guest: port(guest)? })
    }
}

/// A machine to be.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it boots.
    pub boot: Boot,
    /// The firmware.
    pub firmware: Firmware,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub cpus: u32,
    /// Forwarded ports besides SSH's.
    pub forwards: Vec<Forward>,
    /// A network with other machines, besides the way to the host.
    pub plug: Option<Plug>,
    /// cloud-config, given through fw_cfg.
    pub cloud_config: Option<Vec<u8>>,
    /// Addresses and a file: what code runs there is logged.
    pub code_log: Option<(Range<u64>, PathBuf)>,
}

impl Config {
    /// A machine of 1 GiB and one processor that boots `disk` through SeaBIOS.
    pub fn disk(disk: Disk) -> Config {
        Config::new(Boot::Disk(disk))
    }

    /// A machine of 1 GiB and one processor that runs from memory.
    pub fn live(kernel: PathBuf, initrd: PathBuf) -> Config {
        let command_line = "corten.live console=tty0 console=ttyS0,115200 panic=5".to_owned();
        Config::new(Boot::Kernel { kernel, initrd: Some(initrd), disk: None, command_line })
    }

    /// A machine of 1 GiB and one processor.
    pub fn new(boot: Boot) -> Config {
        Config {
            boot,
            firmware: Firmware::Bios,
            memory: 1024,
            cpus: 1,
            forwards: Vec::new(),
            plug: None,
            cloud_config: None,
            code_log: None,
        }
    }

    /// With this firmware.
    pub fn firmware(self, firmware: Firmware) -> Config {
        Config { firmware, ..self }
    }

    /// With this much memory, in MiB.
    pub fn memory(self, memory: u32) -> Config {
        Config { memory, ..self }
    }

    /// With this many processors.
    pub fn cpus(self, cpus: u32) -> Config {
        Config { cpus, ..self }
    }

    /// In a network with other machines. Its address there is told to it, as `$private_ipv4` of its cloud-config.
    pub fn plug(self, plug: Plug) -> Config {
        Config { plug: Some(plug), ..self }
    }

    /// With this cloud-config.
    pub fn cloud_config(self, text: impl Into<Vec<u8>>) -> Config {
        Config { cloud_config: Some(text.into()), ..self }
    }

    /// Emulated, with the code that runs at `addresses` logged in `file`, each block when it runs first.
    pub fn log_code(self, addresses: Range<u64>, file: PathBuf) -> Config {
        Config { code_log: Some((addresses, file)), ..self }
    }

    /// With this word on the kernel command line, where QEMU loads the kernel; a disk has its own line.
    pub fn kernel_argument(mut self, word: &str) -> Config {
        if let Boot::Kernel { command_line, .. } = &mut self.boot {
            command_line.push(' ');
            command_line.push_str(word);
        }
        self
    }

    /// With a forwarded port.
    pub fn forward(mut self, host: u16, guest: u16) -> Config {
        self.forwards.push(Forward { host, guest });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_is_host_and_guest_or_one_for_both() {
        assert_eq!("8080:80".parse(), Ok(Forward { host: 8080, guest: 80 }));
        assert_eq!("80".parse(), Ok(Forward { host: 80, guest: 80 }));
        assert!("80:".parse::<Forward>().is_err());
        assert!("x:1".parse::<Forward>().is_err());
        assert!("70000:1".parse::<Forward>().is_err());
    }
}
