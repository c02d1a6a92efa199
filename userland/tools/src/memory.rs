//! `free`: how much memory is used.
//!
//! Source: free(1) of procps: used is what is neither free nor available for programs.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use procfs::{Current, Meminfo};

/// Show how much memory is used.
#[derive(Debug, Parser)]
#[command(name = "free", version)]
struct Options {
    /// In bytes
    #[arg(short, long)]
    bytes: bool,
    /// In kibibytes (the default)
    #[arg(short, long)]
    kibi: bool,
    /// In mebibytes
    #[arg(short, long)]
    mebi: bool,
    /// In gibibytes
    #[arg(short, long)]
    gibi: bool,
    /// In the unit that fits (also -h)
    #[arg(long)]
    human: bool,
}

/// `free`
pub fn free(mut args: Vec<OsString>) -> ExitCode {
    // Here -h is for people, as it always was; --help still helps.
    for arg in &mut args {
        if arg == "-h" {
            *arg = "--human".into();
        }
    }
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return crate::usage(&error),
    };
    crate::finish("free", show(&options), 1)
}

fn show(options: &Options) -> Result<(), String> {
    let memory = Meminfo::current().map_err(|error| format!("/proc/meminfo: {error}"))?;
    let cached = memory.buffers + memory.cached + memory.s_reclaimable.unwrap_or(0);
    let available = memory.mem_available.unwrap_or(memory.mem_free);
    let numbers = [
        memory.mem_total,
        memory.mem_total.saturating_sub(available),
        memory.mem_free,
        memory.shmem.unwrap_or(0),
        cached,
        available,
    ];
    let swap = [memory.swap_total, memory.swap_total.saturating_sub(memory.swap_free), memory.swap_free];
    crate::say(format_args!(
        "               total        used        free      shared  buff/cache   available"
    ))?;
    for (name, numbers) in [("Mem:", &numbers[..]), ("Swap:", &swap[..])] {
        let mut line = format!("{name:<8}");
        for number in numbers {
            line.push_str(&format!("{:>12}", amount(*number, options)));
        }
        crate::say(format_args!("{line}"))?;
    }
    Ok(())
}

fn amount(bytes: u64, options: &Options) -> String {
    let shift = match options {
        Options { human: true, .. } => return crate::human(bytes),
        Options { bytes: true, .. } => 0,
        Options { mebi: true, .. } => 20,
        Options { gibi: true, .. } => 30,
        _ => 10,
    };
    (bytes >> shift).to_string()
}
