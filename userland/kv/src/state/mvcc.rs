//! Keys with all their values since the last compaction.
//!
//! Invariants: `revision` grows by one with each transaction that changes something; a key's history is ordered by
//! revision and begins with the newest record at or before `compacted`, unless that is a tombstone; `log` holds
//! the same records in the order of their revisions. All records of a key share its bytes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use bytes::Bytes;

use super::history::History;
use super::log::Log;
use super::record::Change;
use crate::fault::Fault;
use crate::proto::range_request::{SortOrder, SortTarget};
use crate::proto::{KeyValue, RangeRequest};
use crate::span::Span;

/// When something changed: the transaction, and the change's place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The transaction.
    pub main: i64,
    /// The place in it, from 0.
    pub sub: i64,
}

/// What a key was from a revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Arc<[u8]>,
    /// Its value; empty for a tombstone.
    pub value: Box<[u8]>,
    /// Revision of the put that brought it into being; 0 for a tombstone.
    pub created: i64,
    /// When this was written.
    pub modified: Revision,
    /// Puts since it came into being; 0 for a tombstone.
    pub version: i64,
    /// The lease it is attached to, or 0.
    pub lease: i64,
}

impl Record {
    /// Whether the key ended here.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// As it is sent to clients.
    pub fn key_value(self: &Arc<Record>) -> KeyValue {
        KeyValue {
            key: self.key_bytes(),
            value: Bytes::from_owner(Value(self.clone())),
            create_revision: self.created,
            mod_revision: self.modified.main,
            version: self.version,
            lease: self.lease,
        }
    }

    /// The key, without a copy.
    pub fn key_bytes(&self) -> Bytes {
        Bytes::from_owner(self.key.clone())
    }

    /// Bytes that it is counted with against the quota: what a page of etcd's would hold.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.len() + 64
    }
}

/// The value of a record, which stays as long as an answer needs it.
struct Value(Arc<Record>);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0.value
    }
}

/// What a range found.
#[derive(Debug, Default)]
pub struct Found {
    /// The keys, filtered, sorted and limited.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// How many there are without filters and limit.
    pub count: i64,
}

/// The keyspace.
#[derive(Clone, Debug)]
pub struct Mvcc {
    keys: BTreeMap<Arc<[u8]>, History>,
    log: Log,
    revision: i64,
    compacted: i64,
    size: usize,
    /// The transaction that is being written: its changes so far.
    sub: i64,
}

impl Default for Mvcc {
    fn default() -> Mvcc {
        Mvcc { keys: BTreeMap::new(), log: Log::default(), revision: 1, compacted: 0, size: 0, sub: 0 }
    }
}

impl Mvcc {
    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The revision below which history is gone.
    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Bytes of all records.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Bytes of the newest records alone.
    pub fn size_in_use(&self) -> usize {
        self.size
    }

    /// Number of keys that are there now.
    pub fn key_count(&self) -> usize {
        self.keys.values().filter(|history| !history.newest().is_tombstone()).count()
    }

    /// The revision that a read sees now: within a transaction that has changed something, its own.
    pub fn current(&self) -> i64 {
        self.revision + i64::from(self.sub > 0)
    }

    /// The key at a revision.
    pub fn get(&self, key: &[u8], at: i64) -> Option<&Arc<Record>> {
        self.keys.get(key).and_then(|history| history.at(at))
    }

    /// All keys of a span at a revision, in order.
    pub fn scan<'a>(&'a self, span: &'a Span, at: i64) -> impl Iterator<Item = &'a Arc<Record>> {
        span.bounds()
            .map(|bounds| self.keys.range::<[u8], _>(bounds))
            .into_iter()
            .flatten()
            .filter_map(move |(_, history)| history.at(at))
    }

    /// Whether a read at `revision` is possible; 0 means now.
    ///
    /// # Errors
    /// `FutureRevision`, `Compacted`.
    pub fn check_revision(&self, revision: i64) -> Result<i64, Fault> {
        match revision {
            r if r > self.current() => Err(Fault::FutureRevision),
            r if r <= 0 => Ok(self.current()),
            r if r < self.compacted => Err(Fault::Compacted),
            r => Ok(r),
        }
    }

    /// The same for a range within a transaction, where not all that is below 0 means now.
    ///
    /// # Errors
    /// `FutureRevision`, `Compacted`.
    pub fn check_revision_in_txn(&self, revision: i64) -> Result<(), Fault> {
        match revision {
            0 => Ok(()),
            r if r > self.current() => Err(Fault::FutureRevision),
            r if r < self.first() => Err(Fault::Compacted),
            _ => Ok(()),
        }
    }

    /// The revision below which history is gone, as etcd counts: less than any where nothing is gone yet.
    pub fn first(&self) -> i64 {
        if self.compacted == 0 { -1 } else { self.compacted }
    }

    /// The revision that a hash of the keyspace is as of; 0 means now.
    ///
    /// # Errors
    /// `FutureRevision`, `Compacted`; a hash at the compacted revision cannot be told.
    pub fn check_hash_revision(&self, revision: i64) -> Result<i64, Fault> {
        match revision {
            0 => Ok(self.current()),
            r if r > 0 && r <= self.compacted => Err(Fault::Compacted),
            r if r > self.current() => Err(Fault::FutureRevision),
            r => Ok(r),
        }
    }

    /// Answers a range request.
    ///
    /// # Errors
    /// As [`Mvcc::check_revision`].
    pub fn range(&self, request: &RangeRequest) -> Result<Found, Fault> {
        let at = self.check_revision(request.revision)?;
        let span = Span::new(&request.key, &request.range_end);
        if request.count_only {
            return Ok(Found { count: self.scan(&span, at).count() as i64, ..Found::default() });
        }
        let order = match (request.sort_order(), request.sort_target()) {
            (SortOrder::None, SortTarget::Key) => SortOrder::None,
            (SortOrder::None, _) => SortOrder::Ascend,
            (order, _) => order,
        };
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
        // Who names no order gets the first ones in the order of keys, sorted among themselves, as from etcd.
        let keep_all = request.sort_order() != SortOrder::None || is_filtered(request);
        let mut count = 0;
        let mut picked: Vec<&Arc<Record>> = Vec::new();
        for record in self.scan(&span, at) {
            count += 1;
            if (keep_all || picked.len() <= limit) && passes(record, request) {
                picked.push(record);
            }
        }
        sort(&mut picked, order, request.sort_target());
        let more = picked.len() > limit;
        picked.truncate(limit);
        let kvs = picked.into_iter().map(|record| {
            let mut kv = record.key_value();
            if request.keys_only {
                kv.value = Bytes::new();
            }
            kv
        });
        Ok(Found { kvs: kvs.collect(), more, count })
    }

    /// Writes a key within the open transaction. Returns what it was before.
    pub fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        lease: i64,
        changes: &mut Vec<Change>,
    ) -> Option<Arc<Record>> {
        let previous = self.get(key, i64::MAX).cloned();
        let main = self.revision + 1;
        let record = Record {
            // A copy of its own: the request's buffer would keep everything that came with it.
            key: self.shared(key).unwrap_or_else(|| key.into()),
            value: value.into(),
            created: previous.as_ref().map_or(main, |record| record.created),
            modified: Revision { main, sub: self.sub },
            version: previous.as_ref().map_or(0, |record| record.version) + 1,
            lease,
        };
        self.write(record, changes);
        previous
    }

    /// Ends all keys of a span within the open transaction. Returns what they were.
    pub fn delete(&mut self, span: &Span, changes: &mut Vec<Change>) -> Vec<Arc<Record>> {
        let gone: Vec<Arc<Record>> = self.scan(span, i64::MAX).cloned().collect();
        for record in &gone {
            let modified = Revision { main: self.revision + 1, sub: self.sub };
            let key = record.key.clone();
            self.write(
                Record { key, value: Box::default(), created: 0, modified, version: 0, lease: 0 },
                changes,
            );
        }
        gone
    }

    fn write(&mut self, record: Record, changes: &mut Vec<Change>) {
        self.sub += 1;
        let record = Arc::new(record);
        changes.push(Change::Record(record.clone()));
        self.insert(record);
    }

    fn insert(&mut self, record: Arc<Record>) {
        self.size += record.size();
        self.log.push(record.clone());
        match self.keys.entry(record.key.clone()) {
            Entry::Vacant(place) => drop(place.insert(History::Single(record))),
            Entry::Occupied(mut history) => history.get_mut().push(record),
        }
    }

    /// The bytes of a key that is known.
    fn shared(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.keys.get_key_value(key).map(|(key, _)| key.clone())
    }

    /// Ends the open transaction. Returns the revision.
    pub fn commit(&mut self) -> i64 {
        self.revision = self.current();
        self.sub = 0;
        self.revision
    }

    /// The records written at or after `from`, in order.
    pub fn since(&self, from: i64) -> impl Iterator<Item = &Arc<Record>> {
        self.log.since(from)
    }

    /// Every record, in order of revisions.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.log.iter()
    }

    /// Every key's newest record that is not a tombstone.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.keys.values().filter_map(|history| history.at(i64::MAX))
    }

    /// Drops what no read at or after `at` can see.
    ///
    /// # Errors
    /// `Compacted` where that is done already, `FutureRevision`.
    pub fn compact(&mut self, at: i64, changes: &mut Vec<Change>) -> Result<(), Fault> {
        if at <= self.compacted {
            return Err(Fault::Compacted);
        }
        if at > self.revision {
            return Err(Fault::FutureRevision);
        }
        let touched = self.log.since(self.compacted).take_while(|record| record.modified.main <= at);
        let touched: Vec<Arc<[u8]>> = touched.map(|record| record.key.clone()).collect();
        for key in touched {
            let Some(history) = self.keys.get_mut(&key) else { continue };
            let (dropped, ended) = history.compact(at);
            for record in dropped {
                self.size -= record.size();
                self.log.remove(record.modified);
                changes.push(Change::Drop(record.modified, record.is_tombstone()));
            }
            if ended {
                self.keys.remove(&key);
            }
        }
        self.compacted = at;
        Ok(())
    }

    /// Takes back a record from a snapshot; they come in order of their revisions.
    pub fn restore(&mut self, mut record: Record) {
        record.key = self.shared(&record.key).unwrap_or(record.key);
        self.revision = self.revision.max(record.modified.main);
        self.insert(Arc::new(record));
    }

    /// Takes back the marks from a snapshot.
    pub fn restore_marks(&mut self, revision: i64, compacted: i64) {
        self.compacted = self.compacted.max(compacted);
        self.revision = self.revision.max(revision).max(compacted);
    }
}

fn is_filtered(request: &RangeRequest) -> bool {
    let RangeRequest { min_mod_revision, max_mod_revision, min_create_revision, max_create_revision, .. } =
        request;
    [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision]
        .iter()
        .any(|bound| **bound != 0)
}

fn passes(record: &Record, request: &RangeRequest) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(record.modified.main, request.min_mod_revision, request.max_mod_revision)
        && within(record.created, request.min_create_revision, request.max_create_revision)
}

fn sort(records: &mut [&Arc<Record>], order: SortOrder, target: SortTarget) {
    // Keys that are equal in it stay in their order, whichever way it is sorted.
    let descends = order == SortOrder::Descend;
    let by = |compare: std::cmp::Ordering| if descends { compare.reverse() } else { compare };
    match target {
        _ if order == SortOrder::None => {}
        SortTarget::Key if descends => records.reverse(),
        SortTarget::Key => {}
        SortTarget::Version => records.sort_by(|a, b| by(a.version.cmp(&b.version))),
        SortTarget::Create => records.sort_by(|a, b| by(a.created.cmp(&b.created))),
        SortTarget::Mod => records.sort_by(|a, b| by(a.modified.main.cmp(&b.modified.main))),
        SortTarget::Value => records.sort_by(|a, b| by(a.value.cmp(&b.value))),
    }
}
