//! The figures of `ci/bench`: Corten beside its peer, in the same QEMU, with the same kernel, in turn.
//!
//! Absolute times vary between hosts; the ratios are what to quote.

mod boot;
mod container;
mod containers;
mod debian;
mod journal;
mod login;
mod median;
mod sizes;
mod store;
mod units;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use qemu::{Artifacts, Error, Result};

#[derive(Parser)]
#[command(name = "ci/bench", about = "Measures Corten beside its peers and prints the ratios")]
struct Cli {
    /// What to measure; without one: everything
    #[arg(value_enum)]
    what: Vec<What>,
    /// Runs of each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// A Debian root tree with systemd, as ci/bench makes it
    #[arg(long, value_name = "DIRECTORY")]
    debian: PathBuf,
    /// Corten's programs, by their names; without it: those of the build
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
    /// The store's load generator, as ci/bench builds it (kv's example kv_load)
    #[arg(long, value_name = "FILE")]
    load: Option<PathBuf>,
    /// Seconds of each load on the store
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Keys in the store for its memory, disk and start; a million is the full measure
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Bytes of the artifacts
    Sizes,
    /// From PID 1 to multi-user, and memory in use, beside Debian with systemd
    Boot,
    /// PID 1 with 20, 200 and 1,000 more units in a container, beside systemd
    Units,
    /// From QEMU's start to an SSH login, on BIOS and UEFI
    Login,
    /// Messages a second that the journal takes in, beside systemd's
    JournalIntake,
    /// journalctl -u among a million entries, beside systemd's
    JournalUnitQuery,
    /// A container created, started and deleted, beside crun and runc
    Containers,
    /// The key-value store beside etcd: loads, syncs, memory, disk, start, snapshots
    Store,
}

fn main() -> ExitCode {
    match measure(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ci/bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Result<()> {
    let artifacts = Artifacts::of_this_checkout();
    let wanted = |what| cli.what.is_empty() || cli.what.contains(&what);
    if wanted(What::Sizes) {
        sizes::print(&artifacts)?;
    }
    if wanted(What::Boot) {
        boot::print(&artifacts, &cli.debian, cli.runs)?;
    }
    if wanted(What::Login) {
        login::print(&artifacts, cli.runs)?;
    }
    let programs = cli.programs.clone().unwrap_or_else(|| artifacts.directory().join("bin"));
    if wanted(What::Units) {
        units::print(&artifacts, &programs, &cli.debian, cli.runs)?;
    }
    if wanted(What::Containers) {
        containers::print(&artifacts, &programs, cli.runs)?;
    }
    if wanted(What::JournalIntake) {
        journal::intake(&programs, cli.runs)?;
    }
    if wanted(What::JournalUnitQuery) {
        journal::unit_query(&programs, cli.runs)?;
    }
    if wanted(What::Store) {
        let load = cli.load.as_deref().ok_or_else(|| {
            Error::Usage("store needs --load FILE: cargo build --release -p kv --example kv_load".into())
        })?;
        let (runs, seconds, keys) = (cli.runs, cli.seconds, cli.keys);
        let place = artifacts.directory().join("bench");
        store::print(&store::Plan { programs: &programs, load, place: &place, runs, seconds, keys })?;
    }
    Ok(())
}
