//! PID 1's state between two events, written and read.
//!
//! Each part is read on its own: one that cannot be read is told of and begins anew, the others go on. What a newer
//! program has more begins with its first value; what it does not know is passed over. Only a file that is cut off or
//! damaged is not read at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unit::settings::Phase;
use unit::{Pid, SpawnToken, Unit, UnitName, World};

use super::envelope::{self, Damaged};
use super::{Inherited, Kept};
use crate::event_loop::EventLoop;
use crate::log::{self, Level};
use crate::manager::{Manager, Starting, Times, now};
use crate::{automounts, dbus, event_loop, guard, sockets};

/// The state as it is written.
#[derive(Serialize)]
struct Writing<'a, E> {
    engine: E,
    manager: SavedManager,
    starting: Vec<SavedStart>,
    sockets: sockets::Saved,
    automounts: BTreeMap<UnitName, automounts::Saved>,
    paths: Vec<UnitName>,
    guards: guard::Saved,
    streams: BTreeMap<&'a UnitName, Vec<Kept>>,
    events: event_loop::Saved,
    face: Option<dbus::Saved>,
}

/// The manager's own.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SavedManager {
    environment: BTreeMap<String, String>,
    times: Times,
    last_request: u64,
    show_status: bool,
    log_level: String,
    holders: BTreeMap<UnitName, BTreeSet<String>>,
}

/// A child on its way to its program.
#[derive(Debug, Serialize, Deserialize)]
struct SavedStart {
    pid: Pid,
    unit: UnitName,
    token: SpawnToken,
    report: Kept,
}

/// Writes everything down, into a file in memory.
///
/// # Errors
/// There is no memory for it.
pub fn write(manager: &Manager, events: &EventLoop) -> io::Result<File> {
    let starting = manager.starting.iter().map(|(pid, starting)| SavedStart {
        pid: *pid,
        unit: starting.unit.clone(),
        token: starting.token,
        report: Kept::of(&starting.report),
    });
    let streams = manager.streams.iter().map(|(unit, all)| (unit, all.iter().map(Kept::of).collect()));
    envelope::write(&Writing {
        engine: manager.engine.save(),
        manager: SavedManager {
            environment: manager.environment.clone(),
            times: manager.times,
            last_request: manager.last_request,
            show_status: manager.show_status,
            log_level: log::level().to_owned(),
            holders: manager.holders.clone(),
        },
        starting: starting.collect(),
        sockets: manager.sockets.save(),
        automounts: manager.automounts.save(),
        paths: manager.paths.watched(),
        guards: manager.tree.save(),
        streams: streams.collect(),
        events: events.save(),
        face: events.face().map(crate::face::Face::save),
    })
}

/// A state that was read, part by part.
#[derive(Debug, Default)]
pub struct State(Map<String, Value>);

impl State {
    /// Reads one.
    ///
    /// # Errors
    /// As [`Damaged`] says.
    pub fn read(bytes: &[u8]) -> Result<State, Damaged> {
        serde_json::from_slice(envelope::open(bytes)?)
            .map(State)
            .map_err(|error| Damaged::Syntax(error.to_string()))
    }

    /// Takes a part out. One that is missing or cannot be read has its first value.
    fn part<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        let Some(value) = self.0.remove(name) else { return T::default() };
        serde_json::from_value(value).unwrap_or_else(|error| {
            let text = format!("Of the state of PID 1, {name} cannot be read and begins anew: {error}");
            log::say(Level::Error, None, &text);
            T::default()
        })
    }

    /// What the event loop goes on with.
    pub fn events(&mut self) -> event_loop::Saved {
        self.part("events")
    }

    /// What the face goes on with.
    pub fn face(&mut self) -> dbus::Saved {
        self.part::<Option<dbus::Saved>>("face").unwrap_or_default()
    }

    /// Puts the rest into a new manager.
    pub fn restore(&mut self, manager: &mut Manager, inherited: &mut Inherited) {
        let saved: SavedManager = self.part("manager");
        if saved.times != Times::default() {
            manager.environment = saved.environment;
            manager.times = saved.times;
            manager.last_request = saved.last_request;
            manager.show_status = saved.show_status;
            manager.holders = saved.holders;
            manager.host.started = saved.times.userspace.1;
            manager.engine = unit::Engine::new(manager.host.clone());
            manager.share_environment();
            if saved.times.finish != (0, 0) {
                manager.enter(Phase::Regular);
            }
            log::set_level(&saved.log_level);
        }
        let engine: unit::Saved = self.part("engine");
        let (realtime, at) = now();
        let world = World { now: at, realtime, catalog: &manager.catalog, probe: &manager.probe };
        for lost in manager.engine.restore(engine, &world) {
            let text = format!("PID 1 could not take over the state of {lost}");
            log::say(Level::Error, None, &text);
        }
        self.restore_descriptors(manager, inherited);
        manager.tree.restore(self.part("guards"), inherited);
        for unit in manager.engine.units() {
            if let Some(cgroup) = manager.engine.status(&unit).and_then(|status| status.cgroup) {
                manager.tree.watch_again(&unit, &cgroup);
            }
        }
        for name in self.part::<Vec<UnitName>>("paths") {
            if let Some(unit) = definition(manager, &name) {
                let event = manager.paths.watch(&unit);
                manager.events.push_back(event);
            }
        }
    }

    fn restore_descriptors(&mut self, manager: &mut Manager, inherited: &mut Inherited) {
        let engine = &manager.engine;
        let of = |name: &UnitName| engine.status(name).map(|status| status.definition);
        let mut lost = manager.sockets.restore(self.part("sockets"), inherited, of);
        lost.extend(manager.automounts.restore(self.part("automounts"), inherited));
        for unit in lost {
            let text = format!("{unit}: what it listens at has not come along, restart it.");
            log::say(Level::Error, Some(&unit), &text);
        }
        for (unit, kept) in self.part::<BTreeMap<UnitName, Vec<Kept>>>("streams") {
            let taken = kept.iter().filter_map(|kept| inherited.take(kept)).collect();
            manager.streams.insert(unit, taken);
        }
        for SavedStart { pid, unit, token, report } in self.part::<Vec<SavedStart>>("starting") {
            if let Some(report) = inherited.take(&report) {
                manager.expect(pid, Starting { unit, token, report: report.into() });
            }
        }
    }
}

fn definition(manager: &Manager, name: &UnitName) -> Option<Arc<Unit>> {
    manager.engine.status(name).map(|status| status.definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_state_is_read() {
        let state = envelope::whole(r#"{"manager":{"last_request":7,"new":1},"starting":"x","later":[]}"#);
        let mut read = State::read(&state).unwrap();
        assert_eq!(read.part::<SavedManager>("manager").last_request, 7);
        assert!(read.part::<Vec<SavedStart>>("starting").is_empty(), "what cannot be read begins anew");
        assert!(read.part::<unit::Saved>("engine") == unit::Saved::default());
        assert!(matches!(State::read(&envelope::whole("[]")), Err(Damaged::Syntax(_))));
    }
}
