//! The columns of `ps`.

use accounts::Accounts;

use super::process::{Machine, Process};
use crate::clock;

/// A column: its header, which side it is aligned to, and what is in it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// The header; may be empty.
    pub(super) header: String,
    /// Whether numbers stand at the right.
    pub(super) right: bool,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Args,
    Command,
    Cpu,
    CpuWhole,
    Elapsed,
    ElapsedSeconds,
    Group,
    Memory,
    Nice,
    Parent,
    Pid,
    Processes,
    Resident,
    Session,
    Start,
    State,
    StateLong,
    Terminal,
    Threads,
    Time,
    Uid,
    User,
    Virtual,
}

/// The names of each column, the header it gets, whether it is aligned right.
const KNOWN: &[(&[&str], &str, bool, What)] = &[
    (&["args", "cmd"], "CMD", false, What::Args),
    (&["command"], "COMMAND", false, What::Args),
    (&["comm"], "COMMAND", false, What::Command),
    (&["ucmd"], "CMD", false, What::Command),
    (&["%cpu", "pcpu"], "%CPU", true, What::Cpu),
    (&["c"], "C", true, What::CpuWhole),
    (&["etime"], "ELAPSED", true, What::Elapsed),
    (&["etimes"], "ELAPSED", true, What::ElapsedSeconds),
    (&["pgid", "pgrp"], "PGID", true, What::Group),
    (&["%mem", "pmem"], "%MEM", true, What::Memory),
    (&["ni", "nice"], "NI", true, What::Nice),
    (&["ppid"], "PPID", true, What::Parent),
    (&["pid"], "PID", true, What::Pid),
    (&["psr"], "PSR", true, What::Processes),
    (&["rss", "rssize"], "RSS", true, What::Resident),
    (&["sid", "sess"], "SID", true, What::Session),
    (&["start", "start_time"], "START", false, What::Start),
    (&["stime"], "STIME", false, What::Start),
    (&["s", "state"], "S", false, What::State),
    (&["stat"], "STAT", false, What::StateLong),
    (&["tty", "tt", "tname"], "TTY", false, What::Terminal),
    (&["nlwp", "thcount"], "NLWP", true, What::Threads),
    (&["time", "cputime"], "TIME", true, What::Time),
    (&["uid"], "UID", false, What::Uid),
    (&["user", "euser", "uname"], "USER", false, What::User),
    (&["vsz", "vsize"], "VSZ", true, What::Virtual),
];

impl Column {
    /// The column of this name; `name=HEADER` gives it another header.
    pub(super) fn parse(text: &str) -> Result<Column, String> {
        let (name, own) = match text.split_once('=') {
            Some((name, header)) => (name, Some(header.to_owned())),
            None => (text, None),
        };
        let name = name.trim().to_ascii_lowercase();
        let found = KNOWN.iter().find(|(names, ..)| names.contains(&name.as_str()));
        let Some((_, header, right, what)) = found else {
            let names: Vec<&str> = KNOWN.iter().filter_map(|(names, ..)| names.first().copied()).collect();
            return Err(format!("unknown column {name}; there are {}", names.join(" ")));
        };
        Ok(Column { header: own.unwrap_or_else(|| (*header).to_owned()), right: *right, what: *what })
    }

    /// The column's cell for a process.
    pub(super) fn show(&self, process: &Process, machine: &Machine, accounts: &Accounts) -> String {
        let stat = &process.stat;
        match self.what {
            What::Args => process.args.clone(),
            What::Command => stat.comm.clone(),
            What::Cpu => format!("{:.1}", share(process, machine)),
            What::CpuWhole => format!("{:.0}", share(process, machine).min(99.0)),
            What::Elapsed => elapsed(machine.age(process) as u64),
            What::ElapsedSeconds => (machine.age(process) as u64).to_string(),
            What::Group => stat.pgrp.to_string(),
            What::Memory => {
                format!(
                    "{:.1}",
                    100.0 * (stat.rss * procfs::page_size()) as f64 / machine.memory.max(1) as f64
                )
            }
            What::Nice => stat.nice.to_string(),
            What::Parent => stat.ppid.to_string(),
            What::Pid => stat.pid.to_string(),
            What::Processes => stat.processor.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            What::Resident => (stat.rss * procfs::page_size() / 1024).to_string(),
            What::Session => stat.session.to_string(),
            What::Start => clock::short(machine.booted + stat.starttime / procfs::ticks_per_second()),
            What::State => stat.state.to_string(),
            What::StateLong => state(process),
            What::Terminal => terminal(stat.tty_nr()),
            What::Threads => stat.num_threads.to_string(),
            What::Time => clock::hours(process.cpu_seconds()),
            What::Uid if self.header == "UID" => user(process.uid, accounts),
            What::Uid => process.uid.to_string(),
            What::User => user(process.uid, accounts),
            What::Virtual => (stat.vsize / 1024).to_string(),
        }
    }
}

/// Percent of a processor over the process's life.
fn share(process: &Process, machine: &Machine) -> f64 {
    let age = machine.age(process);
    if age < 0.01 {
        return 0.0;
    }
    let ticks = (process.stat.utime + process.stat.stime) as f64;
    100.0 * ticks / procfs::ticks_per_second() as f64 / age
}

/// `[[days-]hours:]minutes:seconds`
fn elapsed(seconds: u64) -> String {
    let (days, hours, minutes, rest) =
        (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{rest:02}"),
        (0, _) => format!("{hours:02}:{minutes:02}:{rest:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{rest:02}"),
    }
}

fn state(process: &Process) -> String {
    let stat = &process.stat;
    let mut letters = stat.state.to_string();
    let marks = [
        ('<', stat.nice < 0),
        ('N', stat.nice > 0),
        ('s', stat.session == stat.pid),
        ('l', stat.num_threads > 1),
        ('+', stat.tpgid == stat.pgrp && stat.tpgid > 0),
    ];
    letters.extend(marks.iter().filter(|(_, holds)| *holds).map(|(mark, _)| mark));
    letters
}

/// The name of a terminal by its device number.
fn terminal((major, minor): (i32, i32)) -> String {
    match major {
        0 => "?".to_owned(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 => "console".to_owned(),
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        229 => format!("hvc{minor}"),
        _ => format!("{major}:{minor}"),
    }
}

fn user(uid: u32, accounts: &Accounts) -> String {
    accounts.user_by_id(uid).map_or_else(|| uid.to_string(), |user| user.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_aliases_and_headers_can_be_changed() {
        assert_eq!(Column::parse("pcpu").unwrap().header, "%CPU");
        assert_eq!(Column::parse("pid=").unwrap().header, "");
        assert_eq!(Column::parse("comm=NAME").unwrap().header, "NAME");
        assert!(Column::parse("bogus").unwrap_err().contains("there are"));
    }

    #[test]
    fn terminals_and_times_read_as_people_know_them() {
        let names = [(0, 0), (4, 1), (4, 64), (136, 3), (137, 1)].map(terminal);
        assert_eq!(names, ["?", "tty1", "ttyS0", "pts/3", "pts/257"]);
        assert_eq!([5, 3605, 90061].map(elapsed), ["00:05", "01:00:05", "1-01:01:01"]);
    }
}
