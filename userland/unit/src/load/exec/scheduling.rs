//! Nice=, CPUSchedulingPolicy=, CPUAffinity=, IOSchedulingClass= and their kin.

use super::super::value::{boolean, number, processors, span};
use super::{Draft, Outcome, Taken};

const CPU_POLICIES: [(&str, i32); 5] = [("other", 0), ("fifo", 1), ("rr", 2), ("batch", 3), ("idle", 5)];
const IO_CLASSES: [(&str, i32); 4] = [("none", 0), ("realtime", 1), ("best-effort", 2), ("idle", 3)];
const NUMA_POLICIES: [(&str, i32); 5] =
    [("default", 0), ("preferred", 1), ("bind", 2), ("interleave", 3), ("local", 4)];
const COREDUMP_FILTERS: [(&str, u64); 9] = [
    ("private-anonymous", 1 << 0),
    ("shared-anonymous", 1 << 1),
    ("private-file-backed", 1 << 2),
    ("shared-file-backed", 1 << 3),
    ("elf-headers", 1 << 4),
    ("private-huge", 1 << 5),
    ("shared-huge", 1 << 6),
    ("private-dax", 1 << 7),
    ("shared-dax", 1 << 8),
];
const DEFAULT_COREDUMP: u64 = 0x33;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let to = &mut draft.exec.scheduling;
    let empty = value.is_empty();
    match key {
        "Nice" if empty => to.nice = None,
        "Nice" => to.nice = Some(within(value, -20, 19)?),
        "OOMScoreAdjust" if empty => to.oom_score_adjust = None,
        "OOMScoreAdjust" => to.oom_score_adjust = Some(within(value, -1000, 1000)?),
        "CoredumpFilter" if empty => to.coredump_filter = None,
        "CoredumpFilter" => to.coredump_filter = Some(coredump(value, to.coredump_filter)?),
        "CPUSchedulingPolicy" if empty => to.cpu_policy = None,
        "CPUSchedulingPolicy" => {
            to.cpu_policy = Some(named(value, &CPU_POLICIES)?);
            // A real-time policy needs a priority; the others must not have one.
            to.cpu_priority = match (to.cpu_policy, to.cpu_priority) {
                (Some(1 | 2), None | Some(0)) => Some(1),
                (Some(1 | 2), priority) => priority,
                _ => None,
            };
        }
        "CPUSchedulingPriority" => to.cpu_priority = Some(within(value, 0, 99)?),
        "CPUSchedulingResetOnFork" => to.reset_on_fork = boolean(value)?,
        "CPUAffinity" if empty => {
            to.cpu_affinity.clear();
            to.cpu_affinity_from_numa = false;
        }
        "CPUAffinity" if value == "numa" => to.cpu_affinity_from_numa = true,
        "CPUAffinity" => merge(&mut to.cpu_affinity, processors(value)?),
        "NUMAPolicy" if empty => to.numa_policy = None,
        "NUMAPolicy" => to.numa_policy = Some(named(value, &NUMA_POLICIES)?),
        "NUMAMask" if empty => to.numa_nodes.clear(),
        "NUMAMask" if value == "all" => to.numa_nodes = (0..64).collect(),
        "NUMAMask" => merge(&mut to.numa_nodes, processors(value)?),
        "IOSchedulingClass" if empty => to.io_class = None,
        "IOSchedulingClass" => to.io_class = Some(named(value, &IO_CLASSES)?),
        "IOSchedulingPriority" if empty => to.io_priority = None,
        "IOSchedulingPriority" => to.io_priority = Some(within(value, 0, 7)?),
        "TimerSlackNSec" => to.timer_slack_nsec = Some(nanoseconds(value)?),
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

fn within(text: &str, least: i32, most: i32) -> Result<i32, String> {
    let value: i32 = number(text.strip_prefix('+').unwrap_or(text))?;
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{value} is not from {least} to {most}"))
    }
}

/// By name or number.
fn named(text: &str, table: &[(&str, i32)]) -> Result<i32, String> {
    let by_name = table.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    let by_number = || text.parse().ok().filter(|number| table.iter().any(|(_, known)| known == number));
    by_name.or_else(by_number).ok_or_else(|| {
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        format!("\"{text}\" is not one of {}", names.join(", "))
    })
}

fn merge(list: &mut Vec<u32>, more: Vec<u32>) {
    list.extend(more);
    list.sort_unstable();
    list.dedup();
}

fn coredump(text: &str, current: Option<u64>) -> Result<u64, String> {
    let mut bits = current.unwrap_or(0);
    for word in text.split_whitespace() {
        let named = COREDUMP_FILTERS.iter().find(|(name, _)| *name == word).map(|(_, bit)| *bit);
        let digits = word.trim_start_matches("0x");
        bits |= match word {
            "default" => DEFAULT_COREDUMP,
            "all" => u64::MAX,
            _ => named
                .or_else(|| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| format!("\"{word}\" is not a kind of memory"))?,
        };
    }
    Ok(bits)
}

/// A time span whose bare numbers are nanoseconds.
fn nanoseconds(text: &str) -> Result<u64, String> {
    match text.strip_suffix("ns").unwrap_or(text).trim().parse() {
        Ok(number) => Ok(number),
        Err(_) => span(text).map(|usec| usec.saturating_mul(1000)),
    }
}
