//! How many connections may be open that have not logged in.
//!
//! Source: sshd_config(5), MaxStartups: below `begin` all are let in, from there `rate` percent are
//! refused, rising in a straight line to all of them at `full`. A flood thus does not lock out the
//! operator with certainty, and memory is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The rule, and the count it is about.
#[derive(Debug)]
pub(crate) struct Startups {
    begin: usize,
    rate: usize,
    full: usize,
    open: AtomicUsize,
}

/// A connection that has not logged in; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Stranger(Arc<Startups>);

impl Startups {
    /// The rule `begin:rate:full`.
    pub(crate) fn new(begin: usize, rate: usize, full: usize) -> Startups {
        Startups { begin, rate: rate.min(100), full: full.max(begin), open: AtomicUsize::new(0) }
    }

    /// Lets a connection in, or not. `dice` is a number below 100.
    pub(crate) fn admit(self: &Arc<Self>, dice: usize) -> Option<Stranger> {
        if dice < self.refused(self.open.load(Ordering::Relaxed)) {
            return None;
        }
        self.open.fetch_add(1, Ordering::Relaxed);
        Some(Stranger(self.clone()))
    }

    /// Percent of connections that are refused when `open` are there.
    fn refused(&self, open: usize) -> usize {
        match open {
            open if open >= self.full => 100,
            open if open < self.begin => 0,
            open => self.rate + (100 - self.rate) * (open - self.begin) / (self.full - self.begin),
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_rise_in_a_straight_line() {
        let rule = Startups::new(10, 30, 100);
        let refused: Vec<_> = [0, 9, 10, 55, 99, 100, 1000].map(|open| rule.refused(open)).into();
        assert_eq!(refused, [0, 0, 30, 65, 99, 100, 100]);
    }

    #[test]
    fn a_connection_counts_until_it_is_dropped() {
        let rule = Arc::new(Startups::new(1, 100, 2));
        let first = rule.admit(0).unwrap();
        assert!(rule.admit(0).is_none());
        assert!(rule.admit(99).is_none());
        drop(first);
        assert!(rule.admit(0).is_some());
    }

    #[test]
    fn a_rule_without_slope_does_not_divide_by_zero() {
        let rule = Startups::new(5, 50, 5);
        assert_eq!((rule.refused(4), rule.refused(5)), (0, 100));
    }
}
