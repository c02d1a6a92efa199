//! DevicePolicy=, DeviceAllow=: a list of what may be used, everything else is refused.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{major, minor};
use unit::settings::{Device, DevicePolicy};

use super::code::{CONTEXT, Register, Test, answer, copy, keep, load, rule, shift_right};
use crate::dbus::glob;

const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MAKE | READ | WRITE;
/// What every program expects: null, zero, full, random, urandom; tty; ptmx; pseudo terminals.
const STANDARD: [(u32, Option<u32>, u32); 8] = [
    (1, Some(3), ALL),
    (1, Some(5), ALL),
    (1, Some(7), ALL),
    (1, Some(8), ALL),
    (1, Some(9), ALL),
    (5, Some(0), ALL),
    (5, Some(2), ALL),
    (136, None, READ | WRITE),
];

/// Devices that may be used. `None` in place of a number: all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    kind: u32,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// What the settings allow on this machine. A device that is not there is not allowed when it comes.
pub fn rules(policy: DevicePolicy, devices: &[Device]) -> Vec<Rule> {
    let mut rules = Vec::new();
    if policy != DevicePolicy::Strict {
        let standard = |(major, minor, access)| Rule { kind: CHARACTER, major: Some(major), minor, access };
        rules.extend(STANDARD.map(standard));
    }
    let table = fs::read_to_string("/proc/devices").unwrap_or_default();
    for device in devices {
        let bits = [(device.make, MAKE), (device.read, READ), (device.write, WRITE)];
        let access = bits.into_iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
        let named = [("char-", CHARACTER), ("block-", BLOCK)]
            .into_iter()
            .find_map(|(prefix, kind)| Some((device.path.strip_prefix(prefix)?, kind)));
        match named {
            Some(("*", kind)) => rules.push(Rule { kind, major: None, minor: None, access }),
            Some((pattern, kind)) => {
                let majors = majors(&table, kind).filter(|(name, _)| glob::matches(pattern, name));
                rules.extend(majors.map(|(_, major)| Rule { kind, major: Some(major), minor: None, access }));
            }
            None => rules.extend(node(&device.path, access)),
        }
    }
    rules
}

fn node(path: &str, access: u32) -> Option<Rule> {
    let data = fs::metadata(path).ok()?;
    let kind = match data.file_type() {
        kind if kind.is_block_device() => BLOCK,
        kind if kind.is_char_device() => CHARACTER,
        _ => return None,
    };
    Some(Rule { kind, major: Some(major(data.rdev())), minor: Some(minor(data.rdev())), access })
}

/// The drivers of a kind and their major numbers, from /proc/devices.
fn majors(table: &str, wanted: u32) -> impl Iterator<Item = (&str, u32)> {
    let mut kind = 0;
    table.lines().filter_map(move |line| {
        match line {
            "Character devices:" => kind = CHARACTER,
            "Block devices:" => kind = BLOCK,
            _ if kind == wanted => {
                let (major, name) = line.trim().split_once(' ')?;
                return Some((name.trim(), major.parse().ok()?));
            }
            _ => {}
        }
        None
    })
}

/// The program: its context is what is to be done (above bit 16) with what kind of device, then major and minor.
pub fn program(rules: &[Rule]) -> Vec<u64> {
    const ACCESS: Register = 2;
    const KIND: Register = 3;
    const MAJOR: Register = 4;
    const MINOR: Register = 5;
    const FREE: Register = 6;
    let mut code: Vec<u64> = vec![
        load(ACCESS, CONTEXT, 0),
        copy(KIND, ACCESS),
        keep(KIND, 0xffff),
        shift_right(ACCESS, 16),
        load(MAJOR, CONTEXT, 4),
        load(MINOR, CONTEXT, 8),
    ];
    let is = |register: Register, value: u32| Test { prepare: [None, None], register, value };
    for one in rules {
        let mut tests = vec![is(KIND, one.kind)];
        tests.extend(one.major.map(|major| is(MAJOR, major)));
        tests.extend(one.minor.map(|minor| is(MINOR, minor)));
        if one.access != ALL {
            let rest = [Some(copy(FREE, ACCESS)), Some(keep(FREE, ALL & !one.access))];
            tests.push(Test { prepare: rest, register: FREE, value: 0 });
        }
        code.extend(rule(&tests, 1));
    }
    code.extend(answer(0));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_drivers() {
        let table =
            "Character devices:\n  1 mem\n  4 tty\n  5 /dev/tty\n\nBlock devices:\n  8 sd\n259 blkext\n";
        assert_eq!(majors(table, CHARACTER).collect::<Vec<_>>(), [("mem", 1), ("tty", 4), ("/dev/tty", 5)]);
        assert_eq!(majors(table, BLOCK).collect::<Vec<_>>(), [("sd", 8), ("blkext", 259)]);
    }

    #[test]
    fn the_policy_decides_what_is_always_there() {
        let device = |path: &str| Device { path: path.into(), read: true, write: false, make: false };
        assert_eq!(rules(DevicePolicy::Strict, &[]), []);
        assert_eq!(rules(DevicePolicy::Closed, &[]).len(), STANDARD.len());
        let found =
            rules(DevicePolicy::Strict, &[device("/dev/null"), device("/dev/no-such"), device("block-*")]);
        let null = Rule { kind: CHARACTER, major: Some(1), minor: Some(3), access: READ };
        assert_eq!(found, [null, Rule { kind: BLOCK, major: None, minor: None, access: READ }]);
    }
}
