//! What one key was, from its oldest record that is kept to its newest.
//!
//! Most keys are written once: those cost a pointer, and no list.

use std::sync::Arc;

use super::mvcc::Record;

/// The records of one key, in the order of their revisions; never none.
#[derive(Clone, Debug)]
pub enum History {
    /// The only one.
    Single(Arc<Record>),
    /// More than one.
    Several(Box<Versions>),
}

/// Several records of one key.
#[derive(Clone, Debug)]
pub struct Versions {
    older: Vec<Arc<Record>>,
    newest: Arc<Record>,
}

impl History {
    /// The last one.
    pub fn newest(&self) -> &Arc<Record> {
        match self {
            History::Single(only) => only,
            History::Several(versions) => &versions.newest,
        }
    }

    fn older(&self) -> &[Arc<Record>] {
        match self {
            History::Single(_) => &[],
            History::Several(versions) => &versions.older,
        }
    }

    /// Adds a record that is newer than all others.
    pub fn push(&mut self, record: Arc<Record>) {
        match self {
            History::Single(only) => {
                let older = vec![only.clone()];
                *self = History::Several(Box::new(Versions { older, newest: record }));
            }
            History::Several(versions) => {
                versions.older.push(std::mem::replace(&mut versions.newest, record));
            }
        }
    }

    /// What a read at a revision sees, unless the key is not there then.
    pub fn at(&self, revision: i64) -> Option<&Arc<Record>> {
        let newest = self.newest();
        let seen = if newest.modified.main <= revision {
            Some(newest)
        } else {
            let older = self.older();
            let count = older.partition_point(|record| record.modified.main <= revision);
            count.checked_sub(1).and_then(|last| older.get(last))
        };
        seen.filter(|record| !record.is_tombstone())
    }

    /// Takes out what no read at or after a revision can see. Returns it, and whether nothing is left: then the
    /// history must go.
    pub fn compact(&mut self, at: i64) -> (Vec<Arc<Record>>, bool) {
        let all = self.older().iter().chain([self.newest()]);
        let old: Vec<Arc<Record>> = all.take_while(|record| record.modified.main <= at).cloned().collect();
        // The newest of the old ones is still seen by reads at `at`, unless it says that the key ended.
        let kept = old.last().is_some_and(|record| !record.is_tombstone());
        let count = old.len() - usize::from(kept);
        match self {
            _ if count == 0 => (Vec::new(), false),
            History::Several(versions) if count <= versions.older.len() => {
                let dropped = versions.older.drain(..count).collect();
                if versions.older.is_empty() {
                    *self = History::Single(versions.newest.clone());
                } else if versions.older.len() < versions.older.capacity() / 4 {
                    versions.older.shrink_to_fit();
                }
                (dropped, false)
            }
            _ => (old, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::mvcc::Revision;
    use super::*;

    fn record(main: i64, version: i64) -> Arc<Record> {
        let modified = Revision { main, sub: 0 };
        let (key, value) = (Arc::from(&b"k"[..]), Box::from(&b"v"[..]));
        Arc::new(Record { key, value, created: main, modified, version, lease: 0 })
    }

    fn seen(history: &History, at: i64) -> Option<i64> {
        history.at(at).map(|record| record.modified.main)
    }

    #[test]
    fn reads_see_the_newest_before_them_and_compactions_keep_it() {
        let mut history = History::Single(record(2, 1));
        [(4, 2), (6, 0), (8, 1)].into_iter().for_each(|(main, version)| history.push(record(main, version)));
        assert_eq!(
            [1, 2, 3, 4, 6, 7, 8, 99].map(|at| seen(&history, at)),
            [None, Some(2), Some(2), Some(4), None, None, Some(8), Some(8)]
        );
        let (dropped, ended) = history.compact(5);
        assert_eq!((dropped.len(), ended, seen(&history, 5)), (1, false, Some(4)));
        // A tombstone is not kept for reads that see nothing either way.
        let (dropped, ended) = history.compact(6);
        assert_eq!((dropped.len(), ended, seen(&history, 6), seen(&history, 8)), (2, false, None, Some(8)));
        assert!(matches!(history, History::Single(_)));
        history.push(record(9, 0));
        let (dropped, ended) = history.compact(9);
        assert_eq!((dropped.len(), ended), (2, true));
    }
}
