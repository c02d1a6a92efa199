//! A bound on what one unit may log: so many records in so long; the rest is counted and the count is logged.

use std::collections::HashMap;

/// Microseconds of a window, and the records that fit into it: systemd's defaults.
const WINDOW: u64 = 30_000_000;
const BURST: u32 = 10_000;
/// Units that are remembered.
const UNITS: usize = 256;

struct Window {
    start: u64,
    passed: u32,
    held: u32,
}

/// What to do with a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Store it.
    Pass,
    /// Store it, and say that this many were held back before it.
    PassAfter(u32),
    /// Drop it.
    Hold,
}

/// All units' windows.
#[derive(Default)]
pub struct Limit(HashMap<String, Window>);

impl Limit {
    /// Judges a record of a unit at a time in microseconds.
    pub fn judge(&mut self, unit: &str, now: u64) -> Verdict {
        if self.0.len() >= UNITS && !self.0.contains_key(unit) {
            self.0.retain(|_, window| now.saturating_sub(window.start) < WINDOW);
            if self.0.len() >= UNITS {
                return Verdict::Pass;
            }
        }
        let Some(window) = self.0.get_mut(unit) else {
            self.0.insert(unit.to_owned(), Window { start: now, passed: 1, held: 0 });
            return Verdict::Pass;
        };
        if now.saturating_sub(window.start) >= WINDOW {
            let held = window.held;
            *window = Window { start: now, passed: 1, held: 0 };
            return if held > 0 { Verdict::PassAfter(held) } else { Verdict::Pass };
        }
        if window.passed >= BURST {
            window.held = window.held.saturating_add(1);
            return Verdict::Hold;
        }
        window.passed += 1;
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_noisy_unit_is_held_and_told() {
        let mut limit = Limit::default();
        for _ in 0..BURST {
            assert_eq!(limit.judge("noisy.service", 5), Verdict::Pass);
        }
        assert_eq!(limit.judge("noisy.service", 6), Verdict::Hold);
        assert_eq!(limit.judge("noisy.service", 7), Verdict::Hold);
        assert_eq!(limit.judge("quiet.service", 7), Verdict::Pass);
        assert_eq!(limit.judge("noisy.service", 5 + WINDOW), Verdict::PassAfter(2));
        assert_eq!(limit.judge("noisy.service", 6 + WINDOW), Verdict::Pass);
    }

    #[test]
    fn bounded() {
        let mut limit = Limit::default();
        for unit in 0..10 * UNITS {
            limit.judge(&unit.to_string(), 0);
        }
        assert!(limit.0.len() <= UNITS);
    }
}
