//! `update-engine-watch-boot`: gives a release on trial a limited time to come up.
//!
//! A boot that hangs below `boot-complete.target` burns no try by itself: somebody has to end it. This runs from
//! early in the boot; when the time is up and the slot is still not marked good, it reboots, and the boot loader
//! goes on with the last good slot. `--now` is for a boot that is known not to complete, because a unit that
//! `boot-complete.target` requires has failed. A good slot, or one with nothing to fall back to, is left alone: an
//! operator's broken unit must not make a machine reboot for ever.

use std::ffi::OsString;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::Parser;

use crate::boot::{BootError, BootPartition, Booted};
use crate::slots::{Slot, Slots};
use crate::trial;

/// Reboot when a release on trial does not come up in time.
#[derive(Parser)]
#[command(name = "update-engine-watch-boot", version)]
struct Arguments {
    /// Seconds from now until the slot must be marked good.
    #[arg(long, env = "BOOT_TIMEOUT", default_value_t = 300)]
    timeout: u64,
    /// Do not wait: the boot is known not to complete.
    #[arg(long)]
    now: bool,
}

/// The applet.
pub fn watch_boot(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match watch((!arguments.now).then(|| Duration::from_secs(arguments.timeout))) {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("update-engine-watch-boot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(timeout: Option<Duration>) -> Result<String, BootError> {
    let Booted::Slot(slot) = Booted::now()? else {
        return Ok("Not booted from a slot: there is nothing to watch.".to_owned());
    };
    let Some(fallback) = on_trial(slot)? else {
        return Ok(format!("Slot {slot} is not on trial."));
    };
    let mut why = "boot-complete.target cannot be reached".to_owned();
    if let Some(timeout) = timeout {
        let seconds = timeout.as_secs();
        println!("Slot {slot} is on trial: it must be marked good within {seconds} s.");
        thread::sleep(timeout);
        if on_trial(slot)?.is_none() {
            return Ok(format!("Slot {slot} has come up."));
        }
        why = format!("it has not come up within {seconds} s");
    }
    trial::give_up(slot, fallback, &format!("{why} ({})", trial::in_the_way()));
    Ok(format!("Slot {slot} still runs."))
}

/// The good slot to fall back to, while `slot` is not yet good itself.
fn on_trial(slot: Slot) -> Result<Option<Slot>, BootError> {
    match BootPartition::mount(false)?.read() {
        Ok(block) => Ok(Slots::read(&block).trial(slot)),
        // A damaged block names no good slot to go back to.
        Err(BootError::Block { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
