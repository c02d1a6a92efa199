//! Methods about the manager and the machine: reload, environment, going down; and `Peer`.

use std::io::{Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::MemfdFlags;
use unit::Shutdown;

use super::{Answer, Call, Method, Outcome, changes, done, reads, values};
use crate::dbus::glob;
use crate::dbus::world::Failure;

pub(super) const PEER: &[Method] = &[
    reads("Ping", "", "", |_, _| done()),
    reads("GetMachineId", "", "s", |_, _| {
        let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        if id.trim().is_empty() {
            return Err(Failure::new("org.freedesktop.DBus.Error.FileNotFound", "/etc/machine-id is empty."));
        }
        values(&id.trim())
    }),
];

pub(super) const MANAGER: &[Method] = &[
    // Clients of this socket are told everything anyway.
    reads("Subscribe", "", "", |_, _| done()),
    reads("Unsubscribe", "", "", |_, _| done()),
    changes("Reload", "", "", |call, _| {
        call.world.reload();
        done()
    }),
    changes("Reexecute", "", "", |call, _| {
        call.world.reexecute();
        Ok(Answer::Never)
    }),
    changes("PowerOff", "", "", |call, _| power(call, Shutdown::PowerOff)),
    changes("Reboot", "", "", |call, _| power(call, Shutdown::Reboot)),
    changes("Halt", "", "", |call, _| power(call, Shutdown::Halt)),
    changes("KExec", "", "", |call, _| power(call, Shutdown::Kexec)),
    changes("Exit", "", "", |call, _| power(call, Shutdown::Exit(0))),
    changes("SetExitCode", "y", "", |_, _| {
        let text = "Only a user's or a container's manager has an exit code.";
        Err(Failure::new("org.freedesktop.DBus.Error.NotSupported", text))
    }),
    changes("SwitchRoot", "ss", "", |_, _| {
        let text = "There is no other root to go to: an update is booted into, see update_engine_client.";
        Err(Failure::new("org.freedesktop.DBus.Error.NotSupported", text))
    }),
    changes("SetShowStatus", "s", "", |call, _| {
        let mode: String = call.message.body()?;
        match mode.as_str() {
            "" | "yes" | "1" | "true" | "on" | "auto" | "temporary" => call.world.set_show_status(true),
            "no" | "0" | "false" | "off" | "error" => call.world.set_show_status(false),
            _ => return Err(Failure::arguments(format!("Invalid show status '{mode}'"))),
        }
        done()
    }),
    reads("DumpUnitsMatchingPatterns", "as", "s", |call, _| {
        let patterns: Vec<String> = call.message.body()?;
        values(&matching(&call.world.dump(), &patterns))
    }),
    reads("DumpUnitsMatchingPatternsByFileDescriptor", "as", "h", |call, _| {
        let patterns: Vec<String> = call.message.body()?;
        by_descriptor(&matching(&call.world.dump(), &patterns))
    }),
    reads("Dump", "", "s", |call, _| values(&call.world.dump())),
    reads("DumpByFileDescriptor", "", "h", |call, _| by_descriptor(&call.world.dump())),
    // Not one of systemd 252's: there the environment is a property only.
    reads("GetEnvironment", "", "as", |call, _| values(&call.world.environment())),
    changes("SetEnvironment", "as", "", |call, _| {
        let set: Vec<String> = call.message.body()?;
        environment(call, &[], &set)
    }),
    changes("UnsetEnvironment", "as", "", |call, _| {
        let unset: Vec<String> = call.message.body()?;
        environment(call, &unset, &[])
    }),
    changes("UnsetAndSetEnvironment", "asas", "", |call, _| {
        let (unset, set): (Vec<String>, Vec<String>) = call.message.body()?;
        environment(call, &unset, &set)
    }),
];

/// The paragraphs of a dump that are about these units.
fn matching(dump: &str, patterns: &[String]) -> String {
    let mut text = String::new();
    let mut meant = false;
    for line in dump.lines() {
        if let Some(head) = line.strip_prefix("-> ") {
            let unit = head.strip_prefix("Unit ").map(|name| name.trim_end_matches(':'));
            meant = unit.is_some_and(|unit| patterns.iter().any(|pattern| glob::matches(pattern, unit)));
        }
        if meant {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

fn by_descriptor(text: &str) -> Outcome {
    let failed = |error| {
        Failure::new("org.freedesktop.DBus.Error.NoMemory", format!("Cannot write the dump: {error}"))
    };
    super::login::handed_over(sealed(text).map_err(failed)?)
}

/// A file in memory with this text, to be read from its beginning.
fn sealed(text: &str) -> std::io::Result<OwnedFd> {
    let file = rustix::fs::memfd_create("dump", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

fn power(call: &mut Call<'_>, how: Shutdown) -> Outcome {
    if how == Shutdown::Kexec {
        let text = "No kernel can be loaded for kexec here: use reboot.";
        return Err(Failure::new("org.freedesktop.DBus.Error.NotSupported", text));
    }
    call.world.power(how);
    done()
}

fn environment(call: &mut Call<'_>, unset: &[String], set: &[String]) -> Outcome {
    let valid = |assignment: &&String| {
        let name = assignment.split_once('=').map_or("", |(name, _)| name);
        let letters = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        !name.is_empty() && letters && !name.starts_with(|first: char| first.is_ascii_digit())
    };
    if set.iter().any(|assignment| !valid(&assignment)) {
        return Err(Failure::arguments("Invalid environment assignments"));
    }
    call.world.change_environment(unset, set);
    done()
}
