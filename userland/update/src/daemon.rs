//! `update_engine`: the service that keeps a machine up to date.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use update_engine::boot::{BootError, BootPartition, Booted};
use update_engine::record::{self, Record};
use update_engine::slots::Slots;

use crate::bus::Face;
use crate::engine::{Engine, Input, Now, Report, Status};
use crate::peer;
use crate::work;

/// How long it waits for news while something is being done.
const LONG: Duration = Duration::from_secs(3600);

/// Keep the machine up to date: ask the server of /etc/coreos/update.conf for releases, and install them
#[derive(Parser)]
#[command(name = "update_engine", version)]
struct Arguments {
    /// The system bus
    #[arg(long, value_name = "SOCKET", default_value = peer::BUS)]
    bus: PathBuf,
}

/// The applet.
pub fn update_engine(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(arguments.bus) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("update-engine: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_time() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn run(bus: PathBuf) -> io::Result<()> {
    let began = Instant::now();
    let now = || Now { monotonic: began.elapsed(), unix: unix_time(), chance: chance() };
    let (inputs, come) = channel();
    let (actions, wanted) = channel();
    let results = inputs.clone();
    thread::Builder::new().name("work".to_owned()).spawn(move || work::run(&wanted, &results))?;
    let last = i64::try_from(Record::read(Path::new(record::FOLDER)).last_checked).unwrap_or(0);
    let mut engine = Engine::new(now(), last, waiting());
    let face = Face::serve(bus, engine.report().clone(), inputs)?;
    loop {
        let wait = engine.due().map_or(LONG, |due| due.saturating_sub(began.elapsed()));
        let input = match come.recv_timeout(wait) {
            Ok(input) => input,
            Err(RecvTimeoutError::Timeout) => Input::Time,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("its own threads have ended"));
            }
        };
        let before = engine.report().clone();
        for action in engine.step(input, now()) {
            if actions.send(action).is_err() {
                return Err(io::Error::other("its own threads have ended"));
            }
        }
        say(&before, engine.report());
        face.show(engine.report());
    }
}

/// What the journal has of a step.
fn say(before: &Report, after: &Report) {
    if before.trouble != after.trouble && !after.trouble.is_empty() {
        eprintln!("update-engine: {}", after.trouble);
    }
    if before.status != after.status {
        match after.status {
            Status::Downloading => println!("Release {} is fetched.", after.new_version),
            Status::UpdatedNeedReboot if before.status != Status::CheckingForUpdate => {
                println!("Release {} is installed; the next boot is into it.", after.new_version);
            }
            _ => {}
        }
    }
}

/// The version in the slot that is booted next, if another one runs.
fn waiting() -> Option<String> {
    let look = || -> Result<Option<String>, BootError> {
        let Booted::Slot(running) = Booted::now()? else { return Ok(None) };
        let slots = Slots::read(&BootPartition::mount(false)?.read()?);
        let next = slots.choose();
        if next == running {
            return Ok(None);
        }
        let trial = Record::read(Path::new(record::FOLDER)).trial;
        let version = trial.filter(|trial| trial.slot == next.name()).map(|trial| trial.version);
        Ok(Some(version.unwrap_or_else(|| "unknown".to_owned())))
    };
    look().unwrap_or_else(|error| {
        eprintln!("update-engine: {error}");
        None
    })
}

/// Between 0 and 1.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if read.is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}
