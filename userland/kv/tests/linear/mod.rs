//! Whether what clients saw of a key can be told as one operation after the other, each between its call and its
//! answer. What nobody answered may have happened at any time since, or not at all.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;

use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;

/// What was done to a key, and what came of it. Each value is written once only.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// The value is this now.
    Put(u64),
    /// The value was this.
    Get(Option<u64>),
    /// The value is `to` now if it was `from`; whether it was, if that is known.
    Swap { from: u64, to: u64, done: Option<bool> },
}

/// One operation on a key.
#[derive(Clone, Debug)]
pub struct Event {
    pub key: String,
    pub called: u64,
    /// Nothing where nobody answered.
    pub answered: Option<u64>,
    pub operation: Operation,
}

struct Register;

impl Specification for Register {
    type State = Option<u64>;
    type Operation = Operation;

    fn init() -> Option<u64> {
        None
    }

    fn apply(operation: &Operation, state: &Option<u64>) -> (bool, Option<u64>) {
        match operation {
            Operation::Put(value) => (true, Some(*value)),
            Operation::Get(value) => (value == state, *state),
            Operation::Swap { from, to, done } => {
                let equal = *state == Some(*from);
                (done.is_none_or(|done| done == equal), if equal { Some(*to) } else { *state })
            }
        }
    }
}

/// Checks all keys. Returns the first whose story cannot be told, with the story.
pub fn check(events: &[Event]) -> Result<(), String> {
    let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        // A read that nobody answered says nothing.
        if event.answered.is_some() || !matches!(event.operation, Operation::Get(_)) {
            keys.entry(&event.key).or_default().push(event);
        }
    }
    for (key, events) in keys {
        // Every operation is a process of its own: who did it makes no difference.
        let mut actions: Vec<(u64, bool, usize, Action<Operation>)> = Vec::new();
        for (process, event) in events.iter().enumerate() {
            actions.push((event.called, false, process, Action::Call(event.operation.clone())));
            let end = event.answered.unwrap_or(u64::MAX);
            actions.push((end, true, process, Action::Response(event.operation.clone())));
        }
        // What happens at the same moment may overlap: calls come first.
        actions.sort_by_key(|(at, is_answer, process, _)| (*at, *is_answer, *process));
        let actions = actions.into_iter().map(|(_, _, process, action)| (process, action)).collect();
        if !WGLChecker::<Register>::is_linearizable(History::from_actions(actions)) {
            return Err(format!("{key} is not linearizable: {events:#?}"));
        }
    }
    Ok(())
}
