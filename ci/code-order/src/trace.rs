//! What code of the binary runs in a boot: QEMU logs each block of code when it translates it for the first time.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::time::Duration;

use qemu::keys::Key;
use qemu::{Artifacts, Config, Disk, Error, Machine, Result};

const WITHIN: Duration = Duration::from_secs(300);

/// The addresses of the blocks in `code`, in their order, from PID 1's `entry` to the end of an orderly shutdown:
/// a boot like any other (not the first, which makes keys and grows the disk), a login, a command.
pub fn of_a_boot(artifacts: &Artifacts, entry: u64, code: Range<u64>) -> Result<Vec<u64>> {
    let place = artifacts.directory().join("code-order");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).map_err(|error| Error::Usage(format!("{}: {error}", place.display())))?;
    let disk = Disk::overlay(&artifacts.disk()?, &place.join("disk.qcow2"))?;
    let log = place.join("code.log");
    for config in [Config::disk(disk.clone()), Config::disk(disk).log_code(code, log.clone())] {
        let directory = place.join("machine");
        let _ = fs::remove_dir_all(&directory);
        let mut machine = Machine::start(&directory, &config, &Key::of(artifacts)?)?;
        machine.wait_for_ssh(WITHIN)?;
        machine.run("ls /")?;
        machine.press_power_button()?;
        machine.wait_for_end(WITHIN)?;
    }
    let file = File::open(&log).map_err(|error| Error::Usage(format!("{}: {error}", log.display())))?;
    let addresses = blocks(BufReader::new(file));
    // Before PID 1 begins, firmware and boot loader run at the same addresses.
    let began = addresses.iter().position(|address| *address == entry);
    let began = began.ok_or_else(|| {
        Error::Usage(format!(
            "{} does not tell of PID 1's first instruction; with KVM, QEMU logs no code",
            log.display()
        ))
    })?;
    Ok(addresses.into_iter().skip(began).collect())
}

/// The address of each block in QEMU's log of guest code: the first line after `IN:` tells it.
fn blocks(log: impl BufRead) -> Vec<u64> {
    let mut addresses = Vec::new();
    let mut is_next = false;
    for line in log.split(b'\n').map_while(std::result::Result::ok) {
        let line = String::from_utf8_lossy(&line);
        if line.starts_with("IN:") {
            is_next = true;
        } else if is_next {
            is_next = false;
            let digits = line.strip_prefix("0x").and_then(|line| line.split(':').next());
            addresses.extend(digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()));
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_where_its_first_line_says() {
        let log = "----------------\nIN: \n0x007efdc0:  31 ed   xorl %ebp, %ebp\n0x007efdc2:  49  movq\n\n\
                   ----------------\nIN: name\n0x00801000:  c3   retq\n";
        assert_eq!(blocks(log.as_bytes()), [0x7e_fdc0, 0x80_1000]);
    }
}
