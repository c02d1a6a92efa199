//! SystemCallFilter=, SystemCallLog=: lists of calls and groups, `~` for all but these, `:errno` for an answer of its
//! own.

use super::{Draft, Outcome, Taken};
use crate::errno;
use crate::settings::{Refusal, Sandbox, SystemCalls, syscalls};

/// `default`: an allow list begins with the group that no program can do without.
pub(super) fn set(
    draft: &mut Draft<'_>,
    value: &str,
    of: fn(&mut Sandbox) -> &mut Option<SystemCalls>,
    default: bool,
) -> Outcome {
    let slot = of(&mut draft.exec.sandbox);
    if value.is_empty() {
        *slot = None;
        return Ok(Taken::Yes);
    }
    let (invert, words) = value.strip_prefix('~').map_or((false, value), |words| (true, words));
    let list = slot.get_or_insert_with(|| {
        let first = if invert || !default { None } else { syscalls::group("@default") };
        let calls = first.into_iter().flatten().map(|call| (call.to_string(), None)).collect();
        SystemCalls { allow: !invert, calls }
    });
    let mut bad = Vec::new();
    for word in words.split_whitespace() {
        let (name, refusal) = match word.split_once(':') {
            None => (word, None),
            Some((name, "kill")) => (name, Some(Refusal::Kill)),
            Some((name, error)) => match errno::number(error) {
                Some(number) => (name, Some(Refusal::Error(number))),
                None => {
                    bad.push(word);
                    continue;
                }
            },
        };
        let calls: Vec<&str> = match syscalls::group(name) {
            Some(group) => group.into_iter().collect(),
            None if syscalls::is_call(name) => vec![name],
            None => {
                bad.push(word);
                continue;
            }
        };
        for call in calls {
            if list.allow != invert {
                list.calls.insert(call.to_string(), refusal);
            } else {
                list.calls.remove(call);
            }
        }
    }
    if bad.is_empty() { Ok(Taken::Yes) } else { Err(format!("no such system calls: {}", bad.join(" "))) }
}
