//! Ports of the machine that lead to a container: `-p [ADDRESS:][PORT:]INNER[/PROTOCOL]`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use nftables::Protocol;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};
use serde::{Deserialize, Serialize};

use super::NetworkError;

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Of the machine; unspecified: all of them.
    pub address: Ipv4Addr,
    /// Of the machine; 0: any that is free.
    pub port: u16,
    /// In the container.
    pub inner: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Proto,
}

/// What a container has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Of the machine; unspecified: all of them.
    pub address: Ipv4Addr,
    /// Of the machine.
    pub port: u16,
    /// In the container.
    pub inner: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: Proto,
}

/// A transport protocol, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Proto {
    /// As the rules know it.
    #[must_use]
    pub fn of_rules(self) -> Protocol {
        match self {
            Self::Tcp => Protocol::Tcp,
            Self::Udp => Protocol::Udp,
            Self::Sctp => Protocol::Sctp,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|one| one.name() == name)
    }
}

impl Publish {
    /// Reads what `-p` is given; a range of ports is many.
    ///
    /// # Errors
    /// When it is not of that form, in words for the user.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let bad = |why: &str| {
            format!(
                "invalid publish opts format {text:?}: {why}; write [ADDRESS:][PORT:]INNER[/tcp|udp|sctp]"
            )
        };
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = Proto::parse(protocol).ok_or_else(|| bad("unknown protocol"))?;
        let mut parts: Vec<&str> = ports.split(':').collect();
        let inner = range(parts.pop().unwrap_or_default()).ok_or_else(|| bad("bad container port"))?;
        let port = parts.pop().filter(|port| !port.is_empty());
        let port = port.map(|port| range(port).ok_or_else(|| bad("bad port of the machine"))).transpose()?;
        let address = match parts.as_slice() {
            [] | [""] => Ipv4Addr::UNSPECIFIED,
            [one] => one.parse().map_err(|_| bad("bad address"))?,
            _ => return Err(bad("too many colons")),
        };
        let inners = inner.0..=inner.1;
        match port {
            None => Ok(inners.map(|inner| Self { address, port: 0, inner, protocol }).collect()),
            Some(port) if port.1 - port.0 == inner.1 - inner.0 => {
                let pairs = (port.0..=port.1).zip(inners);
                Ok(pairs.map(|(port, inner)| Self { address, port, inner, protocol }).collect())
            }
            Some(_) => Err(bad("the ranges are not of the same length")),
        }
    }
}

impl Published {
    /// An error if one of the others leads the same port elsewhere.
    pub(super) fn refuse_twice<'a>(
        &self,
        others: impl IntoIterator<Item = &'a Self>,
    ) -> Result<(), NetworkError> {
        let meets = |other: &Self| {
            let all = self.address.is_unspecified() || other.address.is_unspecified();
            (all || other.address == self.address)
                && (other.port, other.protocol) == (self.port, self.protocol)
        };
        match others.into_iter().any(meets) {
            true => Err(NetworkError::PortTaken { address: self.address, port: self.port }),
            false => Ok(()),
        }
    }
}

/// Takes the ports for ourselves, so that no program of the machine can have them meanwhile: packets
/// for them are the container's before they reach a socket.
pub(super) fn reserve(wanted: &[Publish]) -> Result<(Vec<Published>, Vec<OwnedFd>), NetworkError> {
    let mut published: Vec<Published> = Vec::new();
    let mut sockets = Vec::new();
    for one in wanted {
        let taken = |_| NetworkError::PortTaken { address: one.address, port: one.port };
        let (socket, port) = hold(one).map_err(taken)?;
        sockets.push(socket);
        let (address, inner, protocol) = (one.address, one.inner, one.protocol);
        published.push(Published { address, port, inner, protocol });
    }
    Ok((published, sockets))
}

fn hold(one: &Publish) -> io::Result<(OwnedFd, u16)> {
    let kind = match one.protocol {
        Proto::Tcp => SocketType::STREAM,
        Proto::Udp => SocketType::DGRAM,
        Proto::Sctp => SocketType::SEQPACKET,
    };
    let protocol = match one.protocol {
        Proto::Sctp => Some(rustix::net::ipproto::SCTP),
        _ => None,
    };
    let socket = match socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, protocol) {
        Ok(socket) => socket,
        // A kernel without SCTP has nobody else who could take its ports.
        Err(rustix::io::Errno::PROTONOSUPPORT) if one.port != 0 => {
            let file = std::fs::File::open("/dev/null")?;
            return Ok((file.into(), one.port));
        }
        Err(error) => return Err(error.into()),
    };
    bind(&socket, &SocketAddrV4::new(one.address, one.port))?;
    let bound: SocketAddrV4 = getsockname(&socket)?.try_into().map_err(io::Error::other)?;
    Ok((socket, bound.port()))
}

fn range(text: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
    match text.split_once('-') {
        None => port(text).map(|one| (one, one)),
        Some((first, last)) => {
            let (first, last) = (port(first)?, port(last)?);
            (first <= last).then_some((first, last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_publish() {
        let read = |text: &str| {
            let all = Publish::parse(text).unwrap();
            all.iter()
                .map(|one| format!("{}:{}->{}/{}", one.address, one.port, one.inner, one.protocol.name()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(read("80"), "0.0.0.0:0->80/tcp");
        assert_eq!(read("8080:80"), "0.0.0.0:8080->80/tcp");
        assert_eq!(read("127.0.0.1:53:53/udp"), "127.0.0.1:53->53/udp");
        assert_eq!(read("127.0.0.1::80"), "127.0.0.1:0->80/tcp");
        assert_eq!(read("8000-8001:80-81"), "0.0.0.0:8000->80/tcp 0.0.0.0:8001->81/tcp");
        for bad in ["", "x", "80/icmp", "1:2:3:4", "70000:80", "80:0", "8000-8001:80", "2-1:2-1", "::1:80:80"]
        {
            assert!(Publish::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_is_led_to_one_container_only() {
        let one = |address: [u8; 4], port| Published {
            address: address.into(),
            port,
            inner: 80,
            protocol: Proto::Tcp,
        };
        let all = [one([127, 0, 0, 1], 80), one([0, 0, 0, 0], 81)];
        assert!(one([10, 0, 0, 1], 80).refuse_twice(&all).is_ok());
        assert!(one([127, 0, 0, 1], 80).refuse_twice(&all).is_err());
        assert!(one([0, 0, 0, 0], 80).refuse_twice(&all).is_err());
        assert!(one([10, 0, 0, 1], 81).refuse_twice(&all).is_err());
    }

    #[test]
    fn a_reserved_port_is_nobody_elses() {
        let any = Publish { address: Ipv4Addr::LOCALHOST, port: 0, inner: 80, protocol: Proto::Tcp };
        let (published, _held) = reserve(&[any]).unwrap();
        let address = (published[0].address, published[0].port);
        assert!(std::net::TcpListener::bind(address).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = Publish::parse(&text);
        }
    }
}
