//! A pager, when a person looks: `$SYSTEMD_PAGER`, `$PAGER`, `less` or `more`, whichever is there. An empty name or
//! `cat` is none. Source: journalctl(1), "ENVIRONMENT".

use std::io::IsTerminal;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A pager that is running.
pub struct Pager(Child);

impl Pager {
    /// Starts one if the output is a terminal.
    pub fn start(at_end: bool) -> Option<Pager> {
        if !std::io::stdout().is_terminal() || std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            return None;
        }
        let wanted = ["SYSTEMD_PAGER", "PAGER"].iter().find_map(|name| std::env::var(name).ok());
        let candidates = match wanted {
            Some(line) => vec![line],
            None => vec!["less".to_owned(), "more".to_owned()],
        };
        for line in candidates {
            let mut words = line.split_whitespace();
            let program = words.next().filter(|program| *program != "cat")?;
            if !is_there(program) {
                continue;
            }
            let mut command = Command::new(program);
            command.args(words).stdin(Stdio::piped());
            let less = std::env::var("SYSTEMD_LESS").unwrap_or_else(|_| "FRSXMK".to_owned());
            command.env("LESS", if at_end { format!("{less} +G") } else { less });
            if let Ok(child) = command.spawn() {
                return Some(Pager(child));
            }
        }
        None
    }

    /// What it reads; once.
    pub fn input(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Waits until its user has seen enough.
    pub fn wait(mut self) {
        drop(self.0.stdin.take());
        // How it ends says nothing of the journal.
        let _ = self.0.wait();
    }
}

fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}
