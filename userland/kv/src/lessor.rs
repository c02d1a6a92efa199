//! When leases run out: the leader's clock. Pure: milliseconds of a clock that never goes back come from outside.

use std::collections::{BTreeSet, HashMap};

#[derive(Debug)]
struct Lease {
    ttl: i64,
    deadline: u64,
    /// Where it stands in the queue: the deadline, or when it is named again.
    queued: u64,
}

/// Deadlines of leases, as the leader keeps them.
#[derive(Debug, Default)]
pub struct Lessor {
    leases: HashMap<i64, Lease>,
    queue: BTreeSet<(u64, i64)>,
}

impl Lessor {
    /// Begins or renews a lease of `ttl` seconds.
    pub fn renew(&mut self, id: i64, ttl: i64, now: u64) {
        self.remove(id);
        let deadline = now.saturating_add(u64::try_from(ttl).unwrap_or(0).saturating_mul(1000));
        self.leases.insert(id, Lease { ttl, deadline, queued: deadline });
        self.queue.insert((deadline, id));
    }

    /// Forgets a lease.
    pub fn remove(&mut self, id: i64) {
        if let Some(lease) = self.leases.remove(&id) {
            self.queue.remove(&(lease.queued, id));
        }
    }

    /// Gives every lease its full time, as a new leader must: it cannot know when they were renewed.
    pub fn restart(&mut self, leases: impl IntoIterator<Item = (i64, i64)>, grace: u64, now: u64) {
        *self = Lessor::default();
        for (id, ttl) in leases {
            self.renew(id, ttl, now + grace);
        }
    }

    /// Renews a lease that has not run out. Returns its seconds, or nothing.
    pub fn keep_alive(&mut self, id: i64, now: u64) -> Option<i64> {
        let lease = self.leases.get(&id).filter(|lease| lease.deadline > now)?;
        let ttl = lease.ttl;
        self.renew(id, ttl, now);
        Some(ttl)
    }

    /// Whole seconds that are left.
    pub fn remaining(&self, id: i64, now: u64) -> Option<i64> {
        let lease = self.leases.get(&id)?;
        Some(i64::try_from(lease.deadline.saturating_sub(now) / 1000).unwrap_or(i64::MAX))
    }

    /// Leases that have run out, at most `max`; each is named again a second later if it is still there.
    pub fn expired(&mut self, now: u64, max: usize) -> Vec<i64> {
        let due: Vec<(u64, i64)> = self.queue.range(..=(now, i64::MAX)).take(max).copied().collect();
        for (at, id) in &due {
            self.queue.remove(&(*at, *id));
            if let Some(lease) = self.leases.get_mut(id) {
                lease.queued = now + 1000;
                self.queue.insert((lease.queued, *id));
            }
        }
        due.into_iter().map(|(_, id)| id).collect()
    }
}
