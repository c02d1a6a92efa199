//! The part of the replicated log that is in memory: what followers may still need and what is not yet applied.
//!
//! Invariants: `first - 1 <= applied <= committed <= last`; indexes are consecutive; what is committed is never
//! taken back.

use std::collections::VecDeque;

use crate::proto::internal::Entry;

/// Entries after a snapshot's place, with the marks of how far each is durable, committed and applied.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    /// Index and term of the entry before the first one.
    before: (u64, u64),
    handed: u64,
    stable: u64,
    committed: u64,
    applied: u64,
}

impl Log {
    /// A log that goes on after the entry `index` of `term`, which is applied.
    pub fn after(index: u64, term: u64) -> Log {
        Log {
            entries: VecDeque::new(),
            before: (index, term),
            handed: index,
            stable: index,
            committed: index,
            applied: index,
        }
    }

    /// Takes back what the disk held: `entries` are durable; `applied` and `committed` are cut to what is there.
    pub fn load(&mut self, entries: Vec<Entry>, committed: u64, applied: u64) {
        self.entries = entries.into_iter().filter(|entry| entry.index > self.before.0).collect();
        let last = self.last_index();
        (self.handed, self.stable) = (last, last);
        self.applied = applied.clamp(self.before.0, last);
        self.committed = committed.clamp(self.applied, last);
    }

    /// Index of the oldest entry that is here.
    pub fn first_index(&self) -> u64 {
        self.before.0 + 1
    }

    /// Index of the newest entry.
    pub fn last_index(&self) -> u64 {
        self.before.0 + self.entries.len() as u64
    }

    /// Term of the newest entry.
    pub fn last_term(&self) -> u64 {
        self.entries.back().map_or(self.before.1, |entry| entry.term)
    }

    /// Index up to which a quorum has it.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Index up to which the state machine has it.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Index up to which this member's disk has it.
    pub fn stable(&self) -> u64 {
        self.stable
    }

    fn position(&self, index: u64) -> Option<usize> {
        let offset = index.checked_sub(self.before.0 + 1)?;
        usize::try_from(offset).ok().filter(|offset| *offset < self.entries.len())
    }

    /// The term of the entry at `index`, if that is known.
    pub fn term(&self, index: u64) -> Option<u64> {
        if index == self.before.0 {
            return Some(self.before.1);
        }
        self.position(index).and_then(|position| self.entries.get(position)).map(|entry| entry.term)
    }

    /// Whether a log that ends like this one is missing nothing that `(index, term)` has.
    pub fn is_up_to_date(&self, index: u64, term: u64) -> bool {
        (term, index) >= (self.last_term(), self.last_index())
    }

    /// Adds entries that follow the last one.
    pub fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }

    /// Takes a leader's entries that follow `index` of `term`; what contradicts them goes.
    ///
    /// # Errors
    /// Where the entry before them is not ours: a hint where the leader may look next.
    pub fn merge(&mut self, index: u64, term: u64, entries: Vec<Entry>) -> Result<u64, u64> {
        if index >= self.before.0 && self.term(index) != Some(term) {
            return Err(index.saturating_sub(1).min(self.last_index()));
        }
        let mut last = index;
        for entry in entries {
            last = entry.index;
            if entry.index <= self.committed {
                continue;
            }
            match self.term(entry.index) {
                Some(term) if term == entry.term => {}
                Some(_) => {
                    self.cut(entry.index);
                    self.entries.push_back(entry);
                }
                None => self.entries.push_back(entry),
            }
        }
        Ok(last)
    }

    /// Removes `index` and what follows.
    fn cut(&mut self, index: u64) {
        if let Some(position) = self.position(index) {
            self.entries.truncate(position);
        }
        self.handed = self.handed.min(index - 1);
        self.stable = self.stable.min(index - 1);
    }

    /// The largest index at or below `index` whose term is at most `term`: where two logs may agree.
    pub fn agreement(&self, index: u64, term: u64) -> u64 {
        let mut at = index.min(self.last_index());
        while at > self.before.0 && self.term(at).is_some_and(|t| t > term) {
            at -= 1;
        }
        at
    }

    /// Entries after `index`, up to `bytes` of them but at least one.
    pub fn following(&self, index: u64, bytes: usize) -> Vec<Entry> {
        let Some(position) = self.position(index + 1) else { return Vec::new() };
        let mut size = 0;
        self.entries
            .range(position..)
            .take_while(|entry| {
                let first = size == 0;
                size += entry.data.len() + 32;
                first || size <= bytes
            })
            .cloned()
            .collect()
    }

    /// Entries that were not handed out to be written.
    pub fn take_unstable(&mut self) -> Vec<Entry> {
        let position = self.position(self.handed + 1).unwrap_or(self.entries.len());
        self.handed = self.last_index();
        self.entries.range(position..).cloned().collect()
    }

    /// Whether entries wait to be written.
    pub fn has_unstable(&self) -> bool {
        self.handed < self.last_index()
    }

    /// The disk has everything up to this entry, if it is still the one that is here.
    pub fn persisted(&mut self, index: u64, term: u64) {
        if self.term(index) == Some(term) && index <= self.handed {
            self.stable = self.stable.max(index);
        }
    }

    /// A quorum has everything up to `index`.
    pub fn commit(&mut self, index: u64) -> bool {
        let index = index.min(self.last_index());
        let moved = index > self.committed;
        self.committed = self.committed.max(index);
        moved
    }

    /// Committed entries that are on this disk and were not handed out to be applied.
    pub fn take_committed(&mut self, bytes: usize) -> Vec<Entry> {
        let until = self.committed.min(self.stable);
        let mut entries = self.following(self.applied, bytes);
        entries.retain(|entry| entry.index <= until);
        self.applied += entries.len() as u64;
        entries
    }

    /// Whether entries wait to be applied.
    pub fn has_committed(&self) -> bool {
        self.applied < self.committed.min(self.stable)
    }

    /// Forgets applied entries up to `index`.
    pub fn forget(&mut self, index: u64) {
        let index = index.min(self.applied).min(self.stable);
        if let (Some(term), Some(position)) = (self.term(index), self.position(index)) {
            self.entries.drain(..=position);
            self.before = (index, term);
        }
    }

    /// Entries and bytes of data that are held here.
    pub fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.entries.iter().map(|entry| entry.data.len()).sum())
    }
}
