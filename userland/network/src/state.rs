//! The service's state: links, what their files ask for, and how far that has come.
//!
//! Pure: events and the time go in, [`Action`]s come out; the kernel, the disk and the clock are
//! outside. Invariant: what an action added to a link is remembered until an action removes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_route::address::AddressScope;
use netlink_packet_route::route::RouteProtocol;

use crate::dhcp::client::{self, Client, Identity, Instant};
use crate::dhcp::lease::Lease;
use crate::network_file::NetworkFile;
use crate::report::{LinkReport, Operational, Setup};
use netlink::link::{Address, Link, Prefix, Route};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A link is there, or has changed. `saved`: a lease kept from an earlier life.
    Link {
        /// The link as it is now.
        link: Link,
        /// The lease and when it began.
        saved: Option<Box<(Lease, Instant)>>,
    },
    /// A link is gone.
    LinkGone(u32),
    /// An address is there, or is gone.
    Address {
        /// The link's index.
        index: u32,
        /// The address.
        prefix: Prefix,
        /// How far it reaches.
        scope: AddressScope,
        /// Whether it is there.
        present: bool,
    },
    /// A DHCP message came in on a link.
    Dhcp {
        /// The link's index.
        index: u32,
        /// The UDP payload.
        message: Vec<u8>,
    },
    /// The kernel refused an action on a link.
    Refused(u32),
    /// Time passed.
    Time,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Set the link up.
    SetUp(u32),
    /// Set the link's MTU in bytes.
    SetMtu(u32, u32),
    /// Add or renew an address.
    AddAddress(u32, Address),
    /// Remove an address.
    RemoveAddress(u32, Address),
    /// Add or replace a route.
    AddRoute(u32, Route),
    /// Remove a route.
    RemoveRoute(u32, Route),
    /// Send a DHCP message to everyone on the link.
    Broadcast(u32, Vec<u8>),
    /// Send a DHCP message from our address.
    Send(u32, Ipv4Addr, Ipv4Addr, Vec<u8>),
    /// Keep this text as the link's lease.
    SaveLease(u32, String),
    /// The link's lease is gone.
    ForgetLease(u32),
    /// Name the machine so, if it has no name of its own.
    Hostname(String),
    /// Write a line to the log.
    Log(String),
}

struct Managed {
    file: NetworkFile,
    client: Option<Client>,
    mac: Vec<u8>,
    asked_up: bool,
    /// The files' addresses and routes are in place.
    settled: bool,
    refused: bool,
    /// What the lease put on the link.
    address: Option<Address>,
    routes: Vec<Route>,
}

struct Entry {
    link: Link,
    /// And whether they reach beyond the link.
    addresses: BTreeMap<Prefix, bool>,
    managed: Option<Managed>,
}

/// Everything the service knows.
pub struct State {
    files: Vec<NetworkFile>,
    links: BTreeMap<u32, Entry>,
    hostname: Option<String>,
    random: u64,
}

impl State {
    /// Nothing is known but the files, the machine's name to tell servers, and a random seed.
    pub fn new(files: Vec<NetworkFile>, hostname: Option<String>, seed: u64) -> State {
        State { files, links: BTreeMap::new(), hostname, random: seed }
    }

    /// Takes an event in.
    pub fn on(&mut self, now: Instant, event: Event) -> Vec<Action> {
        match event {
            Event::Link { link, saved } => self.on_link(now, link, saved),
            Event::LinkGone(index) => match self.links.remove(&index).and_then(|entry| entry.managed) {
                Some(_) => vec![Action::ForgetLease(index)],
                None => Vec::new(),
            },
            Event::Address { index, prefix, scope, present } => {
                if let Some(entry) = self.links.get_mut(&index) {
                    if present {
                        entry.addresses.insert(prefix, scope == AddressScope::Universe);
                    } else {
                        entry.addresses.remove(&prefix);
                    }
                }
                Vec::new()
            }
            Event::Dhcp { index, message } => {
                self.with_client(now, index, |client| client.on_message(now, &message))
            }
            Event::Refused(index) => {
                if let Some(managed) = self.links.get_mut(&index).and_then(|entry| entry.managed.as_mut()) {
                    managed.refused = true;
                }
                Vec::new()
            }
            Event::Time => {
                let indexes: Vec<u32> = self.links.keys().copied().collect();
                indexes
                    .into_iter()
                    .flat_map(|index| self.with_client(now, index, |client| client.on_time(now)))
                    .collect()
            }
        }
    }

    /// When [`Event::Time`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.clients().filter_map(|(_, client)| client.deadline()).min()
    }

    /// For each link with a DHCP client: whether it listens to the link itself, and its address.
    pub fn dhcp_links(&self) -> impl Iterator<Item = (u32, &str, bool, Option<Ipv4Addr>)> {
        self.links.values().filter_map(|entry| {
            let client = entry.managed.as_ref()?.client.as_ref()?;
            let address = client.lease().map(|lease| lease.address);
            Some((entry.link.index, entry.link.name.as_str(), client.listens_to_link(), address))
        })
    }

    /// The indexes of all known links.
    pub fn indexes(&self) -> Vec<u32> {
        self.links.keys().copied().collect()
    }

    /// The addresses known on a link.
    pub fn addresses(&self, index: u32) -> Vec<Prefix> {
        self.links.get(&index).map(|e| e.addresses.keys().copied().collect()).unwrap_or_default()
    }

    /// What is told of every link.
    pub fn reports(&self) -> Vec<LinkReport> {
        self.links.values().map(report).collect()
    }

    fn clients(&self) -> impl Iterator<Item = (u32, &Client)> {
        self.links
            .iter()
            .filter_map(|(index, entry)| Some((*index, entry.managed.as_ref()?.client.as_ref()?)))
    }

    fn next_seed(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random
    }

    fn on_link(&mut self, now: Instant, link: Link, saved: Option<Box<(Lease, Instant)>>) -> Vec<Action> {
        let index = link.index;
        let seed = self.next_seed();
        let mut actions = Vec::new();
        let (known, renamed) = match self.links.get_mut(&index) {
            Some(entry) => {
                let renamed = entry.link.name != link.name;
                entry.link = link.clone();
                (true, renamed)
            }
            None => (false, false),
        };
        // The first matching file decides; a link that is renamed early in its life is looked at again.
        if !known || renamed {
            let file = self.files.iter().find(|file| file.matches.covers(&link)).cloned();
            let file = file.filter(|file| !file.unmanaged && !link.is_loopback());
            let addresses = self.links.remove(&index).map(|entry| entry.addresses).unwrap_or_default();
            let managed = file.map(|file| Managed {
                client: None,
                mac: Vec::new(),
                asked_up: false,
                settled: false,
                refused: false,
                address: None,
                routes: Vec::new(),
                file,
            });
            if let (Some(managed), false) = (&managed, known) {
                let path = managed.file.path.display();
                actions.push(Action::Log(format!("{}: managed by {path}", link.name)));
            }
            self.links.insert(index, Entry { link: link.clone(), addresses, managed });
        }
        let hostname = self.hostname.clone();
        let Some(entry) = self.links.get_mut(&index) else { return actions };
        let Some(managed) = &mut entry.managed else {
            if link.is_loopback() && !link.is_up() && !known {
                actions.push(Action::SetUp(index));
            }
            return actions;
        };
        if !managed.asked_up {
            managed.asked_up = true;
            if let Some(mtu) = managed.file.mtu.filter(|&mtu| mtu != link.mtu) {
                actions.push(Action::SetMtu(index, mtu));
            }
            if !link.is_up() {
                actions.push(Action::SetUp(index));
            }
        }
        if link.is_up() != managed.settled {
            managed.settled = link.is_up();
            managed.refused = false;
            if managed.settled {
                actions.extend(static_actions(index, &managed.file));
            }
        }
        if !managed.file.dhcp {
            // The file asked for DHCP in an earlier life of the service, and does no longer.
            if let Some((lease, _)) = saved.map(|saved| *saved) {
                let address = Address { prefix: lease.prefix(), lifetime: None, metric: 0 };
                if !managed.file.addresses.contains(&address.prefix) {
                    actions.push(Action::RemoveAddress(index, address));
                }
                actions.push(Action::ForgetLease(index));
            }
        } else {
            actions.extend(self.on_link_dhcp(now, &link, saved, hostname, seed));
        }
        actions
    }

    /// Starts, stops or replaces the DHCP client as carrier and hardware address say.
    fn on_link_dhcp(
        &mut self,
        now: Instant,
        link: &Link,
        saved: Option<Box<(Lease, Instant)>>,
        hostname: Option<String>,
        seed: u64,
    ) -> Vec<Action> {
        let Some(managed) = self.links.get_mut(&link.index).and_then(|entry| entry.managed.as_mut()) else {
            return Vec::new();
        };
        let Ok(mac) = <[u8; 6]>::try_from(link.mac.as_slice()) else { return Vec::new() };
        let mut remembered = Vec::new();
        if managed.mac != link.mac {
            managed.mac.clone_from(&link.mac);
            let hostname = hostname.filter(|_| managed.file.from_lease.send_hostname);
            let mut client = Client::new(Identity { mac, hostname }, seed);
            if let Some((lease, since)) = saved.map(|saved| *saved) {
                remembered = client.remember(lease, since, now);
            }
            managed.client = Some(client);
        }
        let carrier = link.has_carrier();
        self.with_client(now, link.index, |client| {
            if carrier {
                remembered.extend(client.start(now));
            } else {
                client.stop();
            }
            remembered
        })
    }

    /// Lets a link's client act, and turns what it says into actions.
    fn with_client(
        &mut self,
        now: Instant,
        index: u32,
        act: impl FnOnce(&mut Client) -> Vec<client::Action>,
    ) -> Vec<Action> {
        let Some(entry) = self.links.get_mut(&index) else { return Vec::new() };
        let Some(managed) = &mut entry.managed else { return Vec::new() };
        let Some(client) = &mut managed.client else { return Vec::new() };
        let mut actions = Vec::new();
        for action in act(client) {
            match action {
                client::Action::Broadcast(message) => actions.push(Action::Broadcast(index, message)),
                client::Action::Send { from, to, message } => {
                    actions.push(Action::Send(index, from, to, message));
                }
                client::Action::Log(text) => {
                    actions.push(Action::Log(format!("{}: {text}", entry.link.name)));
                }
                client::Action::Configure { lease, since } => {
                    configure(&mut actions, &entry.link, managed, &lease, since, now);
                }
                client::Action::Deconfigure(_) => {
                    actions.extend(managed.routes.drain(..).rev().map(|r| Action::RemoveRoute(index, r)));
                    actions.extend(managed.address.take().map(|a| Action::RemoveAddress(index, a)));
                    actions.push(Action::ForgetLease(index));
                }
            }
        }
        actions
    }
}

fn static_actions(index: u32, file: &NetworkFile) -> Vec<Action> {
    let addresses = file
        .addresses
        .iter()
        .map(|&prefix| Action::AddAddress(index, Address { prefix, lifetime: None, metric: 0 }));
    let routes = file.routes.iter().map(|route| {
        let (to, gateway, metric) = (route.to, route.gateway, route.metric);
        Action::AddRoute(index, Route { to, gateway, source: None, metric, protocol: RouteProtocol::Static })
    });
    addresses.chain(routes).collect()
}

fn configure(
    actions: &mut Vec<Action>,
    link: &Link,
    managed: &mut Managed,
    lease: &Lease,
    since: Instant,
    now: Instant,
) {
    let index = link.index;
    let wants = managed.file.from_lease;
    let left = lease.lifetime.map(|length| (since + length).saturating_sub(now).as_secs());
    let address = Address {
        prefix: lease.prefix(),
        lifetime: left.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
        metric: wants.metric,
    };
    if managed.address.map(|old| old.prefix) != Some(address.prefix) {
        actions.push(Action::Log(format!(
            "{}: DHCPv4 address {}, gateway {}, from {}",
            link.name,
            address.prefix,
            gateway(lease).map_or_else(|| "none".into(), |by| by.to_string()),
            lease.server
        )));
    }
    actions.push(Action::AddAddress(index, address));
    managed.address = Some(address);
    let routes = if wants.routes { lease_routes(lease, wants.metric) } else { Vec::new() };
    for gone in managed.routes.iter().filter(|old| !routes.contains(old)) {
        actions.push(Action::RemoveRoute(index, *gone));
    }
    actions.extend(routes.iter().map(|route| Action::AddRoute(index, *route)));
    managed.routes = routes;
    if let Some(mtu) = lease.mtu.map(u32::from).filter(|&mtu| wants.mtu && mtu != link.mtu) {
        actions.push(Action::SetMtu(index, mtu));
    }
    if let Some(name) = lease.hostname.clone().filter(|_| wants.hostname) {
        actions.push(Action::Hostname(name));
    }
    actions.push(Action::SaveLease(index, lease.to_text(since)));
}

fn gateway(lease: &Lease) -> Option<Ipv4Addr> {
    lease.routes.iter().find(|(to, _)| to.length == 0).map(|(_, by)| *by)
}

/// The lease's routes. A router outside of our network first gets a route of its own.
fn lease_routes(lease: &Lease, metric: u32) -> Vec<Route> {
    let source = Some(IpAddr::V4(lease.address));
    let route = |to, gateway| Route { to, gateway, source, metric, protocol: RouteProtocol::Dhcp };
    let mut routes: Vec<Route> = Vec::new();
    for &(to, by) in &lease.routes {
        let gateway = (!by.is_unspecified()).then_some(IpAddr::V4(by));
        if let Some(router) = gateway {
            let reached = lease.prefix().contains(router)
                || routes.iter().any(|r| r.gateway.is_none() && r.to.contains(router));
            if !reached {
                routes.push(route(Prefix { address: router, length: 32 }, None));
            }
        }
        let wanted = route(to, gateway);
        if !routes.contains(&wanted) {
            routes.push(wanted);
        }
    }
    routes
}

fn operational(entry: &Entry) -> Operational {
    if !entry.link.is_up() {
        Operational::Off
    } else if !entry.link.has_carrier() {
        Operational::NoCarrier
    } else if entry.link.controller.is_some() {
        Operational::Enslaved
    } else if entry.addresses.values().any(|global| *global) {
        Operational::Routable
    } else if entry.addresses.is_empty() || entry.link.is_loopback() {
        Operational::Carrier
    } else {
        Operational::Degraded
    }
}

fn report(entry: &Entry) -> LinkReport {
    let mut report = LinkReport {
        index: entry.link.index,
        setup: Setup::Unmanaged,
        operational: operational(entry),
        required: false,
        file: None,
        dns: Vec::new(),
        ntp: Vec::new(),
        domains: Vec::new(),
        addresses: entry.addresses.keys().copied().collect(),
    };
    let Some(managed) = &entry.managed else { return report };
    report.required = managed.file.required_for_online;
    report.file = Some(managed.file.path.clone());
    report.dns = managed.file.dns.iter().map(ToString::to_string).collect();
    report.domains.clone_from(&managed.file.domains);
    let lease = managed.client.as_ref().and_then(Client::lease);
    if let Some(lease) = lease {
        if managed.file.from_lease.dns {
            report.dns.extend(lease.dns.iter().map(ToString::to_string));
        }
        if managed.file.from_lease.domains {
            report.domains.extend(lease.domains.iter().cloned());
        }
        report.ntp = lease.ntp.iter().map(ToString::to_string).collect();
    }
    report.setup = if managed.refused {
        Setup::Failed
    } else if managed.settled && (lease.is_some() || !managed.file.dhcp) {
        Setup::Configured
    } else {
        Setup::Configuring
    };
    report
}
