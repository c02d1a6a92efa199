//! `locksmithd`: reboots the machine into a release that waits, when it is its turn.
//!
//! It is configured as CoreOS's is, by update.conf, which its unit hands it as its environment. Whether a release
//! waits is asked of `update_engine_client -status`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use http_client::Http;
use jiff::Zoned;

use crate::cli::this_machine;
use crate::fleet_lock::{self, Client, Verb};
use crate::semaphore::key;
use crate::store::{Api, Store, StoreError};
use crate::turn::{Action, Answer, Strategy, Turn};
use crate::window::Window;

/// Between two looks at the engine and the clock: a window's minute is not missed.
const LOOK: Duration = Duration::from_secs(30);

/// Reboot the machine into a release that waits, when it is its turn
#[derive(Parser)]
#[command(name = "locksmithd", version)]
struct Arguments {
    /// reboot, etcd-lock, fleet-lock, best-effort or off
    #[arg(long, env = "REBOOT_STRATEGY", default_value = "best-effort")]
    strategy: String,
    /// When the window opens: HH:MM, or a day and HH:MM
    #[arg(long, env = "LOCKSMITHD_REBOOT_WINDOW_START")]
    window_start: Option<String>,
    /// How long it is open: 1h30m
    #[arg(long, env = "LOCKSMITHD_REBOOT_WINDOW_LENGTH")]
    window_length: Option<String>,
    /// Members of the store, separated by commas
    #[arg(long, env = "LOCKSMITHD_ENDPOINT", value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// The FleetLock server of the strategy fleet-lock, as an URL
    #[arg(long, env = "LOCKSMITHD_FLEET_LOCK", value_name = "URL")]
    fleet_lock: Option<String>,
    /// The group of machines that take turns
    #[arg(long, env = "LOCKSMITHD_GROUP", default_value = "")]
    group: String,
    /// Which of etcd's APIs to speak
    #[arg(long, value_enum, env = "LOCKSMITHD_API", default_value = "v3")]
    api: Api,
    /// A certificate that the members' are signed by, in PEM
    #[arg(long, env = "LOCKSMITHD_ETCD_CAFILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// The applet.
pub fn locksmithd(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("locksmithd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let unknown = || {
        format!(
            "REBOOT_STRATEGY={:?}: it is one of reboot, etcd-lock, fleet-lock, best-effort and off",
            arguments.strategy
        )
    };
    let strategy = Strategy::parse(&arguments.strategy).ok_or_else(unknown)?;
    let window = match (&arguments.window_start, &arguments.window_length) {
        (Some(start), Some(length)) => Some(Window::parse(start, length)?),
        (None, None) => None,
        _ => return Err("a window has a start and a length: set both or neither".into()),
    };
    if strategy == Strategy::Off {
        println!("Reboots are off (REBOOT_STRATEGY=off).");
        return Ok(());
    }
    let machine = this_machine()?;
    let certificates: Vec<PathBuf> = arguments.ca_file.iter().cloned().collect();
    let http = Http::new(&certificates)?;
    let lock = match (strategy, &arguments.fleet_lock) {
        (Strategy::FleetLock, Some(server)) => {
            let group = if arguments.group.is_empty() { "default" } else { &arguments.group };
            let client = Client { id: machine, group: group.to_owned() };
            Lock::Fleet { http, server: server.clone(), client }
        }
        (Strategy::FleetLock, None) => {
            return Err("REBOOT_STRATEGY=fleet-lock needs LOCKSMITHD_FLEET_LOCK=URL".into());
        }
        _ => {
            let endpoints = arguments.endpoints.clone();
            Lock::Etcd { store: Store::new(http, endpoints, arguments.api, key(&arguments.group))?, machine }
        }
    };
    let began = Instant::now();
    let mut turn = Turn::new(strategy, began.elapsed());
    let open = || window.as_ref().is_none_or(|window| window.is_open(minute_of_week()));
    loop {
        let mut action = turn.time(reboot_waits(), open(), began.elapsed());
        while let Some(wanted) = action.take() {
            match wanted {
                Action::Lock => {
                    let answer = lock.ask(Verb::PreReboot);
                    action = turn.locked(answer, open(), began.elapsed());
                }
                Action::Unlock => {
                    let answer = lock.ask(Verb::SteadyState);
                    turn.unlocked(&answer, began.elapsed());
                }
                Action::Reboot => {
                    println!("Rebooting into the release that waits.");
                    let status = Command::new("/usr/bin/systemctl").arg("reboot").status()?;
                    if !status.success() {
                        return Err("systemctl reboot failed".into());
                    }
                }
                Action::Say(text) => eprintln!("locksmithd: {text}"),
            }
        }
        thread::sleep(LOOK);
    }
}

/// Where a place is to be had.
enum Lock {
    Etcd { store: Store, machine: String },
    Fleet { http: Http, server: String, client: Client },
}

impl Lock {
    fn ask(&self, verb: Verb) -> Answer {
        match self {
            Lock::Etcd { store, machine } => {
                match store.change(|semaphore| verb.change(semaphore, machine)) {
                    Ok(_) => Answer::Done,
                    Err(StoreError::Refused(refused)) => Answer::Refused(refused),
                    Err(error) => Answer::Unreachable(error.to_string()),
                }
            }
            Lock::Fleet { http, server, client } => fleet_lock::ask(http, server, verb, client)
                .unwrap_or_else(|error| Answer::Unreachable(error.to_string())),
        }
    }
}

/// Minutes since Monday's midnight, in local time.
fn minute_of_week() -> u32 {
    let now = Zoned::now();
    let day = u32::try_from(now.weekday().to_monday_zero_offset()).unwrap_or(0);
    let part = |number: i8| u32::try_from(number).unwrap_or(0);
    (day * 24 + part(now.hour())) * 60 + part(now.minute())
}

fn reboot_waits() -> bool {
    let output = Command::new("/usr/bin/update_engine_client").arg("-status").output();
    output.is_ok_and(|output| waits(&String::from_utf8_lossy(&output.stdout)))
}

/// Whether the engine says so, or another slot is booted next than the one that runs.
fn waits(status: &str) -> bool {
    let value = |name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')))
    };
    let other = value("NEXT_SLOT").is_some_and(|next| Some(next) != value("BOOTED_SLOT"));
    value("CURRENT_OP") == Some("UPDATE_STATUS_UPDATED_NEED_REBOOT") || other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_says_whether_a_release_waits() {
        assert!(waits("CURRENT_OP=UPDATE_STATUS_UPDATED_NEED_REBOOT\nNEW_VERSION=2\n"));
        assert!(waits("CURRENT_OP=UPDATE_STATUS_IDLE\nBOOTED_SLOT=a\nNEXT_SLOT=b\n"));
        assert!(!waits("CURRENT_OP=UPDATE_STATUS_IDLE\nBOOTED_SLOT=a\nNEXT_SLOT=a\n"));
        assert!(!waits("CURRENT_OP=UPDATE_STATUS_DOWNLOADING\nBOOTED_SLOT=a\n") && !waits(""));
        assert!(minute_of_week() < 7 * 24 * 60);
    }

    #[test]
    fn half_a_window_or_an_unknown_strategy_is_refused() {
        let refused = |words: &[&str]| {
            let words = [&["locksmithd"], words].concat();
            run(&Arguments::try_parse_from(words).unwrap()).unwrap_err().to_string()
        };
        assert!(refused(&["--strategy", "sometimes"]).contains("one of reboot"));
        assert!(refused(&["--window-start", "12:00"]).contains("both or neither"));
        assert!(refused(&["--window-start", "noon", "--window-length", "1h"]).contains("HH:MM"));
        let off = Arguments::try_parse_from(["locksmithd", "--strategy", "off"]).unwrap();
        assert!(run(&off).is_ok());
    }
}
