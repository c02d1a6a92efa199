//! All records in the order of their revisions, for watchers, hashes and snapshots.
//!
//! Neighbours lie together, so that a record costs little more than a pointer, and a compaction touches only the
//! places where something goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::mvcc::{Record, Revision};

/// Revisions that lie together.
const TOGETHER: i64 = 64;

/// The records, by revision.
#[derive(Clone, Debug, Default)]
pub struct Log(BTreeMap<i64, Vec<Arc<Record>>>);

impl Log {
    /// Adds a record that is newer than all others.
    pub fn push(&mut self, record: Arc<Record>) {
        self.0.entry(record.modified.main / TOGETHER).or_default().push(record);
    }

    /// Takes a record out.
    pub fn remove(&mut self, revision: Revision) {
        let place = revision.main / TOGETHER;
        let Some(records) = self.0.get_mut(&place) else { return };
        if let Ok(found) = records.binary_search_by_key(&revision, |record| record.modified) {
            records.remove(found);
        }
        if records.is_empty() {
            self.0.remove(&place);
        } else if records.len() < records.capacity() / 2 {
            records.shrink_to_fit();
        }
    }

    /// The records written at or after `from`.
    pub fn since(&self, from: i64) -> impl Iterator<Item = &Arc<Record>> {
        let all = self.0.range(from / TOGETHER..).flat_map(|(_, records)| records);
        all.skip_while(move |record| record.modified.main < from)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.0.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(main: i64, sub: i64) -> Arc<Record> {
        let modified = Revision { main, sub };
        let (key, value) = (Arc::from(&b"k"[..]), Box::from(&b"v"[..]));
        Arc::new(Record { key, value, created: main, modified, version: 1, lease: 0 })
    }

    #[test]
    fn what_is_left_stays_in_order() {
        let mut log = Log::default();
        let all: Vec<Revision> = (2..400).flat_map(|main| [0, 1].map(|sub| Revision { main, sub })).collect();
        all.iter().for_each(|at| log.push(record(at.main, at.sub)));
        let gone = |at: &Revision| (100..300).contains(&at.main) && (at.main % 7 != 0 || at.sub == 1);
        all.iter().filter(|at| gone(at)).for_each(|at| log.remove(*at));
        for from in [i64::MIN, 0, 2, 63, 64, 150, 299, 399, 400, i64::MAX] {
            let left: Vec<Revision> = log.since(from).map(|record| record.modified).collect();
            let wanted: Vec<Revision> =
                all.iter().filter(|at| at.main >= from && !gone(at)).copied().collect();
            assert_eq!(left, wanted, "since {from}");
        }
        all.iter().for_each(|at| log.remove(*at));
        assert!(log.iter().next().is_none() && log.0.is_empty());
    }
}
