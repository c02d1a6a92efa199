//! PID 1's state between two events, written and read: one line that says what it is, then JSON.
//!
//! Each part is read on its own: one that cannot be read is told of and begins anew, the others go on. What a newer
//! program has more begins with its first value; what it does not know is passed over. Only a file that is cut off or
//! damaged, which its length and checksum tell, is not read at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use unit::{Pid, SpawnToken, Unit, UnitName, World};

use super::{Inherited, Kept};
use crate::event_loop::EventLoop;
use crate::log::{self, Level};
use crate::manager::{Manager, Starting, Times, now};
use crate::{automounts, dbus, event_loop, guard, sockets};

/// The first word of a state.
const MAGIC: &str = "corten-init-state";
/// What this program writes. A version that it does not know is read all the same: the format only grows.
const VERSION: u32 = 1;

/// Why a state cannot be read at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Its first line is another.
    #[error("it does not begin as one")]
    NotOne,
    /// It is shorter or longer than it says.
    #[error("it is cut off: {have} bytes of {want}")]
    CutOff {
        /// So many are there.
        have: usize,
        /// So many there should be.
        want: usize,
    },
    /// Its checksum is another.
    #[error("its checksum is wrong")]
    Checksum,
    /// It is no JSON.
    #[error("it cannot be read: {0}")]
    Syntax(String),
}

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

/// Writes everything down.
///
/// # Errors
/// Never yet: what is written has a place in JSON.
pub fn write(manager: &Manager, events: &EventLoop) -> Result<Vec<u8>, serde_json::Error> {
    let starting = manager.starting.iter().map(|(pid, starting)| SavedStart {
        pid: *pid,
        unit: starting.unit.clone(),
        token: starting.token,
        report: Kept::of(&starting.report),
    });
    let streams = manager.streams.iter().map(|(unit, all)| (unit, all.iter().map(Kept::of).collect()));
    let body = serde_json::to_vec(&Writing {
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
    })?;
    let mut state = format!("{MAGIC} {VERSION} {} {:08x}\n", body.len(), crc32fast::hash(&body)).into_bytes();
    state.extend(body);
    Ok(state)
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
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(Damaged::NotOne)?;
        let (head, body) = (bytes.get(..end).unwrap_or_default(), bytes.get(end + 1..).unwrap_or_default());
        let head = std::str::from_utf8(head).map_err(|_| Damaged::NotOne)?;
        let words: Vec<&str> = head.split(' ').collect();
        let [MAGIC, _, length, sum, ..] = words[..] else { return Err(Damaged::NotOne) };
        let want = length.parse().map_err(|_| Damaged::NotOne)?;
        if body.len() != want {
            return Err(Damaged::CutOff { have: body.len(), want });
        }
        if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(body)) {
            return Err(Damaged::Checksum);
        }
        serde_json::from_slice(body).map(State).map_err(|error| Damaged::Syntax(error.to_string()))
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

    fn whole(body: &str) -> Vec<u8> {
        let sum = crc32fast::hash(body.as_bytes());
        format!("{MAGIC} 7 {} {sum:08x} more\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn a_newer_state_is_read_and_a_damaged_one_is_not() {
        let state = whole(r#"{"manager":{"last_request":7,"new":1},"starting":"x","later":[]}"#);
        let mut read = State::read(&state).unwrap();
        assert_eq!(read.part::<SavedManager>("manager").last_request, 7);
        assert!(read.part::<Vec<SavedStart>>("starting").is_empty(), "what cannot be read begins anew");
        assert!(read.part::<unit::Saved>("engine") == unit::Saved::default());

        for cut in 0..state.len() {
            assert!(State::read(&state[..cut]).is_err(), "{cut}");
        }
        for at in 0..state.len() {
            let mut bad = state.clone();
            bad[at] ^= 1;
            // of the head, only the version and what comes after the checksum may be another
            let head = state.iter().position(|byte| *byte == b'\n').unwrap();
            assert!(State::read(&bad).is_err() || at < head, "{at}");
        }
        assert_eq!(State::read(&whole("[]")).err().map(|e| matches!(e, Damaged::Syntax(_))), Some(true));
        assert_eq!(State::read(b"").err(), Some(Damaged::NotOne));
    }
}
