//! How long followers take to answer what they are sent, for `/v2/stats/leader`.
//!
//! Pure: the clock comes from outside. Source: etcd 3.4, etcdserver/api/v2stats/leader.go.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages without an answer that are remembered: there are not more on their way.
const WAITING: usize = 128;

/// One follower, as its leader sees it.
#[derive(Clone, Debug)]
pub struct Follower {
    waiting: VecDeque<(u64, Instant)>,
    /// Messages that were answered.
    pub success: u64,
    /// Times that it could not be reached.
    pub fail: u64,
    /// Milliseconds of the last answer.
    pub current: f64,
    /// The shortest.
    pub minimum: f64,
    /// The longest.
    pub maximum: f64,
    sum: f64,
    squares: f64,
}

impl Default for Follower {
    fn default() -> Follower {
        Follower {
            waiting: VecDeque::new(),
            success: 0,
            fail: 0,
            current: 0.0,
            // So etcd begins.
            minimum: (1u64 << 63) as f64,
            maximum: 0.0,
            sum: 0.0,
            squares: 0.0,
        }
    }
}

impl Follower {
    fn add(&mut self, took: Duration) {
        let took = took.as_secs_f64() * 1000.0;
        self.success += 1;
        self.current = took;
        self.minimum = self.minimum.min(took);
        self.maximum = self.maximum.max(took);
        self.sum += took;
        self.squares += took * took;
    }

    /// The mean of all answers, in milliseconds.
    pub fn average(&self) -> f64 {
        self.sum / self.success.max(1) as f64
    }

    /// How far they are from it.
    pub fn deviation(&self) -> f64 {
        (self.squares / self.success.max(1) as f64 - self.average().powi(2)).max(0.0).sqrt()
    }
}

/// All followers, by number.
#[derive(Clone, Debug, Default)]
pub struct Latencies(BTreeMap<u64, Follower>);

impl Latencies {
    /// Entries up to `index` leave for a member.
    pub fn sent(&mut self, to: u64, index: u64, now: Instant) {
        let waiting = &mut self.0.entry(to).or_default().waiting;
        if waiting.len() >= WAITING {
            waiting.pop_front();
        }
        waiting.push_back((index, now));
    }

    /// A member has everything up to `index`.
    pub fn answered(&mut self, from: u64, index: u64, now: Instant) {
        let Some(follower) = self.0.get_mut(&from) else { return };
        while let Some((_, sent)) = follower.waiting.pop_front_if(|(sent, _)| *sent <= index) {
            follower.add(now.saturating_duration_since(sent));
        }
    }

    /// A member cannot be reached: nothing that was sent is waited for.
    pub fn failed(&mut self, to: u64) {
        let follower = self.0.entry(to).or_default();
        follower.waiting.clear();
        follower.fail += 1;
    }

    /// What is known of a member.
    pub fn of(&self, id: u64) -> Follower {
        self.0.get(&id).cloned().unwrap_or_default()
    }

    /// Another leads: what was measured does not count any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_all_that_was_sent_before_it() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut all = Latencies::default();
        all.sent(2, 5, at(0));
        all.sent(2, 9, at(10));
        all.sent(2, 12, at(20));
        all.answered(2, 9, at(30));
        let follower = all.of(2);
        assert_eq!((follower.success, follower.minimum, follower.maximum), (2, 20.0, 30.0));
        assert_eq!((follower.average(), follower.deviation()), (25.0, 5.0));
        all.failed(2);
        all.answered(2, 12, at(99));
        assert_eq!((all.of(2).success, all.of(2).fail), (2, 1));
        assert_eq!(all.of(3).success, 0);
    }
}
