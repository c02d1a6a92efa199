//! `systemd-networkd`: the service.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sd_notify::NotifyState;

use crate::serve::{Error, Service};

/// Manages the machine's links as .network files say.
///
/// Files are read from /etc, /run and /usr/lib/systemd/network; the first that matches a link decides.
/// What becomes of the links is told by networkctl, and by the files below /run/systemd/netif.
#[derive(Parser)]
#[command(name = "systemd-networkd", version)]
struct Arguments {
    /// Read the files and keep the state below this directory.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// The applet. Returns only when the service cannot go on.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(e) => return super::usage(&e),
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("<3>systemd-networkd: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let mut service = Service::start(&arguments.root)?;
    if let Err(e) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("Processing requests...")]) {
        eprintln!("<4>cannot tell the service manager that we are ready: {e}");
    }
    loop {
        service.step(None)?;
    }
}
