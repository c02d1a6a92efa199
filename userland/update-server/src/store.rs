//! Where a server keeps what it knows: records of JSON in sled, written as they change, and payloads as files beside it.
//!
//! An answer to a machine may be forgotten by a crash: the machine asks again. What an operator laid down is on the
//! disk before they are answered.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fleet::{Fleet, Told};

/// Bytes that sled keeps in memory.
const CACHE: u64 = 8 << 20;
/// So many of the newest events are kept.
const EVENTS: u64 = 100_000;
/// In one answer, at most.
pub const EVENTS_AT_ONCE: usize = 1000;

/// Why nothing is kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("{path}: {source}")]
    Sled {
        /// Where it is.
        path: PathBuf,
        /// What it says.
        source: sled::Error,
    },
    /// A folder.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A record that cannot be read.
    #[error("{path}: the record {name}: {source}")]
    Record {
        /// The database.
        path: PathBuf,
        /// Which.
        name: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The four kinds of records.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Packages.
    Packages,
    /// Channels.
    Channels,
    /// Groups.
    Groups,
    /// Machines.
    Machines,
}

impl Kind {
    /// Its name in the API and in the database.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Packages => "packages",
            Kind::Channels => "channels",
            Kind::Groups => "groups",
            Kind::Machines => "machines",
        }
    }
}

/// The database and the folder of payloads.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    db: sled::Db,
}

impl Store {
    /// Opens or makes it.
    ///
    /// # Errors
    /// The disk is full or broken, or another server has it.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        let payloads = folder.join("payloads");
        fs::create_dir_all(&payloads).map_err(|source| StoreError::Io { path: payloads.clone(), source })?;
        let path = folder.join("state");
        let db = sled::Config::new().path(&path).cache_capacity(CACHE).open();
        let db = db.map_err(|source| StoreError::Sled { path, source })?;
        Ok(Store { folder: folder.to_owned(), db })
    }

    /// Where the payload of this name is.
    #[must_use]
    pub fn payload(&self, name: &str) -> PathBuf {
        self.folder.join("payloads").join(name)
    }

    fn failed(&self) -> impl Fn(sled::Error) -> StoreError + use<> {
        let path = self.folder.join("state");
        move |source| StoreError::Sled { path: path.clone(), source }
    }

    /// Everything.
    ///
    /// # Errors
    /// A record cannot be read: nothing is passed over that an operator laid down.
    pub fn load(&self) -> Result<Fleet, StoreError> {
        Ok(Fleet {
            packages: self.all(Kind::Packages)?,
            channels: self.all(Kind::Channels)?,
            groups: self.all(Kind::Groups)?,
            machines: self.all(Kind::Machines)?,
        })
    }

    fn all<T: DeserializeOwned>(&self, kind: Kind) -> Result<BTreeMap<String, T>, StoreError> {
        let tree = self.db.open_tree(kind.name()).map_err(self.failed())?;
        let mut all = BTreeMap::new();
        for record in &tree {
            let (name, text) = record.map_err(self.failed())?;
            let name = String::from_utf8_lossy(&name).into_owned();
            let value = serde_json::from_slice(&text).map_err(|source| StoreError::Record {
                path: self.folder.join("state"),
                name: format!("{}/{name}", kind.name()),
                source,
            })?;
            all.insert(name, value);
        }
        Ok(all)
    }

    /// Writes a record, or removes it.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn put(&self, kind: Kind, name: &str, value: Option<&impl Serialize>) -> Result<(), StoreError> {
        let tree = self.db.open_tree(kind.name()).map_err(self.failed())?;
        match value {
            Some(value) => {
                let text = serde_json::to_vec(value).map_err(|source| StoreError::Record {
                    path: self.folder.join("state"),
                    name: format!("{}/{name}", kind.name()),
                    source,
                })?;
                tree.insert(name, text).map_err(self.failed())?;
            }
            None => {
                tree.remove(name).map_err(self.failed())?;
            }
        }
        Ok(())
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.db.flush_async().await.map(drop).map_err(self.failed())
    }

    /// Keeps an event, and forgets the oldest.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn note(&self, told: &Told) -> Result<(), StoreError> {
        let tree = self.db.open_tree("events").map_err(self.failed())?;
        let last = tree.last().map_err(self.failed())?.map_or(0, |(key, _)| number(&key));
        let text = serde_json::to_vec(told).unwrap_or_default();
        tree.insert((last + 1).to_be_bytes(), text).map_err(self.failed())?;
        if last >= EVENTS {
            tree.remove((last + 1 - EVENTS).to_be_bytes()).map_err(self.failed())?;
        }
        Ok(())
    }

    /// The events after this number, the oldest first, with their numbers.
    ///
    /// # Errors
    /// The disk is broken.
    pub fn events(&self, after: u64) -> Result<Vec<(u64, Told)>, StoreError> {
        let tree = self.db.open_tree("events").map_err(self.failed())?;
        let mut events = Vec::new();
        for record in tree.range(after.saturating_add(1).to_be_bytes()..).take(EVENTS_AT_ONCE) {
            let (key, text) = record.map_err(self.failed())?;
            if let Ok(told) = serde_json::from_slice(&text) {
                events.push((number(&key), told));
            }
        }
        Ok(events)
    }
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map(u64::from_be_bytes).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Channel, Machine};

    #[tokio::test]
    async fn what_is_kept_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let channel = Channel { app: "a".to_owned(), version: "2".to_owned(), floors: Vec::new() };
        store.put(Kind::Channels, "stable", Some(&channel)).unwrap();
        store.put(Kind::Machines, "m", Some(&Machine::default())).unwrap();
        store.put(Kind::Machines, "m", None::<&Machine>).unwrap();
        let told = Told {
            at: 1,
            machine: "m".to_owned(),
            group: "g".to_owned(),
            version: "1".to_owned(),
            event: 3,
            result: 1,
            error: None,
            reason: None,
        };
        for _ in 0..3 {
            store.note(&told).unwrap();
        }
        store.flush().await.unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        let fleet = store.load().unwrap();
        assert_eq!(fleet.channels["stable"], channel);
        assert!(fleet.machines.is_empty());
        let events = store.events(1).unwrap();
        assert_eq!(events.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(events[0].1, told);
        assert!(Store::open(folder.path()).is_err(), "one server has it");
    }
}
