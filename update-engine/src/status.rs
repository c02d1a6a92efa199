//! `update_engine_client`: what CoreOS's operators ask: `-status`, with the state of the slots, and `-payload FILE`, which
//! installs a release from a file. Servers are not asked yet.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::boot::{BootError, BootPartition, Booted};
use crate::install::install;
use crate::slots::{Slot, Slots};

/// Show the state of updates and of the two system slots, and install a release.
#[derive(Parser)]
#[command(name = "update_engine_client", version)]
struct Arguments {
    /// Print the status (CoreOS's spelling -status works too)
    #[arg(long)]
    status: bool,
    /// Install the release in this file; the next boot is into it
    #[arg(long, value_name = "FILE", conflicts_with = "status")]
    payload: Option<PathBuf>,
    /// Install it even if it is older than what runs
    #[arg(long, requires = "payload")]
    allow_downgrade: bool,
}

/// The applet.
pub fn update_engine_client(args: Vec<OsString>) -> ExitCode {
    // The original takes its flags with one dash.
    let args = args.into_iter().map(|arg| match arg.to_str() {
        Some("-status") => "--status".into(),
        Some("-payload") => "--payload".into(),
        _ => arg,
    });
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    if let Some(path) = &arguments.payload {
        return match install(path, arguments.allow_downgrade) {
            Ok((version, slot)) => {
                println!("Release {version} is in slot {slot}; reboot to change over to it.");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("update_engine_client: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if !arguments.status {
        eprintln!("update_engine_client: nothing to do; try -status or -payload FILE");
        return ExitCode::FAILURE;
    }
    match report() {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("update_engine_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report() -> Result<String, BootError> {
    let booted = Booted::now()?;
    let slots = match booted {
        Booted::Slot(_) => Some(Slots::read(&BootPartition::mount(false)?.read()?)),
        Booted::Live | Booted::Unknown => None,
    };
    Ok(text(booted, slots))
}

fn text(booted: Booted, slots: Option<Slots>) -> String {
    let mut text = "CURRENT_OP=UPDATE_STATUS_IDLE\n".to_owned();
    let boot = match booted {
        Booted::Slot(slot) => slot.name(),
        Booted::Live => "live",
        Booted::Unknown => "unknown",
    };
    let _ = writeln!(text, "BOOTED_SLOT={boot}");
    if let Some(slots) = slots {
        let _ = writeln!(text, "NEXT_SLOT={}", slots.choose());
        for slot in Slot::ALL {
            let (name, state) = (slot.name().to_uppercase(), slots.state(slot));
            let _ = writeln!(text, "SLOT_{name}_PRIORITY={}", state.priority);
            let _ = writeln!(text, "SLOT_{name}_TRIES={}", state.tries);
            let _ = writeln!(text, "SLOT_{name}_GOOD={}", u8::from(state.ok));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_will_boot_next() {
        let text = text(Booted::Slot(Slot::A), Some(Slots::new_disk()));
        assert!(text.contains("BOOTED_SLOT=a\nNEXT_SLOT=a\nSLOT_A_PRIORITY=1\n"), "{text}");
        assert!(text.contains("SLOT_B_PRIORITY=0\n"), "{text}");
    }
}
