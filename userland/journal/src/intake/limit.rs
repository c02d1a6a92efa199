//! A bound on what one unit may log: so many records in so long; the rest is counted and the count is logged. Worse
//! messages have a bound of their own, so that a flood of debugging does not hide an error. Source: journald.conf(5),
//! "RateLimitIntervalSec=".

use std::collections::HashMap;

/// Units, with their kinds of messages, that are remembered.
const UNITS: usize = 2048;

/// So many records in so many microseconds; without either there is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds of a window.
    pub interval: u64,
    /// Records in it.
    pub burst: u32,
}

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
pub struct Limit(HashMap<(u8, String), Window>);

/// Priorities that share a bound: as bad as can be, errors, warnings, what is normal, debugging.
fn kind_of(priority: u8) -> u8 {
    match priority {
        0..=2 => 0,
        3 => 1,
        4 => 2,
        5 | 6 => 3,
        _ => 4,
    }
}

impl Limit {
    /// Judges a record of a unit at a time in microseconds.
    pub fn judge(&mut self, unit: &str, priority: u8, rate: Rate, now: u64) -> Verdict {
        if rate.interval == 0 || rate.burst == 0 {
            return Verdict::Pass;
        }
        let key = (kind_of(priority), unit.to_owned());
        if self.0.len() >= UNITS && !self.0.contains_key(&key) {
            self.0.retain(|_, window| now.saturating_sub(window.start) < rate.interval);
            if self.0.len() >= UNITS {
                return Verdict::Pass;
            }
        }
        let window = self.0.entry(key).or_insert(Window { start: now, passed: 0, held: 0 });
        if now.saturating_sub(window.start) >= rate.interval {
            let held = window.held;
            *window = Window { start: now, passed: 1, held: 0 };
            return if held > 0 { Verdict::PassAfter(held) } else { Verdict::Pass };
        }
        if window.passed >= rate.burst {
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

    const RATE: Rate = Rate { interval: 30_000_000, burst: 1000 };

    #[test]
    fn a_noisy_unit_is_held_and_told() {
        let mut limit = Limit::default();
        for _ in 0..RATE.burst {
            assert_eq!(limit.judge("noisy.service", 6, RATE, 5), Verdict::Pass);
        }
        assert_eq!(limit.judge("noisy.service", 6, RATE, 6), Verdict::Hold);
        assert_eq!(limit.judge("noisy.service", 6, RATE, 7), Verdict::Hold);
        assert_eq!(limit.judge("noisy.service", 3, RATE, 7), Verdict::Pass, "an error is no flood");
        assert_eq!(limit.judge("quiet.service", 6, RATE, 7), Verdict::Pass);
        assert_eq!(limit.judge("noisy.service", 6, RATE, 5 + RATE.interval), Verdict::PassAfter(2));
        assert_eq!(limit.judge("noisy.service", 6, RATE, 6 + RATE.interval), Verdict::Pass);
        let endless = Rate { interval: 0, burst: 0 };
        assert_eq!(limit.judge("noisy.service", 6, endless, 7), Verdict::Pass);
    }

    #[test]
    fn bounded() {
        let mut limit = Limit::default();
        for unit in 0..10 * UNITS {
            limit.judge(&unit.to_string(), 6, RATE, 0);
        }
        assert!(limit.0.len() <= UNITS);
    }
}
