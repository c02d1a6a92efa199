//! Links, their addresses and the routes through them, as far as anyone of the house looks at them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkFlags,
    LinkInfo, LinkLayerType, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use rustix::io::Errno;

use crate::{Error, Netlink};

/// An address and the length of its prefix: `192.0.2.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    /// The address, host bits included.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub length: u8,
}

impl Prefix {
    /// Reads `ADDRESS/LENGTH`; without a length it is the whole address.
    pub fn parse(text: &str) -> Option<Prefix> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address.parse().ok()?, Some(length.parse::<u8>().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let whole = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let length = length.unwrap_or(whole);
        (length <= whole).then_some(Prefix { address, length })
    }

    /// Whether the other address is in this network.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(32 - u32::from(self.length)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(128 - u32::from(self.length)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The broadcast address, for IPv4 networks that have one.
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.address {
            IpAddr::V4(a) if self.length < 31 => Some(Ipv4Addr::from_bits(
                a.to_bits() | u32::MAX.checked_shr(u32::from(self.length)).unwrap_or(0),
            )),
            _ => None,
        }
    }

    /// The same prefix with the host bits cleared.
    pub fn network(&self) -> Prefix {
        let address = match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6((a.to_bits() & mask).into())
            }
        };
        Prefix { address, length: self.length }
    }
}

impl From<IpNet> for Prefix {
    fn from(net: IpNet) -> Prefix {
        Prefix { address: net.addr(), length: net.prefix_len() }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// The name.
    pub name: String,
    /// The link-layer address: six bytes on Ethernet.
    pub mac: Vec<u8>,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The flags, as in netdevice(7).
    pub flags: LinkFlags,
    /// The link layer.
    pub layer: LinkLayerType,
    /// The kind of a virtual link (`veth`, `bridge`), none of a physical one.
    pub kind: Option<String>,
    /// The bridge or bond that this link is a port of.
    pub controller: Option<u32>,
}

impl Link {
    /// What a message says of a link; nothing if it has no name.
    pub fn of(message: &LinkMessage) -> Option<Link> {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            mac: Vec::new(),
            mtu: 0,
            flags: message.header.flags,
            layer: message.header.link_layer_type,
            kind: None,
            controller: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(mac) => link.mac.clone_from(mac),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = Some(*index).filter(|&i| i != 0),
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        if let LinkInfo::Kind(kind) = info {
                            link.kind = Some(kind_name(kind));
                        }
                    }
                }
                _ => {}
            }
        }
        (!link.name.is_empty() && link.index != 0).then_some(link)
    }

    /// Whether packets can pass: the cable is in and the other side answers.
    pub fn has_carrier(&self) -> bool {
        self.flags.contains(LinkFlags::Up | LinkFlags::LowerUp | LinkFlags::Running)
    }

    /// Whether the link is administratively up.
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// Whether this is the loopback link.
    pub fn is_loopback(&self) -> bool {
        self.flags.contains(LinkFlags::Loopback)
    }

    /// The type as `[Match] Type=` and `networkctl` name it.
    pub fn type_name(&self) -> &str {
        match (self.layer, self.kind.as_deref()) {
            (LinkLayerType::Loopback, _) => "loopback",
            (LinkLayerType::Ether, Some(kind @ ("bridge" | "bond" | "vlan"))) => kind,
            (LinkLayerType::Ether, _) => "ether",
            (_, Some(kind)) => kind,
            _ => "none",
        }
    }

    /// Every link.
    pub fn all(netlink: &mut Netlink) -> Result<Vec<Link>, Error> {
        let answers = netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Link::of(message),
                _ => None,
            })
            .collect())
    }
}

/// The kernel's name of a kind of link.
pub fn kind_name(kind: &InfoKind) -> String {
    match kind {
        InfoKind::Other(name) => name.clone(),
        known => known.to_string(),
    }
}

/// Sets a link up or down.
pub fn set_up(netlink: &mut Netlink, index: u32, up: bool) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.change_mask = LinkFlags::Up;
    message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    netlink.change(RouteNetlinkMessage::SetLink(message), 0)
}

/// Sets a link's MTU in bytes.
pub fn set_mtu(netlink: &mut Netlink, index: u32, mtu: u32) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu));
    netlink.change(RouteNetlinkMessage::SetLink(message), 0)
}

/// Makes a bridge.
pub fn add_bridge(netlink: &mut Netlink, name: &str) -> Result<(), Error> {
    let mut message = named(name);
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
    netlink.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

/// One end of a cable made by [`add_cable`].
#[derive(Clone, Copy, Debug)]
pub struct CableEnd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its link-layer address; none: one that the kernel thinks out.
    pub mac: Option<[u8; 6]>,
    /// Its MTU in bytes; none: the kernel's own.
    pub mtu: Option<u32>,
    /// The network namespace it comes to lie in; none: ours.
    pub namespace: Option<BorrowedFd<'a>>,
}

/// Makes a pair of Ethernet links, each of which sends to the other (veth(4)).
pub fn add_cable(netlink: &mut Netlink, one: CableEnd<'_>, other: CableEnd<'_>) -> Result<(), Error> {
    let mut message = one.message();
    let peer = LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other.message())));
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth), peer]));
    netlink.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
}

impl CableEnd<'_> {
    fn message(&self) -> LinkMessage {
        let mut message = named(self.name);
        message.attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.into())));
        message.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        message.attributes.extend(self.namespace.map(|fd| LinkAttribute::NetNsFd(fd.as_raw_fd())));
        message
    }
}

/// Makes a link a port of a bridge, one that frames may leave by the way they came in: so what is
/// behind it reaches itself by an address outside.
pub fn plug(netlink: &mut Netlink, index: u32, bridge: u32) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Controller(bridge));
    netlink.change(RouteNetlinkMessage::SetLink(message), 0)?;
    let mut message = LinkMessage::default();
    message.header.index = index;
    let hairpin = InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)]);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(hairpin),
    ]));
    netlink.change(RouteNetlinkMessage::NewLink(message), 0)
}

/// Removes a link, and the other end of it if it is a cable.
pub fn remove(netlink: &mut Netlink, index: u32) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    netlink.change(RouteNetlinkMessage::DelLink(message), 0)
}

/// The link of this name, if there is one.
pub fn find(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, Error> {
    match netlink.get(RouteNetlinkMessage::GetLink(named(name))) {
        Ok(answers) => Ok(answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Link::of(message),
            _ => None,
        })),
        Err(error) if error.errno() == Some(Errno::NODEV.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The address and its prefix.
    pub prefix: Prefix,
    /// Seconds until it ends; none: for ever.
    pub lifetime: Option<u32>,
    /// The metric of the prefix route that the kernel makes for it; 0: the kernel's own.
    pub metric: u32,
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address_message(index: u32, address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.prefix.address);
    message.header.prefix_len = address.prefix.length;
    message.header.index = index;
    if address.prefix.address.is_loopback() {
        message.header.scope = AddressScope::Host;
    }
    message.attributes.push(AddressAttribute::Local(address.prefix.address));
    message.attributes.push(AddressAttribute::Address(address.prefix.address));
    message
}

/// Adds an address, or renews the lifetime of one that is there.
pub fn add_address(netlink: &mut Netlink, index: u32, address: &Address) -> Result<(), Error> {
    let mut message = address_message(index, address);
    if let Some(broadcast) = address.prefix.broadcast() {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    if let Some(seconds) = address.lifetime {
        let mut life = CacheInfo::default();
        life.ifa_valid = seconds;
        life.ifa_preferred = seconds;
        message.attributes.push(AddressAttribute::CacheInfo(life));
    }
    if address.metric != 0 {
        message.attributes.push(AddressAttribute::RoutePriority(address.metric));
    }
    netlink.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes an address.
pub fn remove_address(netlink: &mut Netlink, index: u32, address: &Address) -> Result<(), Error> {
    netlink.change(RouteNetlinkMessage::DelAddress(address_message(index, address)), 0)
}

/// The link index, prefix and scope that an address message speaks of; nothing for a tentative IPv6 address.
pub fn address_of(message: &AddressMessage) -> Option<(u32, Prefix, AddressScope)> {
    let mut found = None;
    let mut local = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(address) => found = Some(*address),
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Tentative) => return None,
            _ => {}
        }
    }
    let address = local.or(found)?;
    let prefix = Prefix { address, length: message.header.prefix_len };
    Some((message.header.index, prefix, message.header.scope))
}

/// A route through a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: Prefix,
    /// By which router; none: it is on the link.
    pub gateway: Option<IpAddr>,
    /// The source address to prefer.
    pub source: Option<IpAddr>,
    /// The metric; lower wins. 0: the kernel's own.
    pub metric: u32,
    /// Who made it.
    pub protocol: RouteProtocol,
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let to = route.to.network();
    message.header.address_family = family(to.address);
    message.header.destination_prefix_length = to.length;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = route.protocol;
    message.header.kind = RouteType::Unicast;
    message.header.scope = match route.gateway {
        None if to.address.is_ipv4() => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    if to.length != 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.address)));
    }
    if let Some(gateway) = route.gateway {
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    }
    if let Some(source) = route.source {
        message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(source)));
    }
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

/// Adds a route, or replaces one to the same place.
pub fn add_route(netlink: &mut Netlink, index: u32, route: &Route) -> Result<(), Error> {
    let message = route_message(index, route);
    netlink.change(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
}

/// Removes a route.
pub fn remove_route(netlink: &mut Netlink, index: u32, route: &Route) -> Result<(), Error> {
    netlink.change(RouteNetlinkMessage::DelRoute(route_message(index, route)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let p = Prefix::parse("192.0.2.77/24").unwrap();
        assert_eq!(p.network().to_string(), "192.0.2.0/24");
        assert_eq!(p.broadcast().unwrap().to_string(), "192.0.2.255");
        assert!(p.contains("192.0.2.1".parse().unwrap()));
        assert!(!p.contains("192.0.3.1".parse().unwrap()));
        assert!(Prefix::parse("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert_eq!(Prefix::parse("10.0.0.1").unwrap().length, 32);
        assert_eq!(Prefix::parse("10.0.0.1/32").unwrap().broadcast(), None);
        assert_eq!(Prefix::parse("2001:db8::1/64").unwrap().network().to_string(), "2001:db8::/64");
        for bad in ["", "/", "1.2.3/8", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/-1"] {
            assert_eq!(Prefix::parse(bad), None, "{bad}");
        }
    }
}
