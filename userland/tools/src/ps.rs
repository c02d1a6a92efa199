//! `ps`: the processes, in the columns people know.
//!
//! Source: ps(1) of procps for names, widths and meaning; proc_pid_stat(5).

mod columns;
mod process;

use std::ffi::OsString;
use std::process::ExitCode;

use accounts::Accounts;
use clap::Parser;

use columns::Column;
use process::{Machine, Process};

/// Show processes.
///
/// The three usual ways: `ps` (those of this terminal), `ps -ef` and `ps aux` (all of them).
#[derive(Debug, Parser)]
#[command(name = "ps", version)]
struct Options {
    /// All processes
    #[arg(short = 'e', short_alias = 'A', long = "all")]
    all: bool,
    /// More columns
    #[arg(short = 'f', long)]
    full: bool,
    /// These processes only: numbers, separated by commas
    #[arg(short, long = "pid", value_name = "PIDS", value_delimiter = ',')]
    pids: Vec<i32>,
    /// Those of these users, by name or number
    #[arg(short = 'u', long = "user", value_name = "USERS", value_delimiter = ',')]
    users: Vec<String>,
    /// Those with this command
    #[arg(short = 'C', value_name = "COMMAND")]
    command: Option<String>,
    /// These columns, separated by commas; `name=` leaves the header out
    #[arg(short = 'o', long = "format", value_name = "COLUMNS", value_delimiter = ',')]
    columns: Vec<String>,
    /// No header
    #[arg(long, alias = "no-heading")]
    no_headers: bool,
    /// Do not cut lines at the width of the terminal
    #[arg(short = 'w', action = clap::ArgAction::Count)]
    wide: u8,
    /// Letters of the BSD style, such as aux
    letters: Vec<String>,
}

/// `ps`
pub fn ps(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return crate::usage(&error),
    };
    crate::finish("ps", show(options), 1)
}

fn show(mut options: Options) -> Result<(), String> {
    let mut by_user = false;
    for letters in std::mem::take(&mut options.letters) {
        if letters.chars().all(|letter| letter.is_ascii_digit()) {
            options.pids.push(letters.parse().map_err(|_| format!("{letters}: no process number"))?);
            continue;
        }
        for letter in letters.chars() {
            match letter {
                'a' | 'x' => options.all = true,
                'u' => by_user = true,
                'w' => options.wide += 1,
                'e' | 'f' => {}
                other => return Err(format!("unknown letter {other} in {letters}; try ps aux")),
            }
        }
    }
    let mut columns = Vec::new();
    for name in &options.columns {
        columns.push(Column::parse(name)?);
    }
    if columns.is_empty() {
        let names = match (by_user, options.full) {
            (true, _) => "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,time,command",
            (false, true) => "uid,pid,ppid,c,stime,tty,time,cmd",
            (false, false) => "pid,tty,time,ucmd",
        };
        for name in names.split(',') {
            columns.push(Column::parse(name)?);
        }
    }
    let machine = Machine::read()?;
    let accounts = Accounts::of_this_machine().unwrap_or_default();
    let processes: Vec<Process> =
        Process::all()?.into_iter().filter(|process| wanted(&options, process, &accounts)).collect();
    print(&options, &columns, &processes, &machine, &accounts)?;
    if processes.is_empty() { Err("no such process".to_owned()) } else { Ok(()) }
}

fn wanted(options: &Options, process: &Process, accounts: &Accounts) -> bool {
    if !options.pids.is_empty() {
        return options.pids.contains(&process.stat.pid);
    }
    if !options.users.is_empty() {
        return options.users.iter().any(|user| match user.parse() {
            Ok(uid) => process.uid == uid,
            Err(_) => accounts.user(user).is_some_and(|user| user.uid == process.uid),
        });
    }
    if let Some(command) = &options.command {
        return *command == process.stat.comm;
    }
    options.all
        || Process::own().is_some_and(|own| own.uid == process.uid && own.stat.tty_nr == process.stat.tty_nr)
}

fn print(
    options: &Options,
    columns: &[Column],
    processes: &[Process],
    machine: &Machine,
    accounts: &Accounts,
) -> Result<(), String> {
    let mut rows: Vec<Vec<String>> = processes
        .iter()
        .map(|process| columns.iter().map(|column| column.show(process, machine, accounts)).collect())
        .collect();
    let headers = columns.iter().any(|column| !column.header.is_empty());
    if headers && !options.no_headers {
        rows.insert(0, columns.iter().map(|column| column.header.clone()).collect());
    }
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let most = if options.wide > 0 { usize::MAX } else { crate::terminal_width().unwrap_or(usize::MAX) };
    for row in &rows {
        let mut line = String::new();
        for (at, ((cell, column), width)) in row.iter().zip(columns).zip(&widths).enumerate() {
            let last = at + 1 == columns.len();
            match (column.right, last) {
                (true, _) => line.push_str(&format!("{cell:>width$}")),
                (false, true) => line.push_str(cell),
                (false, false) => line.push_str(&format!("{cell:<width$}")),
            }
            if !last {
                line.push(' ');
            }
        }
        let line: String = line.chars().take(most).collect();
        crate::say(format_args!("{}", line.trim_end()))?;
    }
    Ok(())
}
