//! What `/proc` says about processes and the machine.

use procfs::process::Stat;
use procfs::{Current, CurrentSI};

/// A process at one moment.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) stat: Stat,
    pub(super) uid: u32,
    /// The command line, or the kernel's name for it in brackets.
    pub(super) args: String,
}

impl Process {
    /// All processes, by number. Those that end meanwhile are left out.
    pub(super) fn all() -> Result<Vec<Process>, String> {
        let all = procfs::process::all_processes().map_err(|error| format!("/proc: {error}"))?;
        let mut processes: Vec<Process> =
            all.flatten().filter_map(|process| Process::read(&process)).collect();
        processes.sort_by_key(|process| process.stat.pid);
        Ok(processes)
    }

    /// This process.
    pub(super) fn own() -> Option<Process> {
        Process::read(&procfs::process::Process::myself().ok()?)
    }

    fn read(process: &procfs::process::Process) -> Option<Process> {
        let stat = process.stat().ok()?;
        let uid = process.uid().ok()?;
        let args: Vec<String> = process.cmdline().unwrap_or_default();
        let args = match args.join(" ") {
            line if line.trim().is_empty() => format!("[{}]", stat.comm),
            line => line.replace(|character: char| character.is_control(), "?"),
        };
        Some(Process { stat, uid, args })
    }

    /// Seconds on a processor.
    pub(super) fn cpu_seconds(&self) -> u64 {
        (self.stat.utime + self.stat.stime) / procfs::ticks_per_second()
    }
}

/// What the columns need to know about the machine.
#[derive(Debug)]
pub(super) struct Machine {
    /// Bytes of memory.
    pub(super) memory: u64,
    /// Seconds since the machine started.
    pub(super) uptime: f64,
    /// When it started, in seconds since 1970.
    pub(super) booted: u64,
}

impl Machine {
    pub(super) fn read() -> Result<Machine, String> {
        let memory = procfs::Meminfo::current().map_err(|error| format!("/proc/meminfo: {error}"))?.mem_total;
        let uptime = procfs::Uptime::current().map_err(|error| format!("/proc/uptime: {error}"))?.uptime;
        let booted = procfs::KernelStats::current().map_err(|error| format!("/proc/stat: {error}"))?.btime;
        Ok(Machine { memory, uptime, booted })
    }

    /// Seconds that the process is there.
    pub(super) fn age(&self, process: &Process) -> f64 {
        let started = process.stat.starttime as f64 / procfs::ticks_per_second() as f64;
        (self.uptime - started).max(0.0)
    }
}
