//! `update-engine-mark-good`: run by its unit after `boot-complete.target`, tells the boot loader that the running
//! slot has come up. Nothing is written when nothing changes, so a normal boot writes nothing.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::boot::{BootError, BootPartition, Booted};
use crate::slots::{Slot, Slots};

/// Tell the boot loader that the running system has come up well.
///
/// The boot loader then boots this slot again and uses it to fall back to. Does nothing in a live boot.
#[derive(Parser)]
#[command(name = "update-engine-mark-good", version)]
struct Arguments {}

/// The applet.
pub fn mark_good(args: Vec<OsString>) -> ExitCode {
    if let Err(error) = Arguments::try_parse_from(args) {
        let _ = error.print();
        return ExitCode::from(u8::from(error.use_stderr()));
    }
    match run() {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("update-engine-mark-good: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, BootError> {
    let slot = match Booted::now()? {
        Booted::Slot(slot) => slot,
        Booted::Live => return Ok("Live boot: there is no slot to mark good.".to_owned()),
        Booted::Unknown => {
            return Ok("Not booted from a slot (no corten.slot= on the kernel command line).".to_owned());
        }
    };
    if is_good(slot, &BootPartition::mount(false)?)? {
        return Ok(format!("Slot {slot} is already marked good."));
    }
    let partition = BootPartition::mount(true)?;
    // A damaged block is made new: the running slot is the one thing that is known.
    let mut block = partition.read().unwrap_or_else(|error| {
        eprintln!("update-engine-mark-good: {error}; writing a new one");
        crate::grubenv::Block::default()
    });
    let slots = Slots::read(&block).mark_good(slot);
    slots.write(&mut block).map_err(|source| BootError::Block { path: "grub/grubenv".into(), source })?;
    partition.write(&block)?;
    crate::trial::settle(slot, &partition, Path::new(crate::record::FOLDER))?;
    Ok(format!("Slot {slot} is marked good."))
}

fn is_good(slot: Slot, partition: &BootPartition) -> Result<bool, BootError> {
    match partition.read() {
        Ok(block) => {
            let slots = Slots::read(&block);
            Ok(slots == slots.mark_good(slot))
        }
        Err(BootError::Block { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
