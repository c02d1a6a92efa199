//! `locksmithctl`: what CoreOS's operators ask and do about reboots, by its commands.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use http_client::Http;

use crate::semaphore::key;
use crate::store::{Api, Store};

/// Show and change who may reboot
#[derive(Parser)]
#[command(name = "locksmithctl", version)]
struct Arguments {
    /// Members of the store, separated by commas
    #[arg(
        long,
        alias = "endpoint",
        env = "LOCKSMITHD_ENDPOINT",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379"
    )]
    endpoints: Vec<String>,
    /// The group of machines that take turns
    #[arg(long, env = "LOCKSMITHD_GROUP", default_value = "")]
    group: String,
    /// Which of etcd's APIs to speak
    #[arg(long, value_enum, default_value = "v3")]
    api: Api,
    /// A certificate that the members' are signed by, in PEM
    #[arg(long, alias = "etcd-cafile", env = "LOCKSMITHD_ETCD_CAFILE", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the places and who holds them
    Status,
    /// Take a place for this machine, or another
    Lock {
        /// Its machine ID
        machine_id: Option<String>,
    },
    /// Give back the place of this machine, or of another that does not come back
    Unlock {
        /// Its machine ID
        machine_id: Option<String>,
    },
    /// Change how many machines may be away at once
    SetMax {
        /// How many
        max: u64,
    },
    /// Take a place for this machine, and reboot
    Reboot,
}

/// The applet.
pub fn locksmithctl(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args.into_iter().map(two_dashes)) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(&arguments) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("locksmithctl: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The original takes its flags with one dash or two.
fn two_dashes(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.len() > 2 && text.starts_with('-') && !text.starts_with("--") => {
            format!("-{text}").into()
        }
        _ => argument,
    }
}

fn run(arguments: &Arguments) -> Result<String, Box<dyn std::error::Error>> {
    let certificates: Vec<PathBuf> = arguments.ca_file.iter().cloned().collect();
    let http = Http::new(&certificates)?;
    let store = Store::new(http, arguments.endpoints.clone(), arguments.api, key(&arguments.group))?;
    match &arguments.verb {
        Verb::Status => Ok(store.read()?.status()),
        Verb::Lock { machine_id } => {
            let machine = machine(machine_id.as_deref())?;
            store.change(|semaphore| semaphore.lock(&machine))?;
            Ok(String::new())
        }
        Verb::Unlock { machine_id } => {
            let machine = machine(machine_id.as_deref())?;
            store.change(|semaphore| semaphore.unlock(&machine))?;
            Ok(String::new())
        }
        Verb::SetMax { max } => {
            let before = store.read()?.max();
            store.change(|semaphore| semaphore.with_max(*max))?;
            Ok(format!("Old-Max: {before}\nMax: {max}\n"))
        }
        Verb::Reboot => {
            let machine = machine(None)?;
            store.change(|semaphore| semaphore.lock(&machine))?;
            let status = Command::new("/usr/bin/systemctl").arg("reboot").status()?;
            if status.success() { Ok(String::new()) } else { Err("systemctl reboot failed".into()) }
        }
    }
}

/// This machine's ID.
pub(crate) fn this_machine() -> Result<String, String> {
    let path = Path::new("/etc/machine-id");
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// This machine's ID, or the one that is named.
fn machine(named: Option<&str>) -> Result<String, String> {
    let id = named.map_or_else(this_machine, |named| Ok(named.to_owned()))?;
    let plain = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { Ok(id) } else { Err(format!("{id:?} is no machine ID: it has 32 hexadecimal digits")) }
}
