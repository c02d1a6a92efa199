//! What a person types: `./qemu/run`, `./qemu/ssh`, `./qemu/stop`.

mod run;
mod ssh;
mod stop;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::Result;

#[derive(Parser)]
#[command(name = "./qemu/", about = "Machines in QEMU")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Boot the image in QEMU
    Run(run::Arguments),
    /// Log in to a machine, or run a command in it
    Ssh(ssh::Arguments),
    /// Shut a machine down
    Stop(stop::Arguments),
}

/// Runs one verb; its errors are told on stderr.
pub fn main() -> ExitCode {
    let done: Result<ExitCode> = match Cli::parse().verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Ssh(arguments) => ssh::run(&arguments),
        Verb::Stop(arguments) => stop::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
