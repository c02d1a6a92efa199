//! When a server is asked next: pure, with the time and chance from outside.
//!
//! The first time seven minutes after the engine began, then every 45 minutes, ten minutes more or less, so that
//! machines that were switched on together do not come together. A server may name another interval. After failures
//! the interval doubles: to four hours where no server answered, to 16 days where a release could not be installed.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(7 * 60);
const EVERY: Duration = Duration::from_secs(45 * 60);
/// A server's own interval is not believed below and above these.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(24 * 3600));
/// The interval varies by this part of it, in all.
const VARIES: f64 = 10.0 / 45.0;
const MOST_UNANSWERED: Duration = Duration::from_secs(4 * 3600);
const MOST_UNINSTALLED: Duration = Duration::from_secs(16 * 24 * 3600);

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered, and there was nothing to do or it was done.
    Well,
    /// No server answered, or not in the protocol.
    Unanswered,
    /// There was a release, and it could not be installed.
    Uninstalled,
}

/// When to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    due: Duration,
    interval: Duration,
    failures: u32,
}

impl Schedule {
    /// From now on; `chance` is between 0 and 1.
    #[must_use]
    pub fn new(now: Duration, chance: f64) -> Schedule {
        Schedule { due: now + vary(FIRST, chance), interval: EVERY, failures: 0 }
    }

    /// When, on the clock that `now` is of.
    #[must_use]
    pub fn due(&self) -> Duration {
        self.due
    }

    /// A server names an interval, in seconds.
    pub fn told(&mut self, seconds: Option<u64>) {
        self.interval =
            seconds.map_or(EVERY, |seconds| Duration::from_secs(seconds).clamp(INTERVALS.0, INTERVALS.1));
    }

    /// It was asked; `chance` is between 0 and 1.
    pub fn asked(&mut self, outcome: Outcome, now: Duration, chance: f64) {
        let most = match outcome {
            Outcome::Well => {
                self.failures = 0;
                self.interval
            }
            Outcome::Unanswered => MOST_UNANSWERED,
            Outcome::Uninstalled => MOST_UNINSTALLED,
        };
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let wait = self.interval.saturating_mul(factor).min(most.max(self.interval));
        if outcome != Outcome::Well {
            self.failures = self.failures.saturating_add(1);
        }
        self.due = now + vary(wait, chance);
    }
}

/// A time, more or less.
fn vary(time: Duration, chance: f64) -> Duration {
    time.mul_f64(1.0 - VARIES / 2.0 + VARIES * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(time: Duration) -> u64 {
        time.as_secs() / 60
    }

    #[test]
    fn machines_do_not_come_together() {
        let at = |chance| {
            let mut schedule = Schedule::new(Duration::ZERO, chance);
            let first = schedule.due();
            schedule.asked(Outcome::Well, first, chance);
            minutes(schedule.due() - first)
        };
        assert_eq!((at(0.0), at(0.5), at(1.0)), (40, 45, 50));
        assert_eq!(minutes(Schedule::new(Duration::from_secs(3600), 0.5).due()), 67);
    }

    #[test]
    fn failures_make_it_wait_up_to_a_limit() {
        let waits = |outcome| {
            let mut schedule = Schedule::new(Duration::ZERO, 0.5);
            let waits: Vec<u64> = (0..12)
                .map(|_| {
                    let now = schedule.due();
                    schedule.asked(outcome, now, 0.5);
                    minutes(schedule.due() - now)
                })
                .collect();
            let now = schedule.due();
            schedule.asked(Outcome::Well, now, 0.5);
            (waits, minutes(schedule.due() - now))
        };
        let (unanswered, after) = waits(Outcome::Unanswered);
        assert_eq!((&unanswered[..5], after), (&[45, 90, 180, 240, 240][..], 45));
        let (uninstalled, after) = waits(Outcome::Uninstalled);
        assert_eq!((uninstalled[8], uninstalled[11], after), (45 * 256, 16 * 24 * 60, 45));
    }

    #[test]
    fn a_server_may_name_the_interval_within_reason() {
        let wait = |seconds| {
            let mut schedule = Schedule::new(Duration::ZERO, 0.5);
            schedule.told(seconds);
            schedule.asked(Outcome::Well, Duration::ZERO, 0.5);
            minutes(schedule.due())
        };
        assert_eq!((wait(Some(600)), wait(Some(0)), wait(Some(u64::MAX)), wait(None)), (10, 1, 1440, 45));
    }
}
