//! The engine: units, jobs, and the one way in.

use crate::{Action, Event, Host, JobStatus, UnitName, UnitStatus, Usec, World};

/// The whole state of the manager.
#[derive(Debug)]
pub struct Engine {
    host: Host,
}

impl Engine {
    /// An engine without units.
    pub fn new(host: Host) -> Engine {
        Engine { host }
    }

    /// Takes an event in and says what to do, in order. Of every `Spawn` hand in `Spawned` before anything else.
    pub fn handle(&mut self, _event: Event, _world: &World<'_>) -> Vec<Action> {
        let _ = &self.host;
        Vec::new()
    }

    /// When to send `Event::Elapsed`: monotonic; `None`: not before something else happens.
    pub fn deadline(&self) -> Option<Usec> {
        None
    }

    /// All that is known of a unit; aliases are followed. `None`: not loaded (send `Event::Load`).
    pub fn status(&self, _name: &UnitName) -> Option<UnitStatus> {
        None
    }

    /// The names of all units in memory, without aliases.
    pub fn units(&self) -> Vec<UnitName> {
        Vec::new()
    }

    /// All queued jobs.
    pub fn jobs(&self) -> Vec<JobStatus> {
        Vec::new()
    }
}
