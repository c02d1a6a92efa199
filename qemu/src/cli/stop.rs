//! `./qemu/stop`: shut a machine down, or cut its power.

use std::process::ExitCode;
use std::time::Duration;

use crate::{Artifacts, Error, Result, registry};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ./qemu/stop 1           an orderly shutdown, as by the power button
  ./qemu/stop 1 --kill    the power is cut")]
pub(super) struct Arguments {
    /// The machine: a number that ./qemu/run printed, or the name it was given
    machine: String,
    /// Cut the power instead of shutting down
    #[arg(long)]
    kill: bool,
    /// How long the shutdown may take, in seconds
    #[arg(long, default_value_t = 120)]
    timeout: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let artifacts = Artifacts::of_this_checkout();
    let entry = registry::find_running(&artifacts, &arguments.machine)?;
    if arguments.kill {
        entry.cut_power()?;
    } else if !entry.shut_down(Duration::from_secs(arguments.timeout))? {
        return Err(Error::Usage(format!(
            "machine {0} did not shut down within {1} s: see {2}, or cut its power with ./qemu/stop {0} --kill",
            entry.name,
            arguments.timeout,
            entry.directory.join("console.log").display()
        )));
    }
    entry.forget_if_numbered()?;
    Ok(ExitCode::SUCCESS)
}
