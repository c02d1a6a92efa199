//! `update_engine_client`: what CoreOS's operators ask. For now `-status`, with the state of the slots; checking for
//! updates comes with the payloads.

use std::ffi::OsString;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::boot::{BootError, BootPartition, Booted};
use crate::slots::{Slot, Slots};

/// Show the state of updates and of the two system slots.
#[derive(Parser)]
#[command(name = "update_engine_client", version)]
struct Arguments {
    /// Print the status (CoreOS's spelling -status works too)
    #[arg(long)]
    status: bool,
}

/// The applet.
pub fn update_engine_client(args: Vec<OsString>) -> ExitCode {
    // The original takes its flags with one dash.
    let args = args.into_iter().map(|arg| if arg == "-status" { "--status".into() } else { arg });
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    if !arguments.status {
        eprintln!("update_engine_client: nothing to do; try -status");
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
