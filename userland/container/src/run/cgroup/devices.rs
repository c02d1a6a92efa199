//! Which devices a container may use: rules, the last that matches holds; what no rule allows is refused.
//!
//! In v1 the kernel keeps the rules; in v2 they become a program of a few instructions that the kernel asks.
//! Sources: the kernel's cgroup-v1/devices documentation, OCI runtime specification "Allowed device list".

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use linux::bpf::{Kind, Program};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, LinuxResources};

const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MAKE | READ | WRITE;

/// A rule; `None` stands for every kind or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    allow: bool,
    kind: Option<char>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

/// The configuration's rules, then those that every container has: nodes may be made, the default ones used.
pub(super) fn rules(resources: &LinuxResources) -> Vec<Rule> {
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    let bits = |text: &str| {
        text.chars().fold(0, |bits, c| {
            bits | match c {
                'r' => READ,
                'w' => WRITE,
                'm' => MAKE,
                _ => 0,
            }
        })
    };
    let configured = |rule: &LinuxDeviceCgroup| Rule {
        allow: rule.allow(),
        kind: match rule.typ() {
            Some(LinuxDeviceType::B) => Some('b'),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some('c'),
            _ => None,
        },
        major: number(rule.major()),
        minor: number(rule.minor()),
        access: rule.access().as_deref().map_or(ALL, bits),
    };
    let allow = |kind, major, minor, access| Rule { allow: true, kind: Some(kind), major, minor, access };
    let nothing = Rule { allow: false, kind: None, major: None, minor: None, access: ALL };
    let mut rules = vec![nothing];
    rules.extend(resources.devices().iter().flatten().map(configured));
    rules.extend([allow('c', None, None, MAKE), allow('b', None, None, MAKE)]);
    // null, zero, full, random, urandom; tty, ptmx; pseudo terminals
    rules.extend([3, 5, 7, 8, 9].map(|minor| allow('c', Some(1), Some(minor), ALL)));
    rules.extend([
        allow('c', Some(5), Some(0), ALL),
        allow('c', Some(5), Some(2), ALL),
        allow('c', Some(136), None, ALL),
    ]);
    rules
}

/// Tells the kernel, rule by rule.
pub(super) fn write_v1(path: &Path, rules: &[Rule]) -> io::Result<()> {
    for rule in rules {
        let number = |value: Option<u32>| value.map_or("*".to_owned(), |value| value.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')];
        let access: String =
            letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, letter)| *letter).collect();
        let kinds: &[char] = match rule.kind {
            Some('b') => &['b'],
            Some(_) => &['c'],
            None if rule.major.is_none() && rule.minor.is_none() && rule.access == ALL => &['a'],
            None => &['b', 'c'],
        };
        for kind in kinds {
            let text = format!("{kind} {}:{} {access}", number(rule.major), number(rule.minor));
            super::set(path, if rule.allow { "devices.allow" } else { "devices.deny" }, &text)?;
        }
    }
    Ok(())
}

/// Has the kernel ask a program of these rules.
pub(super) fn attach_v2(directory: impl AsFd, rules: &[Rule]) -> io::Result<()> {
    match Program::load(Kind::Device, &program(rules)) {
        Ok(program) => program.attach(directory),
        // Not root's to decide here (a user namespace): the kernel refuses what it refuses.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !is_privileged() => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_privileged() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.trim_end().ends_with("4294967295"))
}

/// Instructions of eBPF, one a word: the rules from the last to the first, each a few comparisons.
fn program(rules: &[Rule]) -> Vec<u64> {
    const LOAD_WORD: u64 = 0x61;
    const MOVE: u64 = 0xbf;
    const MOVE_VALUE: u64 = 0xb7;
    const AND_VALUE: u64 = 0x57;
    const SHIFT_RIGHT: u64 = 0x77;
    const JUMP_IF_NOT: u64 = 0x55;
    const JUMP_IF: u64 = 0x15;
    const EXIT: u64 = 0x95;
    let code = |op: u64, to: u64, from: u64, offset: u64, value: u32| {
        op | to << 8 | from << 12 | (offset & 0xffff) << 16 | u64::from(value) << 32
    };
    // r2: kind, r3: access, r4: major, r5: minor; `struct bpf_cgroup_dev_ctx` is at r1
    let mut all = vec![
        code(LOAD_WORD, 2, 1, 0, 0),
        code(MOVE, 3, 2, 0, 0),
        code(AND_VALUE, 2, 0, 0, 0xffff),
        code(SHIFT_RIGHT, 3, 0, 0, 16),
        code(LOAD_WORD, 4, 1, 4, 0),
        code(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        // Each comparison jumps over what is left of this rule.
        let mut tests: Vec<(u64, u64, u32)> = Vec::new();
        if let Some(kind) = rule.kind {
            // BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR
            tests.push((JUMP_IF_NOT, 2, if kind == 'b' { 1 } else { 2 }));
        }
        tests.extend(rule.major.map(|major| (JUMP_IF_NOT, 4, major)));
        tests.extend(rule.minor.map(|minor| (JUMP_IF_NOT, 5, minor)));
        let mut body = Vec::new();
        if rule.access != ALL {
            body.push(code(MOVE, 6, 3, 0, 0));
            // Allowed if nothing else is asked for; refused if any of it is.
            let mask = if rule.allow { !rule.access } else { rule.access };
            body.push(code(AND_VALUE, 6, 0, 0, mask));
            body.push(code(if rule.allow { JUMP_IF_NOT } else { JUMP_IF }, 6, 0, 2, 0));
        }
        body.push(code(MOVE_VALUE, 0, 0, 0, u32::from(rule.allow)));
        body.push(code(EXIT, 0, 0, 0, 0));
        let length = tests.len() + body.len();
        for (at, (op, register, value)) in tests.into_iter().enumerate() {
            all.push(code(op, register, 0, (length - at - 1) as u64, value));
        }
        all.extend(body);
    }
    all.extend([code(MOVE_VALUE, 0, 0, 0, 0), code(EXIT, 0, 0, 0, 0)]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules_of(json: &str) -> Vec<Rule> {
        rules(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn everything_is_refused_first_and_the_defaults_hold_last() {
        let rules = rules_of(r#"{"devices":[{"allow":true,"type":"b","major":8,"minor":0,"access":"r"}]}"#);
        assert!(!rules[0].allow && rules[0].access == ALL);
        assert_eq!(
            rules[1],
            Rule { allow: true, kind: Some('b'), major: Some(8), minor: Some(0), access: READ }
        );
        assert!(rules[2..].iter().all(|rule| rule.allow));
    }

    #[test]
    fn the_kernel_takes_the_program() {
        let rules = rules_of(
            r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"access":"rw"},{"allow":false,"type":"c","major":10,"minor":3,"access":"w"}]}"#,
        );
        match Program::load(Kind::Device, &program(&rules)) {
            Ok(_) => {}
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && !rustix::process::geteuid().is_root() => {}
            Err(error) => panic!("{error}"),
        }
    }
}
