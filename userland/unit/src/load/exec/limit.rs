//! LimitX=.

use super::super::value::{number, size, span};
use super::{Draft, Outcome, Taken};
use crate::settings::ResourceLimit;

const LIMITS: &[&str] = &[
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NOFILE",
    "AS",
    "NPROC",
    "MEMLOCK",
    "LOCKS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
];

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    assign(&mut draft.exec.limits, key, value)
}

/// Takes a limit into a list that has each once.
pub(in crate::load) fn assign(limits: &mut Vec<ResourceLimit>, key: &str, value: &str) -> Outcome {
    let known = |name: &str| LIMITS.iter().copied().find(|known| *known == name);
    let Some(name) = key.strip_prefix("Limit").and_then(known) else { return Ok(Taken::Unknown) };
    if value.is_empty() {
        limits.retain(|limit| limit.name != name);
        return Ok(Taken::Yes);
    }
    let one = |text: &str| match (text, name) {
        ("infinity", _) => Ok(u64::MAX),
        (_, "CPU") => span(text).map(|usec| usec.div_ceil(1_000_000)),
        (_, "RTTIME") => number(text).or_else(|_| span(text)),
        (_, "NICE") => match text.chars().next() {
            Some('+' | '-') => number::<i64>(text).map(|nice| (20 - nice.clamp(-20, 19)).unsigned_abs()),
            _ => number(text),
        },
        (_, "NOFILE" | "NPROC" | "LOCKS" | "SIGPENDING" | "RTPRIO") => number(text),
        _ => size(text),
    };
    let (soft, hard) = match value.split_once(':') {
        Some((soft, hard)) => (one(soft)?, one(hard)?),
        None => {
            let both = one(value)?;
            (both, both)
        }
    };
    if soft > hard {
        return Err("the soft limit is above the hard one".into());
    }
    limits.retain(|limit| limit.name != name);
    limits.push(ResourceLimit { name, soft, hard });
    Ok(Taken::Yes)
}
