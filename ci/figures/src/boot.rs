//! From PID 1 to multi-user, and memory in use when it is quiet.
//!
//! Both sides run the same unit, which prints the memory, and when PID 1 began and multi-user was reached as
//! their own `systemctl` tells it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use qemu::keys::Key;
use qemu::{Artifacts, Config, Disk, Error, Machine, Result};

use crate::debian;
use crate::median::Figures;

/// Reports the memory in use, five seconds after everything else has started, and then the two times; then
/// switches off, for nothing listens to the power button in a Debian this small.
pub const REPORT: &str = "\
[Unit]
Description=Report the memory in use and the time of the boot
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c \"sleep 5; grep -E '^Mem(Total|Available)' /proc/meminfo > /dev/console; \
 (systemctl show -p UserspaceTimestampMonotonic; systemctl show -p ActiveEnterTimestampMonotonic multi-user.target; \
 echo report ends) > /dev/console; systemctl --no-block poweroff\"
[Install]
WantedBy=multi-user.target
";

const WITHIN: Duration = Duration::from_secs(180);

/// One side's figures.
#[derive(Default)]
struct Side {
    /// Seconds from PID 1 to the default target.
    userspace: Figures,
    /// MiB in use.
    memory: Figures,
}

/// Boots both sides in turn and prints their medians and ratios.
pub fn print(artifacts: &Artifacts, tree: &Path, runs: u32) -> Result<()> {
    let debian_image = debian::disk(artifacts, tree)?;
    let place = artifacts.directory().join("bench");
    let (mut ours, mut theirs) = (Side::default(), Side::default());
    let mut kernel = Figures::default();
    for run in 0..runs {
        let disk = fresh(&artifacts.disk()?, &place)?;
        // The first boot makes keys and grows the disk: what is compared is a boot like any other.
        let first = Config::disk(disk.clone()).memory(512).cloud_config(cloud_config());
        one_boot(artifacts, &place, &first)?;
        let (seconds, mebibytes) = one_boot(artifacts, &place, &first)?;
        ours.userspace.add(seconds);
        ours.memory.add(mebibytes);

        let disk = fresh(&debian_image, &place)?;
        let config = debian::machine(artifacts, disk)?.memory(512);
        one_boot(artifacts, &place, &config)?;
        let (seconds, mebibytes) = one_boot(artifacts, &place, &config)?;
        theirs.userspace.add(seconds);
        theirs.memory.add(mebibytes);

        let config = debian::kernel_alone(artifacts, fresh(&debian_image, &place)?)?.memory(512);
        kernel.add(memory(&report(artifacts, &place, &config)?)?);
        eprintln!("run {} of {runs}", run + 1);
    }
    println!(
        "{:<28} {:>24} {:>24} {:>8}",
        "median of alternating boots", "Corten", "Debian, systemd", "ratio"
    );
    row("PID 1 to multi-user, s", &ours.userspace, &theirs.userspace);
    row("memory in use, MiB", &ours.memory, &theirs.memory);
    // Both run the same kernel, which takes most of it.
    let above = |side: &Side| side.memory.median() - kernel.median();
    println!("{:<28} {kernel:>24} {kernel:>24} {:>8.2}", "the kernel alone, MiB", 1.0);
    println!(
        "{:<28} {:>24.2} {:>24.2} {:>8.2}",
        "above the kernel alone, MiB",
        above(&ours),
        above(&theirs),
        above(&ours) / above(&theirs)
    );
    println!();
    Ok(())
}

fn row(what: &str, ours: &Figures, theirs: &Figures) {
    let ratio = ours.median() / theirs.median();
    println!("{what:<28} {:>24} {:>24} {ratio:>8.2}", ours.to_string(), theirs.to_string());
}

/// The same report unit for Corten.
fn cloud_config() -> String {
    let mut text = "#cloud-config\ncoreos:\n  units:\n    - name: report.service\n      enable: true\n      command: start\n      content: |\n".to_owned();
    for line in REPORT.lines() {
        text += &format!("        {line}\n");
    }
    text
}

fn fresh(image: &Path, place: &Path) -> Result<Disk> {
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place).map_err(|error| Error::Usage(format!("{}: {error}", place.display())))?;
    Disk::overlay(image, &place.join("disk.qcow2"))
}

/// Seconds of userspace and MiB in use, of one boot.
fn one_boot(artifacts: &Artifacts, place: &Path, config: &Config) -> Result<(f64, f64)> {
    let text = report(artifacts, place, config)?;
    let seconds = userspace(&text).ok_or_else(|| missing("when multi-user was reached", &text))?;
    Ok((seconds, memory(&text)?))
}

fn missing(what: &str, text: &str) -> Error {
    Error::Usage(format!("the console does not say {what}: {text}"))
}

/// MiB in use, as /proc/meminfo tells it.
fn memory(text: &str) -> Result<f64> {
    let total = number(text, "MemTotal:").ok_or_else(|| missing("MemTotal", text))?;
    let available = number(text, "MemAvailable:").ok_or_else(|| missing("MemAvailable", text))?;
    Ok((total - available) / 1024.0)
}

/// What the console says of one boot, to the end of the report.
fn report(artifacts: &Artifacts, place: &Path, config: &Config) -> Result<String> {
    let directory = place.join("machine");
    let _ = fs::remove_dir_all(&directory);
    let mut machine = Machine::start(&directory, config, &Key::of(artifacts)?)?;
    machine.wait_for_text("report ends", WITHIN)?;
    machine.wait_for_end(WITHIN)?;
    Ok(machine.console().text())
}

/// Seconds from PID 1's first instruction to multi-user.
fn userspace(console: &str) -> Option<f64> {
    let began = number(console, "UserspaceTimestampMonotonic=")?;
    let reached = number(console, "ActiveEnterTimestampMonotonic=")?;
    (reached > began).then_some((reached - began) / 1e6)
}

/// The number behind `label` in the last line that begins with it.
fn number(console: &str, label: &str) -> Option<f64> {
    console
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix(label))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{number, userspace};

    #[test]
    fn reads_when_multi_user_was_reached() {
        let console =
            "x\r\nUserspaceTimestampMonotonic=1300000\r\nActiveEnterTimestampMonotonic=63800000\r\n";
        assert_eq!(userspace(console), Some(62.5));
        let never = "UserspaceTimestampMonotonic=1300000\r\nActiveEnterTimestampMonotonic=0\r\n";
        assert_eq!(userspace(never), None);
        assert_eq!(userspace("nothing"), None);
    }

    #[test]
    fn reads_the_memory() {
        assert_eq!(number("x\r\nMemTotal:  499000 kB\r\n", "MemTotal:"), Some(499_000.0));
        assert_eq!(number("x", "MemTotal:"), None);
    }
}
