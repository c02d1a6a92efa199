//! From PID 1 to multi-user, and memory in use when it is quiet.
//!
//! Both sides say `Startup finished in K (kernel) + U (userspace) = …` on the console, and run
//! the same unit that reports the memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use qemu::keys::Key;
use qemu::{Artifacts, Config, Disk, Error, Machine, Result};

use crate::debian;
use crate::median::Figures;

/// Reports the memory in use, five seconds after everything else has started.
pub const REPORT: &str = "\
[Unit]
Description=Report the memory in use
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c \"sleep 5; grep -E '^Mem(Total|Available)' /proc/meminfo > /dev/console; echo report ends > /dev/console\"
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
        eprintln!("run {} of {runs}", run + 1);
    }
    println!(
        "{:<28} {:>24} {:>24} {:>8}",
        "median of alternating boots", "Corten", "Debian, systemd", "ratio"
    );
    row("PID 1 to multi-user, s", &ours.userspace, &theirs.userspace);
    row("memory in use, MiB", &ours.memory, &theirs.memory);
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
    let directory = place.join("machine");
    let _ = fs::remove_dir_all(&directory);
    let mut machine = Machine::start(&directory, config, &Key::of(artifacts)?)?;
    machine.wait_for_text("report ends", WITHIN)?;
    let text = machine.console().text();
    machine.press_power_button()?;
    machine.wait_for_end(WITHIN)?;
    let missing = |what: &str| Error::Usage(format!("the console does not say {what}: {text}"));
    let seconds = userspace(&text).ok_or_else(|| missing("Startup finished"))?;
    let total = meminfo(&text, "MemTotal:").ok_or_else(|| missing("MemTotal"))?;
    let available = meminfo(&text, "MemAvailable:").ok_or_else(|| missing("MemAvailable"))?;
    Ok((seconds, (total - available) / 1024.0))
}

/// The seconds before `(userspace)` in systemd's words, such as `1min 2.049s` or `870ms`.
fn userspace(console: &str) -> Option<f64> {
    let line = console.lines().find(|line| line.contains("Startup finished in"))?;
    let before = line.split(" (userspace)").next()?;
    let span = before.rsplit(" + ").next()?;
    let span = span.rsplit("Startup finished in ").next()?;
    span.split_whitespace()
        .map(|part| {
            let unit = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
            let number: f64 = part.strip_suffix(unit)?.parse().ok()?;
            let scale = match unit {
                "min" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" => 1e-6,
                _ => return None,
            };
            Some(number * scale)
        })
        .sum()
}

/// Kibibytes of a row of /proc/meminfo.
fn meminfo(console: &str, row: &str) -> Option<f64> {
    console
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix(row))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::{meminfo, userspace};

    #[test]
    fn reads_systemds_words() {
        let line =
            "[    9.1] systemd[1]: Startup finished in 2.049s (kernel) + 1min 2.5s (userspace) = 1min 4.5s.";
        assert_eq!(userspace(line), Some(62.5));
        assert_eq!(
            userspace("init: Startup finished in 1.2s (kernel) + 870ms (userspace) = 2.07s."),
            Some(0.87)
        );
        assert_eq!(userspace("nothing"), None);
    }

    #[test]
    fn reads_meminfo() {
        assert_eq!(meminfo("x\r\nMemTotal:  499000 kB\r\n", "MemTotal:"), Some(499_000.0));
        assert_eq!(meminfo("x", "MemTotal:"), None);
    }
}
