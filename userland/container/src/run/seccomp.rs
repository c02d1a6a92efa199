//! A configuration's filter of system calls, compiled to classic BPF.
//!
//! The calls of each processor mode are sorted by number into ranges that share a decision, and the ranges are
//! searched by halves: a default profile of some 400 names is about 150 instructions, of which a call passes ten.
//! Within a call the rules are tried in the order of the configuration, the first that matches decides. Calls
//! newer than every one that the profile names answer ENOSYS where the profile would refuse them with an errno
//! that it does not spell out: programs then fall back, as they do on an older kernel.
//! Sources: seccomp(2), OCI runtime specification "Seccomp", libseccomp's documentation.

use std::io;
use std::os::fd::OwnedFd;

use linux::seccomp::Instruction;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
};

/// `BPF_LD | BPF_W | BPF_ABS`: loads a word of `struct seccomp_data`.
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// Marks a call of the x32 mode, whose architecture is x86_64's.
const X32: u32 = 0x4000_0000;
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// A compiled filter, ready to be installed.
#[derive(Debug)]
pub struct Filter {
    program: Vec<Instruction>,
    flags: u64,
    listens: bool,
}

/// Rules of one call: a conjunction each, tried in order.
type Rules<'a> = Vec<(Vec<&'a LinuxSeccompArg>, u32)>;

/// What a range of numbers is answered with: rules, then an action.
type Range<'a> = (u32, Rules<'a>, u32);

/// A mode of the processor: what the kernel calls it and how it numbers calls.
#[derive(Clone, Copy)]
struct ProcessorMode {
    audit: u32,
    offset: u32,
    number: fn(&str) -> Option<u32>,
}

impl Filter {
    /// Compiles the filter of a configuration.
    ///
    /// # Errors
    /// When it has no meaning: too many arguments, or more instructions than the kernel takes.
    pub fn compile(seccomp: &LinuxSeccomp) -> io::Result<Self> {
        let modes = modes(seccomp);
        let calls = seccomp.syscalls().as_deref().unwrap_or_default();
        let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
        if calls.iter().flat_map(|call| call.args().iter().flatten()).any(|arg| arg.index() > 5) {
            return Err(bad("seccomp: a system call has six arguments, of index 0 to 5"));
        }
        let mut program = vec![(LOAD, 0, 0, ARCHITECTURE)];
        let native: Vec<_> = modes.iter().filter(|mode| mode.offset == 0).collect();
        let x32 = modes.iter().find(|mode| mode.offset != 0);
        for mode in native {
            let mut body = vec![(LOAD, 0, 0, NUMBER)];
            let mut ranges = ranges(seccomp, mode);
            if mode.audit == Arch::ScmpArchX86_64 as u32 {
                // Numbers from here on are those of x32: the same table once more, or no way at all.
                ranges.retain(|(start, ..)| *start < X32);
                match x32 {
                    Some(x32) => ranges.extend(self::ranges(seccomp, x32).into_iter().skip(1)),
                    None => ranges.push((X32, Vec::new(), KILL_PROCESS)),
                }
            }
            search(&ranges, &mut body);
            jump_over(&mut program, (JUMP_EQUAL, mode.audit), body);
        }
        // A mode that the profile does not name.
        program.push((RETURN, 0, 0, KILL_PROCESS));
        let listens = seccomp.default_action() == LinuxSeccompAction::ScmpActNotify
            || calls.iter().any(|call| call.action() == LinuxSeccompAction::ScmpActNotify);
        let mut flags = flags(seccomp);
        if listens {
            flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
        }
        if program.len() > 4096 {
            return Err(bad(
                "seccomp: the filter is longer than the 4096 instructions that the kernel takes",
            ));
        }
        Ok(Self { program, flags, listens })
    }

    /// Whether somebody else decides for some calls.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.listens
    }

    /// Binds the calling thread to it, for good. The result hears of the calls that somebody else decides.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn install(&self) -> io::Result<Option<OwnedFd>> {
        linux::seccomp::install_with(self.flags, self.program.iter().copied())
    }
}

const KILL_PROCESS: u32 = 0x8000_0000;

fn modes(seccomp: &LinuxSeccomp) -> Vec<ProcessorMode> {
    let native = |name: &str| linux::syscall::number(name).and_then(|number| u32::try_from(number).ok());
    let x32 = |name: &str| {
        linux::syscall::number(name).and_then(|number| u32::try_from(number).ok()).map(|n| n | X32)
    };
    let own = if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };
    let own_mode = ProcessorMode { audit: own as u32, offset: 0, number: native };
    let mut modes = vec![own_mode];
    for arch in seccomp.architectures().iter().flatten() {
        match arch {
            Arch::ScmpArchX86 if own == Arch::ScmpArchX86_64 => modes.push(ProcessorMode {
                audit: *arch as u32,
                offset: 0,
                number: linux::syscall_x86::number,
            }),
            Arch::ScmpArchX32 if own == Arch::ScmpArchX86_64 => {
                modes.push(ProcessorMode { audit: own as u32, offset: X32, number: x32 });
            }
            // The native one is there; the others' programs do not run on this processor.
            _ => {}
        }
    }
    modes
}

fn flags(seccomp: &LinuxSeccomp) -> u64 {
    let bit = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        }
        // There is one thread.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
    };
    seccomp.flags().iter().flatten().map(bit).fold(0, |all, bit| all | bit)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    action.as_u32(Some(errno.unwrap_or(EPERM) & 0xffff))
}

/// Every number from 0 on, as ranges by their first number.
fn ranges<'a>(seccomp: &'a LinuxSeccomp, mode: &ProcessorMode) -> Vec<Range<'a>> {
    let default = action(seccomp.default_action(), seccomp.default_errno_ret());
    let mut rules: std::collections::BTreeMap<u32, Rules> = std::collections::BTreeMap::new();
    for call in seccomp.syscalls().iter().flatten() {
        let decision = action(call.action(), call.errno_ret());
        let args = call.args().as_deref().unwrap_or_default();
        let repeats = args
            .iter()
            .enumerate()
            .any(|(at, arg)| args.iter().take(at).any(|other| other.index() == arg.index()));
        // Conditions on one argument are alternatives, as libseccomp's callers have it.
        let alternatives: Vec<Vec<_>> =
            if repeats { args.iter().map(|arg| vec![arg]).collect() } else { vec![args.iter().collect()] };
        // Names that this mode does not have are no error: profiles are written for all.
        for number in call.names().iter().filter_map(|name| (mode.number)(name)) {
            let of_this = rules.entry(number).or_default();
            of_this.extend(alternatives.iter().map(|alternative| (alternative.clone(), decision)));
        }
    }
    let newest = rules.keys().next_back().copied();
    let refuses = seccomp.default_action() == LinuxSeccompAction::ScmpActErrno;
    let mut ranges: Vec<Range> = vec![(0, Vec::new(), default)];
    let mut push = |start: u32, rules: Rules<'a>, otherwise: u32| match ranges.last_mut() {
        Some((_, last, action)) if *last == rules && *action == otherwise => {}
        Some(last) if last.0 == start => *last = (start, rules, otherwise),
        _ => ranges.push((start, rules, otherwise)),
    };
    for (number, mut rules) in rules {
        let mut otherwise = default;
        if let Some(at) = rules.iter().position(|(conditions, _)| conditions.is_empty()) {
            otherwise = rules.get(at).map_or(default, |(_, decision)| *decision);
            rules.truncate(at);
        }
        push(number, rules, otherwise);
        push(number + 1, Vec::new(), default);
    }
    if let Some(newest) = newest.filter(|_| refuses && seccomp.default_errno_ret().is_none()) {
        push(newest + 1, Vec::new(), action(LinuxSeccompAction::ScmpActErrno, Some(ENOSYS)));
    }
    ranges
}

/// Code that finds the range of the loaded number and does what it says.
fn search(ranges: &[Range], code: &mut Vec<Instruction>) {
    match ranges {
        [] => {}
        [(_, rules, otherwise)] => decide(rules, *otherwise, code),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let mut above = Vec::new();
            search(high, &mut above);
            let start = high.first().map_or(0, |(start, ..)| *start);
            jump_over(code, (JUMP_GREATER_EQUAL, start), above);
            search(low, code);
        }
    }
}

/// `body`, entered only if the test holds for what is loaded.
fn jump_over(code: &mut Vec<Instruction>, (test, operand): (u16, u32), body: Vec<Instruction>) {
    match u8::try_from(body.len()) {
        Ok(length) => code.push((test, 0, length, operand)),
        Err(_) => {
            code.push((test, 1, 0, operand));
            code.push((JUMP, 0, 0, u32::try_from(body.len()).unwrap_or(u32::MAX)));
        }
    }
    code.extend(body);
}

fn decide(rules: &Rules, otherwise: u32, code: &mut Vec<Instruction>) {
    for (conditions, decision) in rules {
        // From the last condition to the first: each is entered only if those before hold.
        let mut body = vec![(RETURN, 0, 0, *decision)];
        for condition in conditions.iter().rev() {
            body = conditional(condition, body);
        }
        code.extend(body);
    }
    code.push((RETURN, 0, 0, otherwise));
}

/// `body`, entered only if the condition holds; the arguments have two words each, the low one first.
fn conditional(arg: &LinuxSeccompArg, body: Vec<Instruction>) -> Vec<Instruction> {
    let low = ARGUMENTS + 8 * u32::try_from(arg.index()).unwrap_or(0);
    let high = low + 4;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (value_high, value_low) = halves(arg.value());
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let mut code = match arg.op() {
        LinuxSeccompOperator::ScmpCmpEq => vec![
            (LOAD, 0, 0, high),
            (JUMP_EQUAL, 0, 2 + length, value_high),
            (LOAD, 0, 0, low),
            (JUMP_EQUAL, 0, length, value_low),
        ],
        LinuxSeccompOperator::ScmpCmpNe => vec![
            (LOAD, 0, 0, high),
            (JUMP_EQUAL, 0, 2, value_high),
            (LOAD, 0, 0, low),
            (JUMP_EQUAL, length, 0, value_low),
        ],
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            // `value` is the mask, `valueTwo` what the masked argument is compared with.
            let (wanted_high, wanted_low) = halves(arg.value_two().unwrap_or(0));
            vec![
                (LOAD, 0, 0, high),
                (AND, 0, 0, value_high),
                (JUMP_EQUAL, 0, 3 + length, wanted_high),
                (LOAD, 0, 0, low),
                (AND, 0, 0, value_low),
                (JUMP_EQUAL, 0, length, wanted_low),
            ]
        }
        order => {
            let (test, inclusive) = match order {
                LinuxSeccompOperator::ScmpCmpGt => (JUMP_GREATER, true),
                LinuxSeccompOperator::ScmpCmpGe => (JUMP_GREATER_EQUAL, true),
                LinuxSeccompOperator::ScmpCmpLe => (JUMP_GREATER, false),
                _ => (JUMP_GREATER_EQUAL, false),
            };
            // The high words decide unless they are equal.
            let (above, below) = if inclusive { (3, 2 + length) } else { (3 + length, 2) };
            let (yes, no) = if inclusive { (0, length) } else { (length, 0) };
            vec![
                (LOAD, 0, 0, high),
                (JUMP_GREATER, above, 0, value_high),
                (JUMP_EQUAL, 0, below, value_high),
                (LOAD, 0, 0, low),
                (test, yes, no, value_low),
            ]
        }
    };
    code.extend(body);
    code
}

#[cfg(test)]
mod tests;
