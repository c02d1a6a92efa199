//! `systemd-analyze`: where the time of the boot went, and whether unit files and times are right
//! (systemd-analyze(1)).
//!
//! Boot times are read from the manager's properties ([`boot`]); [`chain`] and [`plot`] draw them; [`check`] needs no
//! manager: it asks the same loader.

mod boot;
mod chain;
mod check;
mod plot;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wire::Message;

use crate::cli::{Client, Trouble};
use crate::dbus::{ROOT, SOCKET};

/// Look into the boot, and check units and times.
#[derive(Debug, Parser)]
#[command(name = "systemd-analyze", max_term_width = 110)]
struct Options {
    /// No pager (there never is one)
    #[arg(long, global = true)]
    no_pager: bool,
    /// The system's manager (there is no other)
    #[arg(long, global = true)]
    system: bool,
    /// In critical-chain: also units that were ready so much earlier than the last one
    #[arg(long, value_name = "SPAN", global = true)]
    fuzz: Option<String>,
    /// In calendar: how many times to show
    #[arg(long, value_name = "COUNT", default_value_t = 1, global = true)]
    iterations: u32,
    /// In verify: whether to look for manual pages (they are not looked for)
    #[arg(long, value_name = "YES", num_args = 0..=1, global = true)]
    man: Option<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// How long the boot took
    Time,
    /// The units, those that took longest to start first
    Blame,
    /// What the last unit waited for, as a tree
    CriticalChain {
        /// The units to begin with; without them: default.target
        units: Vec<String>,
    },
    /// The boot as an SVG picture
    Plot,
    /// Everything that the manager knows
    Dump,
    /// The folders that units are loaded from
    UnitPaths,
    /// Check unit files, as the loader reads them
    Verify {
        /// The files
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Check repeating times, and say when they elapse next
    Calendar {
        /// The times
        #[arg(required = true)]
        times: Vec<String>,
    },
    /// Check spans of time
    Timespan {
        /// The spans
        #[arg(required = true)]
        spans: Vec<String>,
    },
}

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Manager(#[from] Trouble),
    #[error("{0}")]
    Plain(String),
}

/// The applet.
#[must_use]
pub fn systemd_analyze(args: Vec<OsString>) -> ExitCode {
    let options: Options = match super::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool, Failed> {
    let connect = || Client::connect(Path::new(SOCKET));
    match options.verb.as_ref().unwrap_or(&Verb::Time) {
        Verb::Time => print!("{}", boot::Boot::read(&mut connect()?)?.summary()?),
        Verb::Blame => print!("{}", boot::blame(&boot::units(&mut connect()?)?)),
        Verb::CriticalChain { units } => {
            let wrong = |text: &String| Failed::Plain(format!("Failed to parse timespan {text}"));
            let fuzz = options
                .fuzz
                .as_ref()
                .map(|text| crate::cli::assignment::span(text).ok_or_else(|| wrong(text)));
            print!("{}", chain::text(&mut connect()?, units, fuzz.transpose()?.unwrap_or(0))?);
        }
        Verb::Plot => {
            let mut client = connect()?;
            let boot = boot::Boot::read(&mut client)?;
            print!("{}", plot::svg(&boot, &boot::units(&mut client)?));
        }
        Verb::Dump => print!("{}", dump(&mut connect()?)?),
        Verb::UnitPaths => {
            for folder in crate::catalog::Directories::system().folders() {
                println!("{}", folder.display());
            }
        }
        Verb::Verify { files } => return Ok(check::verify(files)),
        Verb::Calendar { times } => return Ok(check::calendar(times, options.iterations)),
        Verb::Timespan { spans } => return Ok(check::timespan(spans)),
    }
    Ok(true)
}

/// What the manager writes of itself.
fn dump(client: &mut Client) -> Result<String, Failed> {
    let text: String = client.call(Message::call(ROOT, "org.freedesktop.systemd1.Manager", "Dump"))?;
    Ok(text)
}
