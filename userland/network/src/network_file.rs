//! `.network` files: which links they match and what they ask for. See systemd.network(5).
//!
//! The keys are the first slice of that page. A key that is not known, or whose value cannot be read,
//! is left out with a warning, and the rest of the file holds.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::dhcp::lease::domain;
use crate::glob;
use netlink::link::{Link, Prefix};

/// Where files are looked for; the first directory that has a name wins.
pub const DIRECTORIES: [&str; 3] = ["etc/systemd/network", "run/systemd/network", "usr/lib/systemd/network"];

/// Larger files are no network files.
const LARGEST: u64 = 1 << 20;

/// The metric of routes that do not name one, as in systemd.
pub const DEFAULT_METRIC: u32 = 1024;

/// A `.network` file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkFile {
    /// Where it was read from.
    pub path: PathBuf,
    /// `[Match]`; all that are given must match.
    pub matches: Match,
    /// `[Link] Unmanaged=yes`: hands off.
    pub unmanaged: bool,
    /// `[Link] MTUBytes=`.
    pub mtu: Option<u32>,
    /// `[Link] RequiredForOnline=`: whether wait-online waits for the link.
    pub required_for_online: bool,
    /// `[Network] DHCP=` asks for IPv4.
    pub dhcp: bool,
    /// Addresses.
    pub addresses: Vec<Prefix>,
    /// Routes, those of `[Network] Gateway=` included.
    pub routes: Vec<StaticRoute>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Search domains.
    pub domains: Vec<String>,
    /// `[DHCPv4]`.
    pub from_lease: FromLease,
}

/// What is taken from a lease beside the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromLease {
    /// `UseDNS=`.
    pub dns: bool,
    /// `UseDomains=`.
    pub domains: bool,
    /// `UseRoutes=`.
    pub routes: bool,
    /// `UseMTU=`.
    pub mtu: bool,
    /// `UseHostname=`.
    pub hostname: bool,
    /// `SendHostname=`.
    pub send_hostname: bool,
    /// `RouteMetric=`.
    pub metric: u32,
}

impl Default for FromLease {
    fn default() -> FromLease {
        // Domains and the MTU are on here, unlike in systemd: clouds announce both for good reason.
        FromLease {
            dns: true,
            domains: true,
            routes: true,
            mtu: true,
            hostname: true,
            send_hostname: true,
            metric: DEFAULT_METRIC,
        }
    }
}

/// A route that a file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaticRoute {
    /// Where to.
    pub to: Prefix,
    /// By which router; none: it is on the link.
    pub gateway: Option<IpAddr>,
    /// The metric; 0: the kernel's own.
    pub metric: u32,
}

/// The `[Match]` section. Each list matches if one of its patterns does; `!` at its head turns it round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// `Name=`: patterns.
    pub names: Vec<String>,
    /// `MACAddress=`.
    pub macs: Vec<Vec<u8>>,
    /// `Type=`: patterns.
    pub types: Vec<String>,
    /// `Kind=`: patterns.
    pub kinds: Vec<String>,
}

impl Match {
    /// Whether the link matches. A section that says nothing matches nothing.
    pub fn covers(&self, link: &Link) -> bool {
        // A link without the property matches no pattern: `Kind=!*` means physical links.
        let any = |patterns: &[String], text: Option<&str>| -> bool {
            let (negated, bare) = match patterns.first().and_then(|first| first.strip_prefix('!')) {
                Some(first) => (true, Some(first)),
                None => (false, None),
            };
            let rest = patterns.iter().skip(usize::from(negated)).map(String::as_str);
            let mut all = bare.into_iter().chain(rest);
            patterns.is_empty() || all.any(|p| text.is_some_and(|text| glob::matches(p, text))) != negated
        };
        let says_something = !(self.names.is_empty()
            && self.macs.is_empty()
            && self.types.is_empty()
            && self.kinds.is_empty());
        says_something
            && any(&self.names, Some(&link.name))
            && any(&self.types, Some(link.type_name()))
            && any(&self.kinds, link.kind.as_deref())
            && (self.macs.is_empty() || self.macs.contains(&link.mac))
    }
}

impl NetworkFile {
    /// Reads a file's text. The warnings name file and line.
    pub fn parse(path: &Path, text: &str) -> (NetworkFile, Vec<String>) {
        let mut file =
            NetworkFile { path: path.to_owned(), required_for_online: true, ..NetworkFile::default() };
        let mut warnings = Vec::new();
        let mut section = String::new();
        let mut route: Option<RouteSection> = None;
        let mut gateways = Vec::new();
        for (number, line) in logical_lines(text) {
            let mut warn = |what: String| warnings.push(format!("{}:{number}: {what}", path.display()));
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                file.routes.extend(route.take().and_then(RouteSection::finish));
                section = name.to_owned();
                match name {
                    "Match" | "Link" | "Network" | "Address" | "DHCPv4" | "DHCP" => {}
                    "Route" => route = Some(RouteSection::default()),
                    _ if name.starts_with("X-") => {}
                    _ => warn(format!("section [{name}] is not known")),
                }
                continue;
            }
            let Some((key, value)) = line.split_once('=').map(|(k, v)| (k.trim(), v.trim())) else {
                warn("no '=' in the line".into());
                continue;
            };
            let understood = match &mut route {
                Some(route) => route.set(key, value),
                None => file.set(&section, key, value, &mut gateways),
            };
            match understood {
                _ if section.starts_with("X-") || section.is_empty() && key.starts_with("X-") => {}
                Some(true) => {}
                Some(false) => warn(format!("{key}={value}: the value cannot be read")),
                None => warn(format!("{key}= is not known in [{section}]")),
            }
        }
        file.routes.extend(route.take().and_then(RouteSection::finish));
        file.routes.extend(gateways.into_iter().map(|gateway| StaticRoute {
            to: everywhere(gateway),
            gateway: Some(gateway),
            metric: 0,
        }));
        (file, warnings)
    }

    /// Takes an assignment outside of `[Route]`: understood, not readable, or not known.
    fn set(&mut self, section: &str, key: &str, value: &str, gateways: &mut Vec<IpAddr>) -> Option<bool> {
        let lease = &mut self.from_lease;
        let words = || value.split_whitespace().map(str::to_owned);
        Some(match (section, key) {
            ("Match", "Name") => list(&mut self.matches.names, value, || words().map(Some).collect()),
            ("Match", "Type") => list(&mut self.matches.types, value, || words().map(Some).collect()),
            ("Match", "Kind") => list(&mut self.matches.kinds, value, || words().map(Some).collect()),
            ("Match", "MACAddress") => {
                list(&mut self.matches.macs, value, || words().map(|w| parse_mac(&w)).collect())
            }
            ("Link", "Unmanaged") => store(&mut self.unmanaged, boolean(value)),
            ("Link", "MTUBytes") => store(&mut self.mtu, value.parse().ok().map(Some)),
            ("Link", "RequiredForOnline") => {
                // It may also name a state; any state means yes here.
                store(&mut self.required_for_online, boolean(value).or(Some(true)))
            }
            ("Network", "DHCP") => match value {
                "yes" | "true" | "1" | "on" | "ipv4" | "v4" | "both" => store(&mut self.dhcp, Some(true)),
                "no" | "false" | "0" | "off" | "none" | "ipv6" | "v6" => store(&mut self.dhcp, Some(false)),
                _ => false,
            },
            ("Network", "Address") => list(&mut self.addresses, value, || vec![Prefix::parse(value)]),
            ("Address", "Address") => list(&mut self.addresses, value, || vec![Prefix::parse(value)]),
            ("Network", "Gateway") => list(gateways, value, || vec![value.parse().ok()]),
            ("Network", "DNS") => list(&mut self.dns, value, || words().map(|w| w.parse().ok()).collect()),
            ("Network", "Domains") => list(&mut self.domains, value, || {
                words().map(|w| domain(w.strip_prefix('~').unwrap_or(&w))).collect()
            }),
            // Honoured as the kernel does by itself.
            ("Network", "IPv6AcceptRA" | "LinkLocalAddressing" | "Description") => true,
            ("DHCPv4" | "DHCP", "UseDNS") => store(&mut lease.dns, boolean(value)),
            ("DHCPv4" | "DHCP", "UseDomains") => store(&mut lease.domains, boolean(value)),
            ("DHCPv4" | "DHCP", "UseRoutes") => store(&mut lease.routes, boolean(value)),
            ("DHCPv4" | "DHCP", "UseMTU") => store(&mut lease.mtu, boolean(value)),
            ("DHCPv4" | "DHCP", "UseHostname") => store(&mut lease.hostname, boolean(value)),
            ("DHCPv4" | "DHCP", "SendHostname") => store(&mut lease.send_hostname, boolean(value)),
            ("DHCPv4" | "DHCP", "RouteMetric") => store(&mut lease.metric, value.parse().ok()),
            ("DHCPv4" | "DHCP", "UseNTP" | "ClientIdentifier") => true,
            _ => return None,
        })
    }

    /// Reads every file below `root`, in the order in which they are tried.
    pub fn load_all(root: &Path) -> (Vec<NetworkFile>, Vec<String>) {
        let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for directory in DIRECTORIES {
            let Ok(entries) = fs::read_dir(root.join(directory)) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                if let (Some(name), true) =
                    (path.file_name(), path.extension().is_some_and(|e| e == "network"))
                {
                    found.entry(name.to_owned()).or_insert_with(|| path.clone());
                }
            }
        }
        let (mut files, mut warnings) = (Vec::new(), Vec::new());
        for path in found.into_values() {
            match fs::metadata(&path) {
                // A link to /dev/null masks the name.
                Ok(meta) if !meta.is_file() => continue,
                Ok(meta) if meta.len() > LARGEST => {
                    warnings.push(format!("{}: larger than 1 MiB, left out", path.display()));
                    continue;
                }
                _ => {}
            }
            match fs::read(&path) {
                Ok(bytes) => {
                    let (file, more) = NetworkFile::parse(&path, &String::from_utf8_lossy(&bytes));
                    files.push(file);
                    warnings.extend(more);
                }
                Err(e) => warnings.push(format!("{}: {e}", path.display())),
            }
        }
        (files, warnings)
    }
}

#[derive(Default)]
struct RouteSection {
    to: Option<Prefix>,
    gateway: Option<IpAddr>,
    metric: u32,
}

impl RouteSection {
    fn set(&mut self, key: &str, value: &str) -> Option<bool> {
        Some(match key {
            "Destination" => store(&mut self.to, Prefix::parse(value).map(Some)),
            "Gateway" => store(&mut self.gateway, value.parse().ok().map(Some)),
            "Metric" => store(&mut self.metric, value.parse().ok()),
            _ => return None,
        })
    }

    fn finish(self) -> Option<StaticRoute> {
        let to = self.to.or_else(|| self.gateway.map(everywhere))?;
        Some(StaticRoute { to, gateway: self.gateway, metric: self.metric })
    }
}

fn everywhere(like: IpAddr) -> Prefix {
    let zero = if like.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    Prefix { address: zero, length: 0 }
}

fn store<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

/// Extends a list; an empty value empties it. Readable items are taken even beside others that are not.
fn list<T>(place: &mut Vec<T>, value: &str, items: impl FnOnce() -> Vec<Option<T>>) -> bool {
    if value.is_empty() {
        place.clear();
        return true;
    }
    let items = items();
    let all = items.iter().all(Option::is_some);
    place.extend(items.into_iter().flatten());
    all
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "y" | "true" | "t" | "on" | "1" => Some(true),
        "no" | "n" | "false" | "f" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// `52:54:00:12:34:56`, also with dashes.
pub fn parse_mac(text: &str) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> =
        text.split([':', '-']).map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.filter(|bytes| bytes.len() == 6)
}

/// Lines with their numbers: comments and empty ones left out, those that end in a backslash joined.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let mut whole = String::new();
        let mut first = None;
        for (index, line) in lines.by_ref() {
            let line = line.trim();
            if line.starts_with(['#', ';']) || (line.is_empty() && whole.is_empty()) {
                continue;
            }
            let number = *first.get_or_insert(index + 1);
            match line.strip_suffix('\\') {
                Some(part) => {
                    whole.push_str(part);
                    whole.push(' ');
                }
                None => {
                    whole.push_str(line);
                    return Some((number, whole));
                }
            }
        }
        first.map(|number| (number, whole))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::link::{LinkFlags, LinkLayerType};
    use proptest::prelude::*;

    fn ethernet(name: &str) -> Link {
        Link {
            index: 2,
            name: name.into(),
            mac: vec![0x52, 0x54, 0, 0x12, 0x34, 0x56],
            mtu: 1500,
            flags: LinkFlags::Up,
            layer: LinkLayerType::Ether,
            kind: None,
            controller: None,
        }
    }

    fn parse(text: &str) -> (NetworkFile, Vec<String>) {
        NetworkFile::parse(Path::new("t.network"), text)
    }

    #[test]
    fn a_static_link() {
        let (file, warnings) = parse(
            "[Match]\nName=en* eth0\n\n[Network]\nAddress=192.0.2.5/24\nAddress=2001:db8::5/64\n\
             Gateway=192.0.2.1\nDNS=192.0.2.53 \\\n 2001:db8::53\nDomains=example.org ~corp\n\
             [Route]\nDestination=10.0.0.0/8\nGateway=192.0.2.9\nMetric=7\n",
        );
        assert_eq!(warnings, Vec::<String>::new());
        assert!(file.matches.covers(&ethernet("enp0s3")) && !file.matches.covers(&ethernet("wlan0")));
        assert_eq!(file.addresses.len(), 2);
        assert_eq!(file.dns.len(), 2);
        assert_eq!(file.domains, ["example.org", "corp"]);
        assert_eq!((file.routes[0].to.to_string(), file.routes[0].metric), ("10.0.0.0/8".into(), 7));
        assert_eq!(file.routes[1].to.to_string(), "0.0.0.0/0");
        assert!(!file.dhcp);
    }

    #[test]
    fn matching() {
        let covers =
            |section: &str| parse(&format!("[Match]\n{section}")).0.matches.covers(&ethernet("eth0"));
        assert!(covers("Type=ether"));
        assert!(covers("MACAddress=52:54:00:12:34:56"));
        assert!(covers("Name=!wl*"));
        assert!(!covers("Name=!eth*"));
        assert!(!covers("Name=eth0\nType=loopback"));
        assert!(!covers("MACAddress=52:54:00:12:34:57"));
        assert!(!covers(""), "a section that says nothing");
        assert!(!covers("Kind=veth"));
        assert!(covers("Kind=!*"));
    }

    #[test]
    fn warnings_name_the_line_and_the_rest_holds() {
        let (file, warnings) = parse(
            "[Match]\nName=*\n[Network]\nDHCP=perhaps\nFrobnicate=1\njunk\nAddress=1.2.3.4/99\nDHCP=ipv4\n[Odd]\n",
        );
        assert!(file.dhcp);
        assert_eq!(warnings.len(), 5, "{warnings:?}");
        assert!(warnings[0].starts_with("t.network:4: DHCP=perhaps"), "{warnings:?}");
        assert!(warnings[1].contains(":5: Frobnicate="), "{warnings:?}");
    }

    #[test]
    fn higher_directories_win_and_null_masks() {
        let root = tempfile::tempdir().unwrap();
        for directory in DIRECTORIES {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let write = |path: &str, text: &str| fs::write(root.path().join(path), text).unwrap();
        write("usr/lib/systemd/network/20-a.network", "[Match]\nName=vendor\n");
        write("etc/systemd/network/20-a.network", "[Match]\nName=admin\n");
        write("usr/lib/systemd/network/10-b.network", "[Match]\nName=first\n");
        write("usr/lib/systemd/network/30-c.network", "[Match]\nName=masked\n");
        std::os::unix::fs::symlink("/dev/null", root.path().join("etc/systemd/network/30-c.network"))
            .unwrap();
        let (files, warnings) = NetworkFile::load_all(root.path());
        let names: Vec<&str> = files.iter().map(|file| file.matches.names[0].as_str()).collect();
        assert_eq!(names, ["first", "admin"]);
        assert!(warnings.is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\[(Match|Network|Route|Link)\\]|[A-Za-z]{0,8}=?|[=\\\\\\[\\] \n.:/0-9]){0,40}") {
            let _ = parse(&text);
        }
    }
}
