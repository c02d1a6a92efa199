//! The end of a trial: a release that is not good is given up, and a machine that went back knows why.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::system::{RebootCommand, reboot};

use crate::boot::{BootError, BootPartition, Booted};
use crate::record::{self, Record};
use crate::slots::{Slot, Slots};

/// How long an orderly reboot may take before it is forced.
const ORDERLY: Duration = Duration::from_secs(120);
/// How long PID 1 may take to say what stands in the way.
const ANSWER: Duration = Duration::from_secs(20);
/// A reason is no longer, in characters.
const LONGEST_REASON: usize = 900;

/// Compares what was on trial with what runs, and remembers what came of it.
///
/// # Errors
/// The boot loader's partition cannot be read.
pub fn settle(running: Slot, boot: &BootPartition, folder: &Path) -> Result<Record, BootError> {
    let mut record = Record::read(folder);
    if record.trial.is_none() {
        return Ok(record);
    }
    let slots = match boot.read() {
        Ok(block) => Slots::read(&block),
        // A damaged block says nothing of the trial.
        Err(BootError::Block { .. }) => return Ok(record),
        Err(error) => return Err(error),
    };
    let reason = slots.has_failed(running.other()).then(|| record::take_reason(folder)).flatten();
    if record.settle(running, &slots, reason)
        && let Err(error) = record.write(folder)
    {
        eprintln!("update-engine: {error}");
    }
    Ok(record)
}

/// Takes the tries of a release that is not good, leaves word why, and goes back. Returns only when the kernel refuses.
pub fn give_up(slot: Slot, fallback: Slot, why: &str) {
    eprintln!("The release in slot {slot} is given up: {why}. Rebooting, slot {fallback} is good.");
    if let Err(error) = record::leave_reason(Path::new(record::FOLDER), why) {
        eprintln!("update-engine: {}: {error}", record::FOLDER);
    }
    // Where this fails, the boot loader still counts the tries.
    if let Err(error) = take_tries(slot) {
        eprintln!("update-engine: {error}");
    }
    // Not waited for: a PID 1 that hangs does not answer.
    if let Err(error) = Command::new("/usr/bin/systemctl").args(["--no-block", "reboot"]).spawn() {
        eprintln!("update-engine: systemctl reboot: {error}");
    }
    thread::sleep(ORDERLY);
    rustix::fs::sync();
    let _ = reboot(RebootCommand::Restart);
    eprintln!("The kernel refused to reboot.");
}

fn take_tries(slot: Slot) -> Result<(), BootError> {
    BootPartition::mount(true)?.change(|slots| slots.give_up(slot))
}

/// Takes back a release that waits for its first boot.
///
/// # Errors
/// The boot loader's partition cannot be written.
pub fn withdraw(folder: &Path) -> Result<(), BootError> {
    let Booted::Slot(running) = Booted::now()? else { return Ok(()) };
    let boot = BootPartition::mount(true)?;
    let other = running.other();
    let slots = Slots::read(&boot.read()?);
    if slots.choose() == other && !slots.state(other).ok {
        boot.change(|slots| slots.retire(other))?;
        forget_trial(folder);
    }
    Ok(())
}

/// Why the machine cannot go back.
#[derive(Debug, thiserror::Error)]
pub enum RollBackError {
    /// The boot loader's partition.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// There are no slots here.
    #[error("this machine was not booted from a slot of a disk")]
    NoSlot,
    /// There is nothing to go back to.
    #[error("slot {0} holds no release that is known to be good")]
    NotGood(Slot),
}

/// The operator wants the other slot's release, and not the running one again before they say so.
///
/// # Errors
/// As [`RollBackError`] says.
pub fn roll_back(folder: &Path) -> Result<Slot, RollBackError> {
    let Booted::Slot(running) = Booted::now()? else { return Err(RollBackError::NoSlot) };
    let boot = BootPartition::mount(true)?;
    let other = running.other();
    let slots = Slots::read(&boot.read()?).go_back_to(other).ok_or(RollBackError::NotGood(other))?;
    let mut record = Record::read(folder);
    if let Ok(version) = crate::install::running_version() {
        let root_hash = crate::install::running_root_hash().unwrap_or_default();
        record.fail(&version, &root_hash, "the operator went back from it");
    }
    if let Err(error) = record.write(folder) {
        eprintln!("update-engine: {error}");
    }
    boot.change(|_| slots)?;
    Ok(other)
}

fn forget_trial(folder: &Path) {
    let mut record = Record::read(folder);
    if record.trial.take().is_some()
        && let Err(error) = record.write(folder)
    {
        eprintln!("update-engine: {error}");
    }
}

/// What PID 1 says stands in the way: the units that failed, and the jobs that are still waited for.
#[must_use]
pub fn in_the_way() -> String {
    let (send, told) = channel();
    thread::spawn(move || send.send(ask()));
    told.recv_timeout(ANSWER).unwrap_or_else(|_| "PID 1 does not answer".to_owned())
}

fn ask() -> String {
    let names = |arguments: &[&str], column: usize| -> Vec<String> {
        let output = Command::new("/usr/bin/systemctl").args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        words(&text.unwrap_or_default(), column)
    };
    let failed = names(&["list-units", "--state=failed", "--plain", "--no-legend", "--no-pager"], 0);
    let waiting = names(&["list-jobs", "--no-legend", "--no-pager"], 1);
    reason(&failed, &waiting)
}

fn words(text: &str, column: usize) -> Vec<String> {
    text.lines().filter_map(|line| line.split_whitespace().nth(column)).map(str::to_owned).collect()
}

fn reason(failed: &[String], waiting: &[String]) -> String {
    let mut parts = Vec::new();
    if !failed.is_empty() {
        parts.push(format!("failed: {}", failed.join(" ")));
    }
    if !waiting.is_empty() {
        parts.push(format!("waited for: {}", waiting.join(" ")));
    }
    if parts.is_empty() {
        parts.push("no unit failed".to_owned());
    }
    parts.join("; ").chars().take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_the_units() {
        let jobs = "12 health.service start running\n13 boot-complete.target start waiting\n";
        let waiting = words(jobs, 1);
        assert_eq!(
            reason(&words("health.service loaded failed failed x\n", 0), &waiting),
            "failed: health.service; waited for: health.service boot-complete.target"
        );
        assert_eq!(reason(&[], &[]), "no unit failed");
        assert_eq!(reason(&vec!["x".repeat(100); 100], &[]).chars().count(), LONGEST_REASON);
    }
}
