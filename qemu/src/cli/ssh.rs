//! `./qemu/ssh`: log in, or run a command and pass its exit code on.

use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use crate::{Artifacts, Result, command, registry};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ./qemu/ssh 1                       a shell in machine 1
  ./qemu/ssh 1 systemctl status      one command; its exit code is passed on
  ./qemu/ssh web sudo poweroff")]
pub(super) struct Arguments {
    /// The machine: a number that ./qemu/run printed, or the name it was given
    machine: String,
    /// Log in as this user
    #[arg(long, default_value = "core")]
    user: String,
    /// The command and its arguments, as for ssh
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let artifacts = Artifacts::of_this_checkout();
    let entry = registry::find_running(&artifacts, &arguments.machine)?;
    let mut ssh = entry.ssh(&artifacts)?.command(&arguments.user, &[]);
    ssh.args(&arguments.command);
    Err(command::cannot_start("ssh", &ssh.exec()))
}
