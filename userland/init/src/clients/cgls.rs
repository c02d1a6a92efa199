//! `systemd-cgls`: the cgroups and what runs in them, as a tree (systemd-cgls(1)).

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Client, Tree};
use crate::dbus::SOCKET;

/// Show the cgroups and their processes.
#[derive(Debug, Parser)]
#[command(name = "systemd-cgls")]
struct Options {
    /// These units instead of everything
    #[arg(short, long, value_name = "UNIT")]
    unit: Vec<String>,
    /// Empty cgroups too (none are hidden)
    #[arg(short, long)]
    all: bool,
    /// Whole lines (they always are)
    #[arg(short = 'l', long)]
    full: bool,
    /// No pager (there never is one)
    #[arg(long)]
    no_pager: bool,
}

/// The applet.
#[must_use]
pub fn systemd_cgls(args: Vec<OsString>) -> ExitCode {
    let options: Options = match super::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let show = || {
        let mut client = Client::connect(Path::new(SOCKET))?;
        let units = if options.unit.is_empty() { vec!["-.slice".to_owned()] } else { options.unit.clone() };
        for unit in units {
            let unit = crate::cli::mangle(&unit);
            let processes = client.manager("GetUnitProcesses", &unit)?;
            let title =
                if unit == "-.slice" { "Control group /:".to_owned() } else { format!("Unit {unit}:") };
            println!("{title}\n-.slice\n{}", Tree::new("", processes).text("").trim_end());
        }
        Ok::<(), crate::cli::Trouble>(())
    };
    match show() {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => super::fail("systemd-cgls", trouble),
    }
}
