//! What the kernel, and init, know of a sender. The credentials come with the message; the rest is read from /proc
//! and /run/systemd/units, and remembered for a moment, because most senders send again at once. Source:
//! systemd.journal-fields(7), "Trusted journal fields".

use std::collections::HashMap;
use std::fs;
use std::io::Read;

use crate::intake::cgroup::Membership;
use crate::intake::limit::Rate;
use crate::intake::unit_settings::Settings;
use crate::place::Place;
use crate::record::Record;

/// Microseconds for which what was read is believed.
const FRESH: u64 = 2_000_000;
/// Processes that are remembered.
const PROCESSES: usize = 512;
/// A command line is cut off here.
const CMDLINE_MAX: u64 = 4096;

/// Who sent something, by the kernel's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Process.
    pub pid: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What is known of a sender.
#[derive(Debug, Clone, Default)]
struct Known {
    read_at: u64,
    sender: Option<Sender>,
    /// The unit that init named at the start of a stream.
    named: Option<String>,
    /// The trusted fields, ready to be added.
    fields: Record,
    unit: Option<String>,
    settings: Settings,
}

/// What decides whether a message is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The unit, or the cgroup, that has to answer for it.
    pub unit: Option<String>,
    /// The unit's own bound.
    pub rate: Option<Rate>,
    /// The last priority that the unit's messages may have.
    pub level_max: Option<u8>,
}

/// The senders seen lately.
pub struct Processes {
    place: Place,
    known: HashMap<u32, Known>,
}

impl Processes {
    /// Knows nobody yet; what init says of units is below `place`.
    #[must_use]
    pub fn new(place: &Place) -> Processes {
        Processes { place: place.clone(), known: HashMap::new() }
    }

    /// Adds the trusted fields of a sender to a record and says whose message it is. `named` is the unit that init
    /// gave at the start of a stream: it counts when the process is gone before we could look.
    pub fn describe(&mut self, sender: Sender, named: Option<&str>, now: u64, record: &mut Record) -> Source {
        if self.known.len() >= PROCESSES && !self.known.contains_key(&sender.pid) {
            self.known.clear();
        }
        let known = self.known.entry(sender.pid).or_default();
        let fresh = known.read_at != 0 && now.saturating_sub(known.read_at) <= FRESH;
        if !fresh || known.sender != Some(sender) || known.named.as_deref() != named {
            *known = read(&self.place, sender, named, now);
        }
        record.extend(&known.fields);
        Source { unit: known.unit.clone(), rate: known.settings.rate, level_max: known.settings.level_max }
    }

    /// Adds what is known of the process that a trusted sender speaks of, as `OBJECT_…`.
    pub fn describe_object(&self, pid: u32, record: &mut Record) {
        let facts = Facts::read(pid);
        if let Some((uid, gid)) = facts.ids {
            record.push("OBJECT_UID", uid.to_string());
            record.push("OBJECT_GID", gid.to_string());
        }
        facts.push("OBJECT_", record);
    }
}

fn read(place: &Place, sender: Sender, named: Option<&str>, now: u64) -> Known {
    let facts = Facts::read(sender.pid);
    let mut fields = Record::default();
    fields.push("_PID", sender.pid.to_string());
    fields.push("_UID", sender.uid.to_string());
    fields.push("_GID", sender.gid.to_string());
    facts.push("_", &mut fields);
    let own = facts.membership.as_ref().and_then(|membership| membership.unit.clone());
    let unit = own.clone().or_else(|| named.map(str::to_owned));
    if let (None, Some(unit)) = (&own, &unit) {
        fields.push("_SYSTEMD_UNIT", unit);
    }
    let settings = unit.as_deref().map(|unit| Settings::read(place, unit)).unwrap_or_default();
    if let Some(id) = &settings.invocation_id {
        fields.push("_SYSTEMD_INVOCATION_ID", id);
    }
    fields.extend(&settings.extra);
    let cgroup = facts.membership.map(|membership| membership.path);
    Known {
        read_at: now.max(1),
        sender: Some(sender),
        named: named.map(str::to_owned),
        fields,
        unit: unit.or(cgroup),
        settings,
    }
}

/// What /proc says of a process.
#[derive(Debug, Default)]
struct Facts {
    comm: Option<String>,
    exe: Option<String>,
    cmdline: Option<Vec<u8>>,
    cap_effective: Option<String>,
    ids: Option<(u32, u32)>,
    login: Option<u32>,
    session: Option<u32>,
    membership: Option<Membership>,
}

impl Facts {
    fn read(pid: u32) -> Facts {
        let file = |name: &str| {
            let mut bytes = Vec::new();
            let file = fs::File::open(format!("/proc/{pid}/{name}")).ok()?;
            file.take(CMDLINE_MAX).read_to_end(&mut bytes).ok()?;
            Some(bytes).filter(|bytes| !bytes.is_empty())
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let status = file("status").map(text).unwrap_or_default();
        let row = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let first = |name: &str| row(name)?.split_whitespace().next()?.parse().ok();
        // -1 is what a process has that nobody logged in for.
        let audit = |name: &str| file(name).map(text)?.parse::<u32>().ok().filter(|id| *id != u32::MAX);
        Facts {
            comm: file("comm").map(text),
            exe: fs::read_link(format!("/proc/{pid}/exe"))
                .ok()
                .map(|path| path.to_string_lossy().into_owned()),
            cmdline: file("cmdline").map(|bytes| {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                bytes.into_iter().take(end).map(|byte| if byte == 0 { b' ' } else { byte }).collect()
            }),
            cap_effective: row("CapEff").map(|digits| match digits.trim_start_matches('0') {
                "" => "0".to_owned(),
                digits => digits.to_owned(),
            }),
            ids: first("Uid").zip(first("Gid")),
            login: audit("loginuid"),
            session: audit("sessionid"),
            membership: file("cgroup").map(text).and_then(|text| Membership::of(&text)),
        }
    }

    /// Adds them, with `_` or `OBJECT_` in front.
    fn push(&self, prefix: &str, record: &mut Record) {
        let mut push = |name: &str, value: &[u8]| record.push(&format!("{prefix}{name}"), value);
        for (name, value) in
            [("COMM", &self.comm), ("EXE", &self.exe), ("CAP_EFFECTIVE", &self.cap_effective)]
        {
            if let Some(value) = value {
                push(name, value.as_bytes());
            }
        }
        if let Some(cmdline) = &self.cmdline {
            push("CMDLINE", cmdline);
        }
        for (name, id) in [("AUDIT_SESSION", self.session), ("AUDIT_LOGINUID", self.login)] {
            if let Some(id) = id {
                push(name, id.to_string().as_bytes());
            }
        }
        let Some(membership) = &self.membership else { return };
        push("SYSTEMD_CGROUP", membership.path.as_bytes());
        for (name, value) in [
            ("SYSTEMD_UNIT", &membership.unit),
            ("SYSTEMD_SLICE", &membership.slice),
            ("SYSTEMD_USER_UNIT", &membership.user_unit),
            ("SYSTEMD_USER_SLICE", &membership.user_slice),
            ("SYSTEMD_SESSION", &membership.session),
            ("SYSTEMD_OWNER_UID", &membership.owner_uid),
        ] {
            if let Some(value) = value {
                push(name, value.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ourselves() {
        let pid = std::process::id();
        let mut record = Record::default();
        let root = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(&Place::new(root.path()));
        let source = processes.describe(Sender { pid, uid: 1, gid: 2 }, Some("a.service"), 1, &mut record);
        assert_eq!(record.get("_PID"), Some(pid.to_string().as_bytes()));
        assert_eq!(record.get("_UID"), Some(&b"1"[..]));
        assert!(record.get("_EXE").is_some_and(|exe| exe.starts_with(b"/")));
        assert!(record.get("_CMDLINE").is_some() && record.get("_CAP_EFFECTIVE").is_some());
        assert!(source.unit.is_some());
        let mut other = Record::default();
        processes.describe(Sender { pid, uid: 3, gid: 2 }, None, 2, &mut other);
        assert_eq!(other.get("_UID"), Some(&b"3"[..]), "a process may change its user");
        let mut object = Record::default();
        processes.describe_object(pid, &mut object);
        assert!(object.get("OBJECT_COMM").is_some() && object.get("OBJECT_UID").is_some());
    }
}
