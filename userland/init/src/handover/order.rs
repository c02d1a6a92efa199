//! What PID 1 tells itself on its command line when it executes itself anew.

use std::ffi::{CStr, CString, OsString};
use std::os::fd::RawFd;

/// How often PID 1 may crash and go on in one boot, unless it has run well for long in between.
pub const RECOVERIES: u32 = 3;
/// The number of the descriptor that holds the state, as systemd calls it.
const STATE: &str = "--deserialize=";
/// How often it may still crash, after a crash.
const LEFT: &str = "--recovered=";
/// It has crashed while it took a state over: without one, then.
const WITHOUT: &str = "--without-state";

/// What to go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Order {
    /// The descriptor of the state.
    pub state: Option<RawFd>,
    /// How many crashes are left, after one.
    pub left: Option<u32>,
    /// There was a state, but it is not to be used.
    pub without: bool,
}

impl Order {
    /// Reads it; arguments that it does not know are the kernel's or a person's, and are passed over.
    #[must_use]
    pub fn parse(arguments: &[OsString]) -> Order {
        let words = || arguments.iter().skip(1).filter_map(|argument| argument.to_str());
        let value = |head: &str| words().find_map(|word| word.strip_prefix(head));
        Order {
            state: value(STATE).and_then(|number| number.parse().ok()),
            left: value(LEFT).and_then(|number| number.parse().ok()),
            without: words().any(|word| word == WITHOUT),
        }
    }

    /// The arguments to execute a program with, `own` the zeroth: where it is, for the next time.
    #[must_use]
    pub fn arguments(&self, own: &CStr) -> Vec<CString> {
        let state = self.state.map(|number| format!("{STATE}{number}"));
        let left = self.left.map(|left| format!("{LEFT}{left}"));
        let without = self.without.then(|| WITHOUT.to_owned());
        let words = [state, left, without].into_iter().flatten();
        let words = words.filter_map(|word| CString::new(word).ok());
        std::iter::once(own.to_owned()).chain(words).collect()
    }

    /// The machine runs already: nothing is to be mounted and prepared.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.state.is_some() || self.without
    }

    /// PID 1 has crashed.
    #[must_use]
    pub fn is_after_crash(&self) -> bool {
        self.left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn what_is_told_is_understood() {
        for order in [
            Order::default(),
            Order { state: Some(12), ..Order::default() },
            Order { state: Some(3), left: Some(2), without: false },
            Order { state: None, left: Some(0), without: true },
        ] {
            let arguments: Vec<OsString> = order
                .arguments(c"/init")
                .into_iter()
                .map(|word| OsString::from_vec(word.into_bytes()))
                .collect();
            assert_eq!(Order::parse(&arguments), order);
        }
        let strange = ["init", "single", "--deserialize=x", "auto"].map(OsString::from);
        assert_eq!(Order::parse(&strange), Order::default());
    }
}
