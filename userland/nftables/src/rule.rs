//! A rule: what a packet has to be, and what becomes of it then.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::Field;
use crate::element::shape;
use crate::expression::{Compare, Connection, Expression, FIRST, Header, Meta, SECOND, Verdict, behind};

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in an IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// A rule. Conditions hold together, in the order they are named; the last word decides.
///
/// A condition on addresses of one IP version is a condition on the version, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub(crate) expressions: Vec<Expression>,
    pub(crate) comment: Option<String>,
    version: Option<IpVersion>,
}

/// Where an IP header has its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IpVersion {
    Four,
    Six,
}

/// Which of the two addresses of a header.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

impl IpVersion {
    fn of(address: IpAddr) -> IpVersion {
        if address.is_ipv4() { IpVersion::Four } else { IpVersion::Six }
    }

    /// `enum nfproto`
    fn number(self) -> u8 {
        match self {
            IpVersion::Four => 2,
            IpVersion::Six => 10,
        }
    }

    fn address(self) -> Field {
        match self {
            IpVersion::Four => Field::Ipv4Address,
            IpVersion::Six => Field::Ipv6Address,
        }
    }

    fn offset(self, end: End) -> u32 {
        match (self, end) {
            (IpVersion::Four, End::Source) => 12,
            (IpVersion::Four, End::Destination) => 16,
            (IpVersion::Six, End::Source) => 8,
            (IpVersion::Six, End::Destination) => 24,
        }
    }
}

/// Conditions.
impl Rule {
    /// A rule without conditions, for every packet.
    pub fn new() -> Rule {
        Rule::default()
    }

    /// Came in by this interface.
    #[must_use]
    pub fn input(self, interface: &str) -> Rule {
        self.interface(Meta::InputName, interface, Compare::Equal)
    }

    /// Came in by another interface.
    #[must_use]
    pub fn input_not(self, interface: &str) -> Rule {
        self.interface(Meta::InputName, interface, Compare::Other)
    }

    /// Leaves by this interface.
    #[must_use]
    pub fn output(self, interface: &str) -> Rule {
        self.interface(Meta::OutputName, interface, Compare::Equal)
    }

    /// Leaves by another interface.
    #[must_use]
    pub fn output_not(self, interface: &str) -> Rule {
        self.interface(Meta::OutputName, interface, Compare::Other)
    }

    /// Comes from this network.
    #[must_use]
    pub fn source(self, net: IpNet) -> Rule {
        self.address(End::Source, net, Compare::Equal)
    }

    /// Comes from elsewhere.
    #[must_use]
    pub fn source_not(self, net: IpNet) -> Rule {
        self.address(End::Source, net, Compare::Other)
    }

    /// Goes to this network.
    #[must_use]
    pub fn destination(self, net: IpNet) -> Rule {
        self.address(End::Destination, net, Compare::Equal)
    }

    /// Goes elsewhere.
    #[must_use]
    pub fn destination_not(self, net: IpNet) -> Rule {
        self.address(End::Destination, net, Compare::Other)
    }

    /// The destination is an address of this machine.
    #[must_use]
    pub fn destination_local(self) -> Rule {
        const RTN_LOCAL: u32 = 2;
        self.with(Expression::DestinationKind { into: FIRST }).equal(&RTN_LOCAL.to_ne_bytes())
    }

    /// Is of this transport protocol.
    #[must_use]
    pub fn protocol(self, protocol: Protocol) -> Rule {
        self.with(Expression::Meta { key: Meta::TransportProtocol, into: FIRST }).equal(&[protocol.number()])
    }

    /// Goes to this port.
    #[must_use]
    pub fn destination_port(self, protocol: Protocol, port: u16) -> Rule {
        self.protocol(protocol).with(destination_port(FIRST)).equal(&port.to_be_bytes())
    }

    /// Part of a connection that was let through, or belongs to one.
    #[must_use]
    pub fn established(self) -> Rule {
        const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
        self.connection(Connection::State, ESTABLISHED_OR_RELATED)
    }

    /// Fits no connection.
    #[must_use]
    pub fn invalid(self) -> Rule {
        const INVALID: u32 = 1;
        self.connection(Connection::State, INVALID)
    }

    /// Its connection was sent elsewhere by destination NAT.
    #[must_use]
    pub fn redirected(self) -> Rule {
        const IPS_DST_NAT: u32 = 1 << 5;
        self.connection(Connection::Status, IPS_DST_NAT)
    }

    /// The packet's mark, of the bits in `mask`.
    #[must_use]
    pub fn mark(self, mark: u32, mask: u32) -> Rule {
        self.with(Expression::Meta { key: Meta::Mark, into: FIRST })
            .with(Expression::Bits { register: FIRST, mask: mask.to_ne_bytes().into(), flip: vec![0; 4] })
            .equal(&mark.to_ne_bytes())
    }

    /// The source is an element of the set of IPv4 addresses.
    #[must_use]
    pub fn source_in_ipv4(self, set: &str) -> Rule {
        self.load_address(IpVersion::Four, End::Source, FIRST).with(Expression::In {
            set: set.to_owned(),
            key: FIRST,
            inverted: false,
        })
    }

    fn interface(self, key: Meta, name: &str, how: Compare) -> Rule {
        const IFNAMSIZ: usize = 16;
        let mut with = name.as_bytes().to_vec();
        with.resize(IFNAMSIZ, 0);
        self.with(Expression::Meta { key, into: FIRST }).with(Expression::Compare {
            register: FIRST,
            how,
            with,
        })
    }

    fn address(self, end: End, net: IpNet, how: Compare) -> Rule {
        let net = net.trunc();
        let whole = net.prefix_len() == net.max_prefix_len();
        let (with, mask) = (octets(net.network()), octets(net.netmask()));
        let mut rule = self.load_address(IpVersion::of(net.addr()), end, FIRST);
        if !whole {
            rule = rule.with(Expression::Bits { register: FIRST, flip: vec![0; mask.len()], mask });
        }
        rule.with(Expression::Compare { register: FIRST, how, with })
    }

    fn connection(self, key: Connection, bits: u32) -> Rule {
        self.with(Expression::Connection { key, into: FIRST })
            .with(Expression::Bits { register: FIRST, mask: bits.to_ne_bytes().into(), flip: vec![0; 4] })
            .with(Expression::Compare { register: FIRST, how: Compare::Other, with: vec![0; 4] })
    }

    /// Loads an address, once the packet is known to have one of that version.
    fn load_address(mut self, version: IpVersion, end: End, into: u32) -> Rule {
        if self.version != Some(version) {
            self.version = Some(version);
            self = self
                .with(Expression::Meta { key: Meta::NetworkProtocol, into: FIRST })
                .equal(&[version.number()]);
        }
        let (_, length) = shape(&[version.address()]);
        self.with(Expression::Payload { header: Header::Network, offset: version.offset(end), length, into })
    }

    fn equal(self, with: &[u8]) -> Rule {
        self.with(Expression::Compare { register: FIRST, how: Compare::Equal, with: with.to_vec() })
    }

    fn with(mut self, expression: Expression) -> Rule {
        self.expressions.push(expression);
        self
    }
}

/// What is done.
impl Rule {
    /// Counts the packets and bytes that come as far.
    #[must_use]
    pub fn counter(self) -> Rule {
        self.with(Expression::Counter)
    }

    /// Gives the packet a mark.
    #[must_use]
    pub fn set_mark(self, mark: u32) -> Rule {
        self.with(Expression::Value { value: mark.to_ne_bytes().into(), into: FIRST })
            .with(Expression::SetMark { from: FIRST })
    }

    /// Lets it through this chain.
    #[must_use]
    pub fn accept(self) -> Rule {
        self.with(Expression::Verdict(Verdict::Accept))
    }

    /// Lets it vanish.
    #[must_use]
    pub fn discard(self) -> Rule {
        self.with(Expression::Verdict(Verdict::Drop))
    }

    /// Discards, and tells the sender that nobody listens there.
    #[must_use]
    pub fn reject(self) -> Rule {
        self.with(Expression::Reject)
    }

    /// Back to the chain that jumped here; in a chain with a hook: to its policy.
    #[must_use]
    pub fn return_(self) -> Rule {
        self.with(Expression::Verdict(Verdict::Return))
    }

    /// On with the rules of that chain.
    #[must_use]
    pub fn jump(self, chain: &str) -> Rule {
        self.with(Expression::Verdict(Verdict::Jump(chain.to_owned())))
    }

    /// The packet leaves under the address of the interface it leaves by, from a random port.
    #[must_use]
    pub fn masquerade(self) -> Rule {
        self.with(Expression::Masquerade)
    }

    /// The connection goes to this address, and port if there is one, instead.
    #[must_use]
    pub fn redirect_to(self, address: IpAddr, port: Option<u16>) -> Rule {
        let mut rule = self.with(Expression::Value { value: octets(address), into: FIRST });
        if let Some(port) = port {
            rule = rule.with(Expression::Value { value: port.to_be_bytes().into(), into: SECOND });
        }
        rule.with(Expression::DestinationNat {
            family: IpVersion::of(address).number().into(),
            address: FIRST,
            port: port.map(|_| SECOND),
        })
    }

    /// The connection goes where the map says: protocol and port lead to IPv4 address and port.
    #[must_use]
    pub fn redirect_by_port_ipv4(self, map: &str) -> Rule {
        self.redirect_by(IpVersion::Four, map, false)
    }

    /// The same for IPv6.
    #[must_use]
    pub fn redirect_by_port_ipv6(self, map: &str) -> Rule {
        self.redirect_by(IpVersion::Six, map, false)
    }

    /// The connection goes where the map says: IPv4 address, protocol and port lead to another
    /// address and port.
    #[must_use]
    pub fn redirect_by_address_ipv4(self, map: &str) -> Rule {
        self.redirect_by(IpVersion::Four, map, true)
    }

    /// The same for IPv6.
    #[must_use]
    pub fn redirect_by_address_ipv6(self, map: &str) -> Rule {
        self.redirect_by(IpVersion::Six, map, true)
    }

    /// For people who list the rules; at most 127 bytes are kept.
    #[must_use]
    pub fn comment(mut self, comment: &str) -> Rule {
        const LONGEST: usize = 127;
        self.comment = Some(comment[..comment.floor_char_boundary(LONGEST)].to_owned());
        self
    }

    fn redirect_by(self, version: IpVersion, map: &str, with_address: bool) -> Rule {
        let words = version.address().width() / 4;
        let family = u32::from(version.number());
        let (mut rule, after) = if with_address {
            (self.load_address(version, End::Destination, FIRST), words)
        } else {
            let rule = self.with(Expression::Meta { key: Meta::NetworkProtocol, into: FIRST });
            (rule.equal(&[version.number()]), 0)
        };
        rule.version = Some(version);
        rule.with(Expression::Meta { key: Meta::TransportProtocol, into: behind(after) })
            .with(destination_port(behind(after + 1)))
            .with(Expression::Map { map: map.to_owned(), key: FIRST, into: FIRST })
            .with(Expression::DestinationNat { family, address: FIRST, port: Some(behind(words)) })
    }
}

/// TCP, UDP and SCTP have it in the same place.
fn destination_port(into: u32) -> Expression {
    Expression::Payload { header: Header::Transport, offset: 2, length: 2, into }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    }
}
