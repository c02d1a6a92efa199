//! The applied state in sled, so that a start need not read all of it from the snapshot and the log.
//!
//! It follows the state from a thread of its own, and is never needed: what was written and the mark of how far it
//! is go in one batch; where it cannot be opened, read, or written, it is thrown away and made anew from the
//! newest snapshot and the log. sled does not promise that what it flushed is on the disk, so nothing relies on it:
//! the log is only cut where a snapshot covers it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::JoinHandle;

use bytes::Bytes;

use super::Damage;
use crate::state::record::{Bucket, Change};
use crate::state::{State, View, applied_changes};

/// Bytes of pages that sled keeps in memory: the state is there already.
const CACHE: u64 = 16 << 20;
/// Batches that may wait before the state has to wait for them.
const QUEUE: usize = 1024;

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
    let mut records = Vec::new();
    for entry in db.iter() {
        let (name, value) = entry.map_err(|error| corrupt(error.to_string()))?;
        let bucket =
            name.first().and_then(|first| Bucket::ALL.into_iter().find(|bucket| *bucket as u8 == *first));
        let bucket = bucket.ok_or_else(|| corrupt("it holds a record of no bucket".into()))?;
        let name = Bytes::copy_from_slice(name.get(1..).unwrap_or_default());
        records.push((bucket, name, Bytes::copy_from_slice(&value)));
    }
    if records.is_empty() {
        return Ok(None);
    }
    State::restore(records).map(Some).map_err(|error| corrupt(error.to_string()))
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

fn follow(path: &Path, fresh: Option<View>, receive: &Receiver<Work>) -> sled::Result<()> {
    if fresh.is_some() && path.exists() {
        let _ = fs::remove_dir_all(path);
    }
    let db = open(path)?;
    if let Some(view) = fresh {
        let mut batch = sled::Batch::default();
        // The marks come last: without them what is there does not count.
        for (count, (bucket, name, value)) in
            view.all().filter(|(bucket, ..)| *bucket != Bucket::Meta).enumerate()
        {
            batch.insert(key(bucket, &name), value.as_ref());
            if count % 1000 == 999 {
                db.apply_batch(std::mem::take(&mut batch))?;
            }
        }
        for (name, value) in view.bucket(Bucket::Meta) {
            batch.insert(key(Bucket::Meta, &name), value.as_ref());
        }
        db.apply_batch(batch)?;
    }
    while let Ok(work) = receive.recv() {
        match work {
            Work::Batch(changes, index, term) => {
                let mut batch = sled::Batch::default();
                for change in changes.into_iter().chain(applied_changes(index, term)) {
                    let (bucket, name, value) = change.encode();
                    match value {
                        Some(value) => batch.insert(key(bucket, &name), value.as_ref()),
                        None => batch.remove(key(bucket, &name)),
                    }
                }
                db.apply_batch(batch)?;
            }
            Work::Flush(done) => {
                db.flush()?;
                let _ = done.send(());
            }
        }
    }
    db.flush()?;
    Ok(())
}
