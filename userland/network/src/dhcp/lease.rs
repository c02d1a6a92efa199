//! A lease: what a DHCP server grants, with every field checked, and its text form on disk.
//!
//! Any host on the link can answer a DHCPDISCOVER. So nothing goes further that could not be right:
//! addresses that are no host's, masks with holes, names that would break `resolv.conf`, an MTU that
//! would end IPv6 on the link. An optional field that is wrong is left out; a wrong address, mask,
//! server or lease time refuses the whole message.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dhcproto::v4::{DhcpOption, Message, OptionCode};

use netlink::link::Prefix;

/// Leases shorter than this are refused: renewing them would be all that the machine does.
const SHORTEST: Duration = Duration::from_secs(20);
/// A lease without end, on the wire.
const INFINITE: u32 = u32::MAX;
/// Most routes, and most servers of a kind, that are taken from a lease.
const MOST_ROUTES: usize = 64;
const MOST_SERVERS: usize = 8;
/// Smallest MTU that is taken: IPv6 needs it (RFC 8200, section 5).
const SMALLEST_MTU: u16 = 1280;

/// What a server grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The server that granted it.
    pub server: Ipv4Addr,
    /// Our address.
    pub address: Ipv4Addr,
    /// Bits of its prefix.
    pub prefix_length: u8,
    /// The lease's length; none: without end.
    pub lifetime: Option<Duration>,
    /// When to ask the same server again, from the start of the lease.
    pub renew_after: Duration,
    /// When to ask any server again, from the start of the lease.
    pub rebind_after: Duration,
    /// Destination and router; the unspecified router means: on the link.
    pub routes: Vec<(Prefix, Ipv4Addr)>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// Search domains.
    pub domains: Vec<String>,
    /// The name that the server gives this machine.
    pub hostname: Option<String>,
    /// The MTU in bytes.
    pub mtu: Option<u16>,
}

/// Why a message is no lease.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address offered is not one that a host can have.
    #[error("the address {0} cannot be a host's")]
    Address(Ipv4Addr),
    /// The mask has holes or covers everything.
    #[error("the subnet mask {0} is not one")]
    Mask(Ipv4Addr),
    /// The server does not say who it is.
    #[error("no usable server identifier")]
    Server,
    /// No lease time, or one too short to live with.
    #[error("the lease time of {0} s is too short")]
    Lifetime(u32),
}

impl Lease {
    /// What an OFFER or ACK grants.
    pub fn of(message: &Message) -> Result<Lease, Refused> {
        let address = message.yiaddr();
        if !is_host(address) {
            return Err(Refused::Address(address));
        }
        let prefix_length = match option(message, OptionCode::SubnetMask) {
            Some(DhcpOption::SubnetMask(mask)) => mask_length(*mask).ok_or(Refused::Mask(*mask))?,
            _ => classful(address),
        };
        let subnet = Prefix { address: IpAddr::V4(address), length: prefix_length };
        if prefix_length < 31
            && (subnet.broadcast() == Some(address) || subnet.network().address == IpAddr::V4(address))
        {
            return Err(Refused::Address(address));
        }
        let server = server_of(message).ok_or(Refused::Server)?;
        let seconds = match option(message, OptionCode::AddressLeaseTime) {
            Some(DhcpOption::AddressLeaseTime(seconds)) => *seconds,
            _ => return Err(Refused::Lifetime(0)),
        };
        let lifetime = (seconds != INFINITE).then(|| Duration::from_secs(seconds.into()));
        if lifetime.is_some_and(|length| length < SHORTEST) {
            return Err(Refused::Lifetime(seconds));
        }
        let (renew_after, rebind_after) = timers(message, seconds);
        Ok(Lease {
            server,
            address,
            prefix_length,
            lifetime,
            renew_after,
            rebind_after,
            routes: routes(message),
            dns: servers(option(message, OptionCode::DomainNameServer)),
            ntp: servers(option(message, OptionCode::NtpServers)),
            domains: domains(message),
            hostname: match option(message, OptionCode::Hostname) {
                Some(DhcpOption::Hostname(name)) => hostname(name),
                _ => None,
            },
            mtu: match option(message, OptionCode::InterfaceMtu) {
                Some(DhcpOption::InterfaceMtu(mtu)) => Some(*mtu).filter(|&mtu| mtu >= SMALLEST_MTU),
                _ => None,
            },
        })
    }

    /// Our address with its prefix.
    pub fn prefix(&self) -> Prefix {
        Prefix { address: IpAddr::V4(self.address), length: self.prefix_length }
    }

    /// The text kept in `/run/systemd/netif/leases`. `since`: when it began, on the boot-time clock.
    pub fn to_text(&self, since: Duration) -> String {
        let list = |items: &[Ipv4Addr]| items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut text = String::from("# This is private data. Do not parse.\n");
        let _ = writeln!(text, "ADDRESS={}", self.prefix());
        let _ = writeln!(text, "SERVER_ADDRESS={}", self.server);
        let _ = writeln!(text, "SINCE={}", since.as_secs());
        if let Some(lifetime) = self.lifetime {
            let _ = writeln!(text, "LIFETIME={}", lifetime.as_secs());
        }
        let _ = writeln!(text, "T1={}\nT2={}", self.renew_after.as_secs(), self.rebind_after.as_secs());
        let routes: Vec<String> = self.routes.iter().map(|(to, by)| format!("{to},{by}")).collect();
        for (key, value) in [
            ("ROUTES", routes.join(" ")),
            ("DNS", list(&self.dns)),
            ("NTP", list(&self.ntp)),
            ("DOMAINS", self.domains.join(" ")),
            ("HOSTNAME", self.hostname.clone().unwrap_or_default()),
            ("MTU", self.mtu.map(|mtu| mtu.to_string()).unwrap_or_default()),
        ] {
            if !value.is_empty() {
                let _ = writeln!(text, "{key}={value}");
            }
        }
        text
    }

    /// Reads what [`Lease::to_text`] wrote: the lease and when it began.
    pub fn from_text(text: &str) -> Option<(Lease, Duration)> {
        let value = |key: &str| {
            text.lines().find_map(|line| line.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v))
        };
        let seconds = |key| value(key)?.parse().ok().map(Duration::from_secs);
        let words = |key| value(key).unwrap_or_default().split_whitespace();
        let addresses = |key| words(key).filter_map(|word| word.parse().ok()).collect();
        let prefix = Prefix::parse(value("ADDRESS")?)?;
        let IpAddr::V4(address) = prefix.address else { return None };
        let lease = Lease {
            server: value("SERVER_ADDRESS")?.parse().ok()?,
            address,
            prefix_length: prefix.length,
            lifetime: seconds("LIFETIME"),
            renew_after: seconds("T1")?,
            rebind_after: seconds("T2")?,
            routes: words("ROUTES")
                .filter_map(|word| {
                    let (to, by) = word.split_once(',')?;
                    Some((Prefix::parse(to)?, by.parse().ok()?))
                })
                .collect(),
            dns: addresses("DNS"),
            ntp: addresses("NTP"),
            domains: words("DOMAINS").filter_map(domain).collect(),
            hostname: value("HOSTNAME").and_then(hostname),
            mtu: value("MTU").and_then(|mtu| mtu.parse().ok()),
        };
        Some((lease, seconds("SINCE")?))
    }
}

/// The server that a message says it is from.
pub fn server_of(message: &Message) -> Option<Ipv4Addr> {
    match option(message, OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server).filter(|&server| is_host(server)),
        _ => None,
    }
}

fn option(message: &Message, code: OptionCode) -> Option<&DhcpOption> {
    message.opts().get(code)
}

/// Whether a host of a network can have this address.
fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && !address.is_loopback() && first < 224
}

fn mask_length(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    (bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32).then_some(bits.leading_ones() as u8)
}

fn classful(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// T1 and T2; the defaults of RFC 2131, section 4.4.5, where the server's are not in order.
fn timers(message: &Message, lease: u32) -> (Duration, Duration) {
    let lease64 = u64::from(lease);
    let rebind = match option(message, OptionCode::Rebinding) {
        Some(DhcpOption::Rebinding(t2)) if *t2 > 1 && *t2 < lease => u64::from(*t2),
        _ => lease64 * 7 / 8,
    };
    let renew = match option(message, OptionCode::Renewal) {
        Some(DhcpOption::Renewal(t1)) if *t1 > 0 && u64::from(*t1) < rebind => u64::from(*t1),
        _ => (lease64 / 2).min(rebind - 1),
    };
    (Duration::from_secs(renew), Duration::from_secs(rebind))
}

/// The routes: the classless ones if there are any, else the first router as the default (RFC 3442).
fn routes(message: &Message) -> Vec<(Prefix, Ipv4Addr)> {
    if let Some(DhcpOption::ClasslessStaticRoute(routes)) = option(message, OptionCode::ClasslessStaticRoute)
    {
        return routes
            .iter()
            .map(|(to, by)| {
                (Prefix { address: IpAddr::V4(to.addr()), length: to.prefix_len() }.network(), *by)
            })
            .filter(|(to, by)| {
                let target_is_fine = match to.address {
                    IpAddr::V4(a) => (to.length == 0 || is_host(a)) && !a.is_loopback(),
                    IpAddr::V6(_) => false,
                };
                target_is_fine && (by.is_unspecified() || is_host(*by))
            })
            .take(MOST_ROUTES)
            .collect();
    }
    let everywhere = Prefix { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    match option(message, OptionCode::Router) {
        Some(DhcpOption::Router(routers)) => {
            routers.iter().copied().filter(|&by| is_host(by)).take(1).map(|by| (everywhere, by)).collect()
        }
        _ => Vec::new(),
    }
}

fn servers(option: Option<&DhcpOption>) -> Vec<Ipv4Addr> {
    let (Some(DhcpOption::DomainNameServer(servers)) | Some(DhcpOption::NtpServers(servers))) = option else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    for &server in servers {
        if is_host(server) && !kept.contains(&server) && kept.len() < MOST_SERVERS {
            kept.push(server);
        }
    }
    kept
}

fn domains(message: &Message) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    if let Some(DhcpOption::DomainName(names)) = option(message, OptionCode::DomainName) {
        // Some servers put several names here.
        found.extend(names.split([' ', '\0']).filter_map(domain));
    }
    if let Some(DhcpOption::DomainSearch(names)) = option(message, OptionCode::DomainSearch) {
        found.extend(names.iter().filter_map(|name| domain(&name.to_string())));
    }
    let mut kept = Vec::new();
    for name in found {
        if !kept.contains(&name) && kept.len() < MOST_SERVERS {
            kept.push(name);
        }
    }
    kept
}

/// A domain name of ordinary letters, without the final dot.
pub fn domain(text: &str) -> Option<String> {
    let text = text.trim_end_matches(['.', '\0']);
    let label_is_fine = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (text.len() <= 253 && text.split('.').all(label_is_fine)).then(|| text.to_ascii_lowercase())
}

/// A name for the machine: at most the kernel's 64 bytes; the first label if the whole is longer.
fn hostname(text: &str) -> Option<String> {
    let name = domain(text).filter(|name| !name.contains('_') && name != "localhost")?;
    let short = if name.len() <= 64 { name.as_str() } else { name.split('.').next().unwrap_or_default() };
    Some(short.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offer(options: Vec<DhcpOption>) -> Message {
        let mut message = Message::default();
        message.set_yiaddr(Ipv4Addr::new(10, 0, 2, 15));
        for option in [
            DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 0, 2, 2)),
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
            DhcpOption::AddressLeaseTime(86400),
        ]
        .into_iter()
        .chain(options)
        {
            message.opts_mut().insert(option);
        }
        message
    }

    #[test]
    fn an_ordinary_offer() {
        let lease = Lease::of(&offer(vec![
            DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 2, 2)]),
            DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 0, 2, 3)]),
            DhcpOption::DomainName("Example.ORG".into()),
            DhcpOption::InterfaceMtu(1460),
            DhcpOption::Hostname("node-1".into()),
        ]))
        .unwrap();
        assert_eq!(lease.prefix().to_string(), "10.0.2.15/24");
        assert_eq!(lease.renew_after, Duration::from_secs(43200));
        assert_eq!(lease.rebind_after, Duration::from_secs(75600));
        assert_eq!(lease.routes[0].0.to_string(), "0.0.0.0/0");
        assert_eq!(lease.domains, ["example.org"]);
        assert_eq!(lease.hostname.as_deref(), Some("node-1"));
        assert_eq!(lease.mtu, Some(1460));
        let text = lease.to_text(Duration::from_secs(7));
        assert_eq!(Lease::from_text(&text), Some((lease, Duration::from_secs(7))));
    }

    #[test]
    fn hostile_offers_are_refused() {
        let with = |option| Lease::of(&offer(vec![option]));
        for mask in ["0.0.0.0", "255.0.255.0", "0.0.0.255"] {
            assert!(matches!(with(DhcpOption::SubnetMask(mask.parse().unwrap())), Err(Refused::Mask(_))));
        }
        for server in ["0.0.0.0", "255.255.255.255", "127.0.0.1", "224.0.0.1"] {
            let refused = with(DhcpOption::ServerIdentifier(server.parse().unwrap()));
            assert_eq!(refused, Err(Refused::Server), "{server}");
        }
        for seconds in [0, 1, 19] {
            assert_eq!(with(DhcpOption::AddressLeaseTime(seconds)), Err(Refused::Lifetime(seconds)));
        }
        for address in ["0.0.0.0", "10.0.2.255", "10.0.2.0", "127.0.0.1", "239.1.1.1", "255.255.255.255"] {
            let mut message = offer(vec![]);
            message.set_yiaddr(address.parse::<Ipv4Addr>().unwrap());
            assert!(matches!(Lease::of(&message), Err(Refused::Address(_))), "{address}");
        }
    }

    #[test]
    fn hostile_extras_are_left_out() {
        let lease = Lease::of(&offer(vec![
            DhcpOption::Router(vec![Ipv4Addr::BROADCAST]),
            DhcpOption::DomainNameServer(vec![Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]),
            DhcpOption::DomainName("a\nnameserver 6.6.6.6".into()),
            DhcpOption::Hostname("$(reboot)".into()),
            DhcpOption::InterfaceMtu(68),
            DhcpOption::Renewal(90000),
            DhcpOption::Rebinding(1),
        ]))
        .unwrap();
        assert!(lease.routes.is_empty() && lease.dns.is_empty());
        assert!(!lease.domains.iter().any(|d| d.contains('\n') || d.contains(' ')));
        assert_eq!((lease.hostname, lease.mtu), (None, None));
        assert!(lease.renew_after < lease.rebind_after);
    }

    #[test]
    fn classless_routes_replace_the_router() {
        let lease = Lease::of(&offer(vec![
            DhcpOption::Router(vec![Ipv4Addr::new(10, 0, 2, 2)]),
            DhcpOption::ClasslessStaticRoute(vec![
                ("10.9.8.7/8".parse().unwrap(), Ipv4Addr::new(10, 0, 2, 9)),
                ("127.0.0.0/8".parse().unwrap(), Ipv4Addr::new(10, 0, 2, 9)),
            ]),
        ]))
        .unwrap();
        let routes: Vec<String> = lease.routes.iter().map(|(to, by)| format!("{to} {by}")).collect();
        assert_eq!(routes, ["10.0.0.0/8 10.0.2.9"]);
    }

    proptest! {
        #[test]
        fn timers_are_in_order(t1: u32, t2: u32, lease in 20u32..) {
            let message = offer(vec![
                DhcpOption::Renewal(t1), DhcpOption::Rebinding(t2), DhcpOption::AddressLeaseTime(lease),
            ]);
            let lease = Lease::of(&message).unwrap();
            prop_assert!(lease.renew_after < lease.rebind_after);
            prop_assert!(lease.lifetime.is_none_or(|end| lease.rebind_after < end));
            prop_assert!(!lease.renew_after.is_zero());
        }

        #[test]
        fn names_never_carry_white_space(text in ".{0,300}") {
            if let Some(name) = domain(&text) {
                prop_assert!(name.bytes().all(|b| b.is_ascii_graphic()) && name.len() <= 253);
            }
        }

        #[test]
        fn lease_files_never_panic(text in "(?s).{0,200}") {
            let _ = Lease::from_text(&text);
        }
    }
}
