//! Everything that is open, written down for PID 1 to take over when it executes itself anew. Queues stay where they are:
//! in the kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unit::{ConnectionId, Unit, UnitName};

use super::{Named, Opened, Sockets};
use crate::handover::{Inherited, Kept};

/// What is open.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    open: BTreeMap<UnitName, SavedUnit>,
    connections: BTreeMap<ConnectionId, Kept>,
    store: BTreeMap<UnitName, Vec<(String, Kept)>>,
    last: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedUnit {
    descriptors: Vec<Kept>,
    watched: bool,
}

impl Sockets {
    /// Writes it down.
    #[must_use]
    pub fn save(&self) -> Saved {
        let unit = |opened: &Opened| SavedUnit {
            descriptors: opened.descriptors.iter().map(Kept::of).collect(),
            watched: opened.watched,
        };
        let stored = |named: &Named| (named.name.clone(), Kept::of(&named.fd));
        Saved {
            open: self.open.iter().map(|(name, opened)| (name.clone(), unit(opened))).collect(),
            connections: self.connections.iter().map(|(id, fd)| (*id, Kept::of(fd))).collect(),
            store: self
                .store
                .iter()
                .map(|(name, all)| (name.clone(), all.iter().map(stored).collect()))
                .collect(),
            last: self.last,
        }
    }

    /// Takes it over. Returns the units whose descriptors have not come along.
    pub fn restore(
        &mut self,
        saved: Saved,
        inherited: &mut Inherited,
        definition: impl Fn(&UnitName) -> Option<Arc<Unit>>,
    ) -> Vec<UnitName> {
        let mut lost = Vec::new();
        self.last = saved.last;
        for (name, SavedUnit { descriptors, watched }) in saved.open {
            let taken: Option<Vec<_>> = descriptors.iter().map(|kept| inherited.take(kept)).collect();
            let (Some(descriptors), Some(unit)) = (taken, definition(&name)) else {
                lost.push(name);
                continue;
            };
            self.last += 1;
            self.open.insert(name.clone(), Opened { unit, descriptors, number: self.last, watched: false });
            self.watch(&name, watched);
        }
        let connections = saved.connections.into_iter();
        self.connections = connections.filter_map(|(id, kept)| Some((id, inherited.take(&kept)?))).collect();
        for (name, stored) in saved.store {
            let named = stored
                .into_iter()
                .filter_map(|(name, kept)| Some(Named { fd: inherited.take(&kept)?, name }));
            self.store.insert(name, named.collect());
        }
        lost
    }
}
