//! Who is told of which change. A watcher is a place in the history, and the history is the queue: nothing is kept
//! for a reader that does not read, and it finds everything when it does, unless that was compacted meanwhile.
//!
//! Invariants: a watcher that is not in its stream's `dirty` has been told everything there was for it; `cursor` is
//! the first revision that it may not have been told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use crate::proto::event::EventType;
use crate::proto::watch_create_request::FilterType;
use crate::proto::{Event, WatchCreateRequest};
use crate::span::{Span, first_key, prefix_end};
use crate::state::mvcc::{Mvcc, Record};

/// A watcher: its stream and its number in it.
type Key = (u64, i64);

/// What is watched, and how.
#[derive(Clone, Debug)]
pub struct Watcher {
    span: Span,
    cursor: i64,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    /// Whether a large revision may come in parts.
    pub fragment: bool,
    /// Whether it wants to hear from time to time that nothing has happened.
    pub progress: bool,
}

/// What a watcher is told.
#[derive(Debug, PartialEq)]
pub enum News {
    /// Changes, of whole revisions.
    Events(Vec<Event>),
    /// What it waits for is gone, up to this revision.
    Compacted(i64),
}

#[derive(Debug, Default)]
struct Stream {
    dirty: BTreeSet<i64>,
    watchers: BTreeSet<i64>,
    /// Numbers of watchers that a compaction has ended: they are taken until the client cancels them too.
    ended: BTreeSet<i64>,
    next: i64,
}

/// All watchers of a member.
#[derive(Debug, Default)]
pub struct Hub {
    watchers: HashMap<Key, Watcher>,
    streams: HashMap<u64, Stream>,
    keys: HashMap<Bytes, BTreeSet<Key>>,
    prefixes: HashMap<Bytes, BTreeSet<Key>>,
    ranges: BTreeMap<Span, BTreeSet<Key>>,
    next_stream: u64,
    /// The revision up to which watchers are marked.
    published: i64,
}

/// Events in one answer, about; a revision is never split here.
const EVENTS_MAX: usize = 1000;
/// Records that are looked at in one go.
const SCAN_MAX: usize = 20_000;

impl Hub {
    /// Begins a stream.
    pub fn open(&mut self) -> u64 {
        self.next_stream += 1;
        self.streams.insert(self.next_stream, Stream::default());
        self.next_stream
    }

    /// Ends a stream with all its watchers.
    pub fn close(&mut self, stream: u64) {
        let ids = self.streams.get(&stream).map(|stream| stream.watchers.clone()).unwrap_or_default();
        for id in ids {
            self.cancel(stream, id);
        }
        self.streams.remove(&stream);
    }

    /// Number of watchers.
    pub fn len(&self) -> usize {
        self.watchers.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// Number of streams.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Adds a watcher as of `revision`. Returns its number, or nothing if the wanted one is taken.
    pub fn create(&mut self, stream: u64, request: &WatchCreateRequest, revision: i64) -> Option<i64> {
        let entry = self.streams.get_mut(&stream)?;
        let id = match request.watch_id {
            0 => {
                while entry.watchers.contains(&entry.next) || entry.ended.contains(&entry.next) {
                    entry.next += 1;
                }
                entry.next += 1;
                entry.next - 1
            }
            id => id,
        };
        if entry.ended.contains(&id) || !entry.watchers.insert(id) {
            return None;
        }
        let has = |filter: FilterType| request.filters.contains(&(filter as i32));
        let key = first_key(&request.key);
        let cursor = if request.start_revision > 0 { request.start_revision } else { revision + 1 };
        let watcher = Watcher {
            span: Span::new(&key, &request.range_end),
            cursor,
            no_put: has(FilterType::Noput),
            no_delete: has(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            progress: request.progress_notify,
        };
        if cursor <= revision {
            entry.dirty.insert(id);
        }
        self.index(&watcher.span).insert((stream, id));
        self.watchers.insert((stream, id), watcher);
        Some(id)
    }

    fn index(&mut self, span: &Span) -> &mut BTreeSet<Key> {
        match span {
            Span::Key(key) => self.keys.entry(key.clone()).or_default(),
            Span::Range(start, end) if prefix_end(start) == end => {
                self.prefixes.entry(start.clone()).or_default()
            }
            _ => self.ranges.entry(span.clone()).or_default(),
        }
    }

    /// Ends a watcher that waits for what was compacted.
    pub fn end(&mut self, stream: u64, id: i64) {
        self.cancel(stream, id);
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.ended.insert(id);
        }
    }

    /// Takes a watcher out. Returns whether it was there.
    pub fn cancel(&mut self, stream: u64, id: i64) -> bool {
        if self.streams.get_mut(&stream).is_some_and(|stream| stream.ended.remove(&id)) {
            return true;
        }
        let Some(watcher) = self.watchers.remove(&(stream, id)) else { return false };
        let set = self.index(&watcher.span);
        set.remove(&(stream, id));
        if set.is_empty() {
            match &watcher.span {
                Span::Key(key) => drop(self.keys.remove(key)),
                Span::Range(start, end) if prefix_end(start) == end => drop(self.prefixes.remove(start)),
                _ => drop(self.ranges.remove(&watcher.span)),
            }
        }
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.watchers.remove(&id);
            stream.dirty.remove(&id);
        }
        true
    }

    /// Marks those for whom records mean something. Returns the streams that have to look.
    pub fn publish<'a>(&mut self, records: impl IntoIterator<Item = &'a Arc<Record>>) -> BTreeSet<u64> {
        let mut woken = BTreeSet::new();
        if self.watchers.is_empty() {
            return woken;
        }
        for record in records {
            let key: &[u8] = &record.key;
            let mut hit: Vec<Key> = self.keys.get(key).into_iter().flatten().copied().collect();
            if !self.prefixes.is_empty() {
                let prefixes = (1..=key.len()).filter_map(|end| self.prefixes.get(key.get(..end)?));
                hit.extend(prefixes.flatten().copied());
            }
            let ranges = self.ranges.iter().filter(|(span, _)| span.contains(key));
            hit.extend(ranges.flat_map(|(_, set)| set).copied());
            for (stream, id) in hit {
                let Some(entry) = self.streams.get_mut(&stream) else { continue };
                let Some(watcher) = self.watchers.get_mut(&(stream, id)) else { continue };
                // A watcher of the future does not hear of what comes before.
                if record.modified.main >= watcher.cursor && entry.dirty.insert(id) {
                    watcher.cursor = record.modified.main;
                    woken.insert(stream);
                }
            }
        }
        woken
    }

    /// Everything up to this revision has been published.
    pub fn publish_to(&mut self, revision: i64) {
        self.published = revision;
    }

    /// The revision up to which a stream that is synced has been told everything: the state may be ahead.
    pub fn published(&self) -> i64 {
        self.published
    }

    /// Whether a stream has been told everything.
    pub fn is_synced(&self, stream: u64) -> bool {
        self.streams.get(&stream).is_none_or(|stream| stream.dirty.is_empty())
    }

    /// Watchers of a stream that have something to be told, with what they want.
    pub fn take_dirty(&mut self, stream: u64) -> Vec<(i64, Watcher)> {
        let Some(entry) = self.streams.get_mut(&stream) else { return Vec::new() };
        let ids = std::mem::take(&mut entry.dirty);
        ids.into_iter().filter_map(|id| Some((id, self.watchers.get(&(stream, id))?.clone()))).collect()
    }

    /// Numbers of a stream's watchers that want to hear of progress.
    pub fn wants_progress(&self, stream: u64) -> Vec<i64> {
        let ids = self.streams.get(&stream).map(|stream| stream.watchers.clone()).unwrap_or_default();
        ids.into_iter().filter(|id| self.watchers.get(&(stream, *id)).is_some_and(|w| w.progress)).collect()
    }

    /// Moves a watcher on after it was told; `more` where the history has more for it.
    pub fn advance(&mut self, stream: u64, id: i64, cursor: i64, more: bool) {
        if let Some(watcher) = self.watchers.get_mut(&(stream, id)) {
            watcher.cursor = cursor;
            if more && let Some(entry) = self.streams.get_mut(&stream) {
                entry.dirty.insert(id);
            }
        }
    }
}

impl Watcher {
    /// What there is for it now, the place to go on from, and whether there may be more.
    pub fn collect(&self, mvcc: &Mvcc) -> (News, i64, bool) {
        if self.cursor < mvcc.compacted() {
            return (News::Compacted(mvcc.compacted()), self.cursor, false);
        }
        let mut events = Vec::new();
        let mut last = self.cursor - 1;
        for (scanned, record) in mvcc.since(self.cursor).enumerate() {
            let main = record.modified.main;
            if main != last && (events.len() >= EVENTS_MAX || scanned >= SCAN_MAX) {
                return (News::Events(events), last + 1, true);
            }
            last = main;
            if self.span.contains(&record.key)
                && !(if record.is_tombstone() { self.no_delete } else { self.no_put })
            {
                events.push(self.event(record, mvcc));
            }
        }
        (News::Events(events), mvcc.revision() + 1, false)
    }

    fn event(&self, record: &Arc<Record>, mvcc: &Mvcc) -> Event {
        let kind = if record.is_tombstone() { EventType::Delete } else { EventType::Put };
        let before = record.modified.main - 1;
        let prev_kv = (self.prev_kv && before >= mvcc.compacted()).then(|| mvcc.get(&record.key, before));
        Event {
            r#type: kind.into(),
            kv: Some(record.key_value()),
            prev_kv: prev_kv.flatten().map(|r| r.key_value()),
        }
    }
}
