//! The applied state in sled, so that a start need not read all of it from the snapshot and the log.
//!
//! It follows the state from a thread of its own, and is never needed: what was written and the mark of how far it
//! is go in one batch; where it cannot be opened, read, or written, it is thrown away and made anew from the
//! newest snapshot and the log. sled does not promise that what it flushed is on the disk, so nothing relies on it:
//! the log is only cut where a snapshot covers it.
//!
//! Beside the marks lies the sum of the checksums of all records: one that was lost or changed, whatever sled says of
//! it, is noticed before it is served.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;

use super::Damage;
use crate::state::record::{Bucket, Change};
use crate::state::{State, View, applied_changes};

/// Bytes of pages that sled keeps in memory: the state is there already.
const CACHE: u64 = 4 << 20;
/// Batches that may wait before the state has to wait for them: what they hold is mostly shared with the state.
const QUEUE: usize = 1 << 16;
/// Changes that go to sled in one batch.
const TOGETHER: usize = 4096;
/// How long changes gather: nobody waits for sled, and to wake it for each of them costs more than all it does.
const GATHER: Duration = Duration::from_millis(100);
/// The key of the sum of all other records; no bucket's records begin like this.
const SUM: &[u8] = b"\xffsum";

enum Work {
    Batch(Vec<Change>, u64, u64),
    Flush(Sender<()>),
}

/// The writer's end.
pub struct Checkpoint {
    path: PathBuf,
    work: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
}

fn open(path: &Path) -> sled::Result<sled::Db> {
    sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(Some(2000)).open()
}

fn key(bucket: Bucket, key: &[u8]) -> Vec<u8> {
    let mut full = vec![bucket as u8];
    full.extend_from_slice(key);
    full
}

/// What a record adds to the sum.
fn weight(name: &[u8], value: &[u8]) -> u64 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name);
    hasher.update(value);
    (value.len() as u64) << 32 | u64::from(hasher.finalize())
}

fn parse_sum(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// Reads the state that sled holds, if it holds a sound one.
///
/// # Errors
/// Why it must be made anew.
pub fn read(path: &Path) -> Result<Option<State>, Damage> {
    if !path.exists() {
        return Ok(None);
    }
    let corrupt = |what: String| Damage::Corrupt { path: path.to_owned(), offset: 0, what };
    let db = open(path).map_err(|error| corrupt(error.to_string()))?;
    let (mut sum, mut said, mut count, mut fault) = (0u64, None, 0usize, None);
    // One after the other: the state alone is as large as the memory should become.
    let records = db.iter().filter_map(|entry| match entry {
        Ok((name, value)) if name == SUM => {
            said = parse_sum(&value);
            None
        }
        Ok((name, value)) => {
            sum = sum.wrapping_add(weight(&name, &value));
            count += 1;
            let found = parse_entry(&name, &value);
            fault = fault.take().or_else(|| found.is_none().then(|| "it holds a record of no bucket".into()));
            found
        }
        Err(error) => {
            fault = Some(error.to_string());
            None
        }
    });
    let restored = State::restore(records);
    if count == 0 && fault.is_none() {
        return Ok(None);
    }
    if let Some(fault) = fault {
        return Err(corrupt(fault));
    }
    if said != Some(sum) {
        return Err(corrupt("its records are not those that were written".into()));
    }
    restored.map(Some).map_err(|error| corrupt(error.to_string()))
}

fn parse_entry(name: &[u8], value: &[u8]) -> Option<(Bucket, Bytes, Bytes)> {
    let (first, name) = name.split_first()?;
    let bucket = Bucket::ALL.into_iter().find(|bucket| *bucket as u8 == *first)?;
    Some((bucket, Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)))
}

impl Checkpoint {
    /// Follows the state from now on. With `fresh` sled is empty or stale, and begins with that view.
    pub fn start(path: &Path, fresh: Option<View>) -> Checkpoint {
        let (send, receive) = mpsc::sync_channel(QUEUE);
        let place = path.to_owned();
        let thread = std::thread::Builder::new().name("applied".into()).spawn(move || {
            if let Err(error) = follow(&place, fresh, &receive) {
                eprintln!("etcd: {}: {error}; it will be made anew at the next start", place.display());
                drop(receive);
                let _ = fs::remove_dir_all(&place);
            }
        });
        Checkpoint { path: path.to_owned(), work: Some(send), thread: thread.ok() }
    }

    /// One that keeps nothing.
    pub fn none() -> Checkpoint {
        Checkpoint { path: PathBuf::new(), work: None, thread: None }
    }

    /// Notes what entries up to `index` have changed.
    pub fn write(&mut self, changes: Vec<Change>, index: u64, term: u64) {
        if let Some(work) = &self.work
            && work.send(Work::Batch(changes, index, term)).is_err()
        {
            self.work = None;
        }
    }

    /// The state was replaced: what sled holds is of no use.
    pub fn discard(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// Waits until everything is written.
    pub fn flush(&mut self) {
        let (send, receive) = mpsc::channel();
        if let Some(work) = self.work.take()
            && work.send(Work::Flush(send)).is_ok()
        {
            let _ = receive.recv();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// sled, and the sum of what it holds.
struct Follower {
    db: sled::Db,
    sum: u64,
}

fn follow(path: &Path, fresh: Option<View>, receive: &Receiver<Work>) -> sled::Result<()> {
    if fresh.is_some() && path.exists() {
        let _ = fs::remove_dir_all(path);
    }
    let db = open(path)?;
    let sum = db.get(SUM)?.and_then(|value| parse_sum(&value)).unwrap_or(0);
    let mut follower = Follower { db, sum };
    if let Some(view) = fresh {
        follower.begin(&view)?;
    }
    let mut waiting = None;
    // More is waiting than goes together.
    let mut is_late = false;
    while let Some(work) = waiting.take().or_else(|| receive.recv().ok()) {
        match work {
            Work::Batch(mut changes, mut index, mut term) => {
                if !is_late {
                    std::thread::sleep(GATHER);
                }
                is_late = false;
                // What has gathered meanwhile goes together.
                while changes.len() < TOGETHER {
                    match receive.try_recv() {
                        Ok(Work::Batch(more, i, t)) => {
                            changes.extend(more);
                            (index, term) = (i, t);
                        }
                        other => {
                            waiting = other.ok();
                            break;
                        }
                    }
                }
                is_late |= changes.len() >= TOGETHER;
                changes.extend(applied_changes(index, term));
                follower.apply(&changes)?;
            }
            Work::Flush(done) => {
                follower.db.flush()?;
                let _ = done.send(());
            }
        }
    }
    follower.db.flush()?;
    Ok(())
}

impl Follower {
    /// Writes everything into an empty database.
    fn begin(&mut self, view: &View) -> sled::Result<()> {
        let mut batch = sled::Batch::default();
        // The marks come last: without them what is there does not count.
        let records = view.all().filter(|(bucket, ..)| *bucket != Bucket::Meta);
        let marks = view.bucket(Bucket::Meta).map(|(name, value)| (Bucket::Meta, name, value));
        for (count, (bucket, name, value)) in records.chain(marks).enumerate() {
            let name = key(bucket, &name);
            self.sum = self.sum.wrapping_add(weight(&name, &value));
            batch.insert(name, value.as_ref());
            if count % TOGETHER == TOGETHER - 1 {
                self.db.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        batch.insert(SUM, &self.sum.to_be_bytes());
        self.db.apply_batch(batch)
    }

    /// Writes changes and what their sum is then, all or nothing.
    fn apply(&mut self, changes: &[Change]) -> sled::Result<()> {
        // Of what changed more than once only the last counts, and sled likes neighbours together.
        let last: BTreeMap<Vec<u8>, (bool, Option<Bytes>)> = changes
            .iter()
            .map(|change| {
                let (bucket, name, value) = change.encode();
                let is_new = matches!(change, Change::Record(_));
                (key(bucket, &name), (is_new, value))
            })
            .collect();
        let mut batch = sled::Batch::default();
        for (name, (is_new, value)) in last {
            // A record of the keyspace is written once: only of others there may be an older value.
            if !is_new && let Some(old) = self.db.get(&name)? {
                self.sum = self.sum.wrapping_sub(weight(&name, &old));
            }
            match value {
                Some(value) => {
                    self.sum = self.sum.wrapping_add(weight(&name, &value));
                    batch.insert(name, value.as_ref());
                }
                None => batch.remove(name),
            }
        }
        batch.insert(SUM, &self.sum.to_be_bytes());
        self.db.apply_batch(batch)
    }
}
