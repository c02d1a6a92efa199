//! Leases as every member knows them: what they hold. When they run out is the leader's business (`lessor`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// A lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Seconds that it was granted for.
    pub ttl: i64,
    /// The keys that end with it.
    pub keys: BTreeSet<Bytes>,
}

/// All leases.
#[derive(Clone, Debug, Default)]
pub struct Leases(BTreeMap<i64, Lease>);

/// The longest lease, in seconds.
pub const TTL_MAX: i64 = 9_000_000_000;

impl Leases {
    /// Whether there is one.
    pub fn contains(&self, id: i64) -> bool {
        self.0.contains_key(&id)
    }

    /// The lease of this number.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.0.get(&id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.0.iter().map(|(id, lease)| (*id, lease))
    }

    /// Adds one.
    pub fn insert(&mut self, id: i64, ttl: i64) {
        self.0.insert(id, Lease { ttl, keys: BTreeSet::new() });
    }

    /// Takes one out.
    pub fn remove(&mut self, id: i64) -> Option<Lease> {
        self.0.remove(&id)
    }

    /// Ties a key to a lease, if there is such a one.
    pub fn attach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.0.get_mut(&id) {
            lease.keys.insert(Bytes::copy_from_slice(key));
        }
    }

    /// Unties a key.
    pub fn detach(&mut self, id: i64, key: &[u8]) {
        if let Some(lease) = self.0.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}
