//! The state of the two slots, as lines `NAME=VALUE`.

use std::fmt::Write;

use crate::boot::{BootError, BootPartition, Booted};
use crate::slots::{Slot, Slots};

/// How the machine was booted.
///
/// # Errors
/// `/proc` is not mounted.
pub fn booted() -> Result<String, BootError> {
    Ok(booted_line(Booted::now()?))
}

/// The slots as the boot loader knows them, for root; nothing where the machine was not booted from one.
///
/// # Errors
/// The boot loader's partition cannot be read.
pub fn slots() -> Result<String, BootError> {
    match Booted::now()? {
        Booted::Slot(_) => Ok(slot_lines(Slots::read(&BootPartition::mount(false)?.read()?))),
        Booted::Live | Booted::Unknown => Ok(String::new()),
    }
}

fn booted_line(booted: Booted) -> String {
    let boot = match booted {
        Booted::Slot(slot) => slot.name(),
        Booted::Live => "live",
        Booted::Unknown => "unknown",
    };
    format!("BOOTED_SLOT={boot}\n")
}

fn slot_lines(slots: Slots) -> String {
    let mut text = format!("NEXT_SLOT={}\n", slots.choose());
    for slot in Slot::ALL {
        let (name, state) = (slot.name().to_uppercase(), slots.state(slot));
        let _ = writeln!(text, "SLOT_{name}_PRIORITY={}", state.priority);
        let _ = writeln!(text, "SLOT_{name}_TRIES={}", state.tries);
        let _ = writeln!(text, "SLOT_{name}_GOOD={}", u8::from(state.ok));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_will_boot_next() {
        assert_eq!(booted_line(Booted::Slot(Slot::A)), "BOOTED_SLOT=a\n");
        let text = slot_lines(Slots::new_disk());
        assert!(text.starts_with("NEXT_SLOT=a\nSLOT_A_PRIORITY=1\n"), "{text}");
        assert!(text.contains("SLOT_B_PRIORITY=0\n"), "{text}");
    }
}
