//! What the kernel knows of a sender. The credentials come with the message; the rest is read from /proc, and
//! remembered for a moment, because most senders send again at once.

use std::collections::HashMap;
use std::fs;
use std::io::Read;

use crate::record::Record;

/// Microseconds for which what was read is believed.
const FRESH: u64 = 2_000_000;
/// Processes that are remembered.
const PROCESSES: usize = 64;
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

#[derive(Debug, Clone, Default)]
struct Known {
    read_at: u64,
    comm: Option<String>,
    exe: Option<String>,
    cmdline: Option<Vec<u8>>,
    cgroup: Option<String>,
}

/// The senders seen lately.
#[derive(Default)]
pub struct Processes(HashMap<u32, Known>);

impl Processes {
    /// Adds the trusted fields of a sender to a record and returns its unit. `unit` is the one that init gave at
    /// the start of a stream: it counts when the process is gone before we could look.
    pub fn describe(
        &mut self,
        sender: Sender,
        unit: Option<&str>,
        now: u64,
        record: &mut Record,
    ) -> Option<String> {
        record.push("_PID", sender.pid.to_string());
        record.push("_UID", sender.uid.to_string());
        record.push("_GID", sender.gid.to_string());
        let known = self.look(sender.pid, now);
        for (name, value) in [("_COMM", &known.comm), ("_EXE", &known.exe)] {
            if let Some(value) = value {
                record.push(name, value);
            }
        }
        if let Some(cmdline) = &known.cmdline {
            record.push("_CMDLINE", cmdline);
        }
        let (mut found, mut slice) = (None, None);
        if let Some(cgroup) = &known.cgroup {
            record.push("_SYSTEMD_CGROUP", cgroup);
            (found, slice) = (unit_of(cgroup), slice_of(cgroup));
        }
        let found = found.or(unit);
        if let Some(unit) = found {
            record.push("_SYSTEMD_UNIT", unit);
        }
        if let Some(slice) = slice {
            record.push("_SYSTEMD_SLICE", slice);
        }
        found.map(str::to_owned)
    }

    fn look(&mut self, pid: u32, now: u64) -> &Known {
        if self.0.len() >= PROCESSES && !self.0.contains_key(&pid) {
            self.0.clear();
        }
        let known = self.0.entry(pid).or_default();
        if known.read_at == 0 || now.saturating_sub(known.read_at) > FRESH {
            *known = read(pid, now);
        }
        known
    }
}

fn read(pid: u32, now: u64) -> Known {
    let file = |name: &str| {
        let mut bytes = Vec::new();
        fs::File::open(format!("/proc/{pid}/{name}")).ok()?.take(CMDLINE_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes).filter(|bytes| !bytes.is_empty())
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
    Known {
        read_at: now.max(1),
        comm: file("comm").map(text),
        exe: fs::read_link(format!("/proc/{pid}/exe")).ok().map(|path| path.to_string_lossy().into_owned()),
        cmdline: file("cmdline").map(|bytes| {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            bytes.into_iter().take(end).map(|byte| if byte == 0 { b' ' } else { byte }).collect()
        }),
        cgroup: file("cgroup").map(text).and_then(|text| cgroup_of(&text)),
    }
}

/// The path in the unified hierarchy: the line `0::/…`.
fn cgroup_of(text: &str) -> Option<String> {
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    (path != "/").then(|| path.to_owned())
}

/// The unit that a cgroup belongs to: its first component below the slices.
fn unit_of(cgroup: &str) -> Option<&str> {
    let name = cgroup.split('/').find(|name| !name.is_empty() && !name.ends_with(".slice"))?;
    let kind = name.rsplit_once('.')?.1;
    ["service", "scope", "socket", "mount", "swap"].contains(&kind).then_some(name)
}

fn slice_of(cgroup: &str) -> Option<&str> {
    cgroup.split('/').filter(|name| !name.is_empty()).take_while(|name| name.ends_with(".slice")).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_cgroups() {
        let cgroup =
            cgroup_of("1:name=systemd:/x\n0::/system.slice/a.slice/hello1.service/sub.scope\n").unwrap();
        assert_eq!(unit_of(&cgroup), Some("hello1.service"));
        assert_eq!(slice_of(&cgroup), Some("a.slice"));
        assert_eq!(unit_of("/init.scope"), Some("init.scope"));
        assert_eq!(unit_of("/docker/0123"), None);
        assert_eq!(cgroup_of("0::/"), None);
    }

    #[test]
    fn ourselves() {
        let pid = std::process::id();
        let mut record = Record::default();
        let unit =
            Processes::default().describe(Sender { pid, uid: 1, gid: 2 }, Some("a.service"), 1, &mut record);
        assert_eq!(record.get("_PID"), Some(pid.to_string().as_bytes()));
        assert_eq!(record.get("_UID"), Some(&b"1"[..]));
        assert!(record.get("_EXE").is_some_and(|exe| exe.starts_with(b"/")));
        assert!(record.get("_CMDLINE").is_some());
        assert!(unit.is_some());
    }
}
