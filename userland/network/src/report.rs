//! What the service tells of itself: the files below `/run/systemd/netif`.
//!
//! `state` is the machine's, `links/INDEX` one for each link, in the form of sd-network(3)'s files, so
//! that systemd's own tools can read them. Each is replaced in one step; a reader that watches the
//! directory never sees half of one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use netlink::link::Prefix;

/// How far a link got by itself. Ordered: more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operational {
    /// The link is down.
    Off,
    /// No cable, or nobody at its other end.
    NoCarrier,
    /// It can pass packets but has no address.
    Carrier,
    /// It only has link-local addresses.
    Degraded,
    /// It is a port of a bridge or bond.
    Enslaved,
    /// It has an address that others can reach.
    Routable,
}

/// How far the service got with a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// No `.network` file is for this link.
    Unmanaged,
    /// Something is still awaited: a carrier or a lease.
    Configuring,
    /// Everything asked for is in place.
    Configured,
    /// The kernel refused a part.
    Failed,
}

const OPERATIONAL: [(Operational, &str); 6] = [
    (Operational::Off, "off"),
    (Operational::NoCarrier, "no-carrier"),
    (Operational::Carrier, "carrier"),
    (Operational::Degraded, "degraded"),
    (Operational::Enslaved, "enslaved"),
    (Operational::Routable, "routable"),
];
const SETUP: [(Setup, &str); 4] = [
    (Setup::Unmanaged, "unmanaged"),
    (Setup::Configuring, "configuring"),
    (Setup::Configured, "configured"),
    (Setup::Failed, "failed"),
];

fn name_of<T: PartialEq>(table: &[(T, &'static str)], value: &T) -> &'static str {
    table.iter().find(|(v, _)| v == value).map_or("n/a", |(_, name)| name)
}

fn value_of<T: Copy>(table: &[(T, &str)], text: &str) -> Option<T> {
    table.iter().find(|(_, name)| *name == text).map(|(value, _)| *value)
}

impl fmt::Display for Operational {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name_of(&OPERATIONAL, self))
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(name_of(&SETUP, self))
    }
}

/// What is told of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// The kernel's index.
    pub index: u32,
    /// How far the service got.
    pub setup: Setup,
    /// How far the link got.
    pub operational: Operational,
    /// Whether the machine counts as online only with it.
    pub required: bool,
    /// The `.network` file, if one matches.
    pub file: Option<PathBuf>,
    /// Name servers in order.
    pub dns: Vec<String>,
    /// Time servers.
    pub ntp: Vec<String>,
    /// Search domains.
    pub domains: Vec<String>,
    /// Addresses seen on the link.
    pub addresses: Vec<Prefix>,
}

impl LinkReport {
    /// Whether nothing more is to be waited for on this link.
    pub fn is_settled(&self) -> bool {
        self.setup != Setup::Configuring || self.operational <= Operational::NoCarrier
    }

    /// Whether the link connects the machine.
    pub fn is_online(&self) -> bool {
        self.setup == Setup::Configured && self.operational >= Operational::Degraded
    }

    fn to_text(&self) -> String {
        let address_state = match self.operational {
            Operational::Routable => "routable",
            Operational::Degraded => "degraded",
            _ => "off",
        };
        let carrier_state = match self.operational {
            Operational::Off => "off",
            Operational::NoCarrier => "no-carrier",
            _ => "carrier",
        };
        let online = if self.is_online() { "online" } else { "offline" };
        let required = if self.required { "yes" } else { "no" };
        let mut text = format!(
            "# This is private data. Do not parse.\nADMIN_STATE={}\nOPER_STATE={}\nCARRIER_STATE={carrier_state}\n\
             ADDRESS_STATE={address_state}\nONLINE_STATE={online}\nREQUIRED_FOR_ONLINE={required}\n",
            self.setup, self.operational
        );
        let file = self.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        for (key, value) in [
            ("NETWORK_FILE", file),
            ("DNS", self.dns.join(" ")),
            ("NTP", self.ntp.join(" ")),
            ("DOMAINS", self.domains.join(" ")),
            ("ADDRESSES", addresses.join(" ")),
        ] {
            if !value.is_empty() {
                text.push_str(&format!("{key}={value}\n"));
            }
        }
        text
    }

    fn from_text(index: u32, text: &str) -> Option<LinkReport> {
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let words = |key| -> Vec<String> {
            values.get(key).copied().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
        };
        Some(LinkReport {
            index,
            setup: value_of(&SETUP, values.get("ADMIN_STATE")?)?,
            operational: value_of(&OPERATIONAL, values.get("OPER_STATE")?)?,
            required: values.get("REQUIRED_FOR_ONLINE") != Some(&"no"),
            file: values.get("NETWORK_FILE").map(PathBuf::from),
            dns: words("DNS"),
            ntp: words("NTP"),
            domains: words("DOMAINS"),
            addresses: words("ADDRESSES").iter().filter_map(|word| Prefix::parse(word)).collect(),
        })
    }
}

/// Where the files are, below a root.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directories of the machine (`/`) or of a test.
    pub fn below(root: &Path) -> Directory {
        Directory { root: root.to_owned() }
    }

    /// `/run/systemd/netif/links`.
    pub fn links(&self) -> PathBuf {
        self.root.join("run/systemd/netif/links")
    }

    /// `/run/systemd/netif/leases/INDEX`.
    pub fn lease(&self, index: u32) -> PathBuf {
        self.root.join("run/systemd/netif/leases").join(index.to_string())
    }

    /// `/run/systemd/resolve/resolv.conf`.
    pub fn resolv_conf(&self) -> PathBuf {
        self.root.join("run/systemd/resolve/resolv.conf")
    }

    /// Makes the directories.
    pub fn create(&self) -> io::Result<()> {
        for path in [self.links(), self.lease(0), self.resolv_conf()] {
            fs::create_dir_all(if path == self.links() { &path } else { path.parent().unwrap_or(&path) })?;
        }
        Ok(())
    }

    /// Writes the reports of all links and of the machine; those of links that are gone are removed.
    pub fn write(&self, links: &[LinkReport]) -> io::Result<()> {
        for report in links {
            replace(&self.links().join(report.index.to_string()), report.to_text().as_bytes())?;
        }
        for entry in fs::read_dir(self.links())?.flatten() {
            let index = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if index.is_some_and(|index| links.iter().all(|report| report.index != index)) {
                fs::remove_file(entry.path())?;
            }
        }
        let best = links.iter().filter(|l| l.setup != Setup::Unmanaged).map(|l| l.operational).max();
        let best = best.unwrap_or(Operational::Off);
        let online = if is_online(links) { "online" } else { "offline" };
        let text =
            format!("# This is private data. Do not parse.\nOPER_STATE={best}\nONLINE_STATE={online}\n");
        replace(&self.root.join("run/systemd/netif/state"), text.as_bytes())
    }

    /// The reports of all links, by index. Nothing when the service never ran.
    pub fn read(&self) -> Vec<LinkReport> {
        let Ok(entries) = fs::read_dir(self.links()) else { return Vec::new() };
        let mut reports: Vec<LinkReport> = entries
            .flatten()
            .filter_map(|entry| {
                let index = entry.file_name().to_str()?.parse().ok()?;
                LinkReport::from_text(index, &fs::read_to_string(entry.path()).ok()?)
            })
            .collect();
        reports.sort_by_key(|report| report.index);
        reports
    }
}

/// Whether the machine is online: every link it needs is settled, and at least one connects it.
/// A link without a carrier is not waited for while another connects.
pub fn is_online(links: &[LinkReport]) -> bool {
    let needed = || links.iter().filter(|l| l.required && l.setup != Setup::Unmanaged);
    needed().all(LinkReport::is_settled) && needed().any(LinkReport::is_online)
}

/// Replaces a file in one step, unless it says the same already. Everything here lives in `/run`, so
/// there is no disk to wait for.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let temporary = path.with_file_name(format!(".#{name}"));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(content)?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(index: u32, setup: Setup, operational: Operational) -> LinkReport {
        LinkReport {
            index,
            setup,
            operational,
            required: true,
            file: Some("/etc/systemd/network/a.network".into()),
            dns: vec!["192.0.2.1".into()],
            ntp: vec![],
            domains: vec!["example.org".into()],
            addresses: vec![Prefix::parse("192.0.2.9/24").unwrap()],
        }
    }

    #[test]
    fn written_and_read_back() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::below(root.path());
        directory.create().unwrap();
        let one = report(2, Setup::Configured, Operational::Routable);
        let two = report(3, Setup::Configuring, Operational::NoCarrier);
        directory.write(&[one.clone(), two.clone()]).unwrap();
        assert_eq!(directory.read(), [one, two.clone()]);
        directory.write(std::slice::from_ref(&two)).unwrap();
        assert_eq!(directory.read(), [two]);
        let state = fs::read_to_string(root.path().join("run/systemd/netif/state")).unwrap();
        assert!(state.contains("ONLINE_STATE=offline"), "{state}");
    }

    #[test]
    fn online() {
        use {Operational::*, Setup::*};
        let up = || report(2, Configured, Routable);
        assert!(is_online(&[up()]));
        assert!(is_online(&[up(), report(3, Configuring, NoCarrier)]), "an empty socket");
        assert!(is_online(&[up(), report(1, Unmanaged, Carrier)]), "the loopback");
        assert!(!is_online(&[up(), report(3, Configuring, Degraded)]), "a lease is still awaited");
        assert!(!is_online(&[report(3, Configuring, NoCarrier)]));
        assert!(!is_online(&[]));
    }
}
