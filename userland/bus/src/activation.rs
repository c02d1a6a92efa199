//! Names that a service is started for: `/usr/share/dbus-1/system-services/NAME.service`.
//!
//! The bus starts nothing itself: it asks PID 1 for the unit in `SystemdService=` and keeps the messages until the
//! name has an owner, PID 1 says that it cannot, or the time is over. Source: the D-Bus specification, "Message Bus
//! Starting Services", and systemd's interface `org.freedesktop.systemd1.Activator`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use wire::Message;

/// Where packages, then the administrator, put their files.
pub const FOLDERS: [&str; 2] = ["/usr/share/dbus-1/system-services", "/etc/dbus-1/system-services"];
/// How long a service may take until it has its name.
const PATIENCE: Duration = Duration::from_secs(90);
/// The most messages that wait for one name.
const MOST_WAITING: usize = 64;
/// The most names that are waited for.
const MOST_NAMES: usize = 64;

/// What waits for a name.
#[derive(Debug)]
pub struct Pending {
    /// The unit that was asked for.
    pub unit: String,
    /// The messages, in order, with their senders set.
    pub messages: Vec<Message>,
    until: Instant,
}

/// What is to be done about a message for a name without an owner.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    /// Nobody can be started for it.
    Unknown,
    /// Ask for this unit; the message waits.
    Ask(String),
    /// It was asked for already; the message waits.
    Waits,
    /// Too many wait.
    Full,
}

/// The services that can be started.
#[derive(Debug, Default)]
pub struct Activation {
    units: BTreeMap<String, String>,
    pending: BTreeMap<String, Pending>,
}

impl Activation {
    /// The services of other files, with what waits already.
    pub fn replace_services(&mut self, fresh: Activation) {
        self.units = fresh.units;
    }

    /// Reads the service files of these folders.
    pub fn read(folders: &[impl AsRef<Path>]) -> Activation {
        let entries =
            folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
        let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        let units = texts.filter_map(|text| {
            let value = |key: &str| {
                let line = text
                    .lines()
                    .find_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='));
                line.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
            };
            Some((value("Name")?, value("SystemdService")?))
        });
        Activation { units: units.collect(), pending: BTreeMap::new() }
    }

    /// Every name that a service can be started for.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.units.keys()
    }

    /// The unit that is started for a name.
    pub fn unit(&self, name: &str) -> Option<String> {
        self.units.get(name).cloned()
    }

    /// A message for a name without an owner.
    pub fn wait(&mut self, name: &str, message: Message) -> Start {
        let Some(unit) = self.units.get(name) else { return Start::Unknown };
        if let Some(pending) = self.pending.get_mut(name) {
            if pending.messages.len() >= MOST_WAITING {
                return Start::Full;
            }
            pending.messages.push(message);
            return Start::Waits;
        }
        if self.pending.len() >= MOST_NAMES {
            return Start::Full;
        }
        let pending =
            Pending { unit: unit.clone(), messages: vec![message], until: Instant::now() + PATIENCE };
        self.pending.insert(name.to_owned(), pending);
        Start::Ask(unit.clone())
    }

    /// The name has an owner: what waited for it.
    pub fn arrived(&mut self, name: &str) -> Vec<Message> {
        self.pending.remove(name).map(|pending| pending.messages).unwrap_or_default()
    }

    /// The unit cannot be started: what waited for it.
    pub fn failed(&mut self, unit: &str) -> Vec<Message> {
        let names: Vec<String> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.unit == unit)
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().flat_map(|name| self.arrived(name)).collect()
    }

    /// Those whose time is over.
    pub fn expired(&mut self) -> Vec<Message> {
        let now = Instant::now();
        let names: Vec<String> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.until <= now)
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().flat_map(|name| self.arrived(name)).collect()
    }

    /// How long until the first is.
    pub fn deadline(&self) -> Option<Duration> {
        let first = self.pending.values().map(|pending| pending.until).min()?;
        Some(first.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_wait_for_their_service() {
        let folder = tempfile::tempdir().unwrap();
        let text = "[D-BUS Service]\nName=a.b\nExec=/bin/false\nUser=root\nSystemdService=ab.service\n";
        std::fs::write(folder.path().join("a.b.service"), text).unwrap();
        std::fs::write(folder.path().join("c.d.service"), "[D-BUS Service]\nName=c.d\nExec=/bin/true\n")
            .unwrap();
        let mut all = Activation::read(&[folder.path()]);
        assert_eq!(all.names().collect::<Vec<_>>(), ["a.b"], "without a unit there is nothing to start");
        let call = || Message::call("/", "a.b", "C");
        assert_eq!(all.wait("c.d", call()), Start::Unknown);
        assert_eq!(all.wait("a.b", call()), Start::Ask("ab.service".into()));
        assert_eq!(all.wait("a.b", call()), Start::Waits);
        assert!(all.deadline().is_some() && all.expired().is_empty());
        for _ in 0..MOST_WAITING - 2 {
            all.wait("a.b", call());
        }
        assert_eq!(all.wait("a.b", call()), Start::Full);
        assert_eq!(all.failed("other.service").len(), 0);
        assert_eq!(all.failed("ab.service").len(), MOST_WAITING);
        assert_eq!(all.arrived("a.b").len(), 0);
    }
}
