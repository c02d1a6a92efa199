//! `./qemu/run`: boot the image that users get, and never write to it.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::accel::Accel;
use crate::error::At;
use crate::keys::Key;
use crate::machine::Serial;
use crate::registry::{self, DISK, Entry};
use crate::{Artifacts, Config, Disk, Error, Firmware, Forward, Machine, Result};

/// The longest a boot may take before `--detach` gives up: software emulation on a busy host.
const BOOT: Duration = Duration::from_secs(300);

const EXAMPLES: &str = "\
Examples:
  ./qemu/run                                a throw-away machine, its console in this terminal
  ./qemu/run --detach                       the same in the background; returns once SSH answers
  ./qemu/run --name web --port 8080:80      a machine that keeps its disk, with a port for its web server
  ./qemu/run --config cloud-config.yaml     with a cloud-config
  ./qemu/run --firmware uefi --memory 2048  through OVMF, with 2 GiB
  ./qemu/run --live                         kernel and initramfs, without a disk

In the terminal: Ctrl-A X quits (the power is cut), Ctrl-A C switches to QEMU's monitor and back.
From another one: ./qemu/ssh NAME logs in, ./qemu/stop NAME shuts down.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The firmware to boot through
    #[arg(long, value_enum, default_value_t)]
    firmware: Firmware,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(256..))]
    memory: u32,
    /// Processors
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: u32,
    /// Forward a TCP port of this host's loopback to the guest; may be repeated
    #[arg(long = "port", value_name = "HOST:GUEST")]
    ports: Vec<Forward>,
    /// A cloud-config for the machine, given through QEMU's fw_cfg
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Boot kernel and initramfs, without a disk
    #[arg(long)]
    live: bool,
    /// Keep the machine's disk under this name, and boot from it the next time
    #[arg(long, conflicts_with = "live")]
    name: Option<String>,
    /// The size of the disk in GiB (a named machine's grows, and never shrinks)
    #[arg(long, value_name = "GIB", default_value_t = 10, value_parser = clap::value_parser!(u64).range(3..=65536))]
    disk_size: u64,
    /// Words to add to the kernel command line of a live boot
    #[arg(long = "append", value_name = "WORDS", requires = "live")]
    append: Option<String>,
    /// Run in the background and return once SSH answers
    #[arg(long)]
    detach: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let artifacts = Artifacts::of_this_checkout();
    let cloud_config = match &arguments.config {
        Some(path) => Some(fs::read(path).at("read", path)?),
        None => None,
    };
    let entry = match &arguments.name {
        Some(name) if name.chars().all(|c| c.is_ascii_digit()) => {
            return Err(Error::Usage(
                "a name of digits alone is for throw-away machines: add a letter".into(),
            ));
        }
        Some(name) => registry::entry(&artifacts, name)?,
        None => registry::number(&artifacts)?,
    };
    if entry.pid().is_some() {
        return Err(Error::Usage(format!(
            "machine {0:?} runs already: ./qemu/ssh {0} logs in, ./qemu/stop {0} shuts it down",
            entry.name
        )));
    }
    let config = Config {
        firmware: arguments.firmware,
        memory: arguments.memory,
        cpus: arguments.cpus,
        forwards: arguments.ports.clone(),
        cloud_config,
        ..boot(arguments, &artifacts, &entry)?
    };
    let config = arguments.append.iter().fold(config, |config, words| config.kernel_argument(words));
    let key = Key::of(&artifacts)?;
    if Accel::of_this_host() == Accel::Tcg {
        eprintln!("KVM does not work here: the machine is emulated, and slower for it.");
    }
    if arguments.detach { in_background(&entry, &config, &key) } else { in_terminal(&entry, &config, &key) }
}

fn boot(arguments: &Arguments, artifacts: &Artifacts, entry: &Entry) -> Result<Config> {
    if arguments.live {
        return Ok(Config::live(artifacts.kernel()?, artifacts.initrd()?));
    }
    fs::create_dir_all(&entry.directory).at("create", &entry.directory)?;
    let path = entry.directory.join(DISK);
    let disk = match &arguments.name {
        Some(_) if path.exists() => Disk::existing(&path),
        // A copy: a later build must not change what a kept disk stands on.
        Some(_) => Disk::standalone(&artifacts.disk()?, &path)?,
        None => Disk::overlay(&artifacts.disk()?, &path)?,
    };
    disk.grow_at_least_to(arguments.disk_size << 30)?;
    Ok(Config::disk(disk))
}

fn in_terminal(entry: &Entry, config: &Config, key: &Key) -> Result<ExitCode> {
    eprintln!(
        "machine {0}: log in with `./qemu/ssh {0}` from another terminal; Ctrl-A X here quits",
        entry.name
    );
    let ended = Machine::start_on(&entry.directory, config, key, Serial::Terminal)?.wait()?;
    entry.forget_if_numbered()?;
    Ok(if ended.is_none_or(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn in_background(entry: &Entry, config: &Config, key: &Key) -> Result<ExitCode> {
    let began = Instant::now();
    let mut machine = Machine::start(&entry.directory, config, key)?;
    machine.wait_for_ssh(BOOT)?;
    eprintln!(
        "machine {0} answers after {1:.1} s: ./qemu/ssh {0} logs in, ./qemu/stop {0} shuts it down;\n\
         its console: {2}",
        entry.name,
        began.elapsed().as_secs_f64(),
        machine.console().log().display()
    );
    println!("{}", entry.name);
    machine.detach();
    Ok(ExitCode::SUCCESS)
}
