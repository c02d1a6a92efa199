//! Route netlink: requests that wait for their answer ([`Netlink`]), and a stream of changes ([`Watch`]).
//! What is mostly asked for is in [`link`].
//!
//! See netlink(7) and rtnetlink(7). Blocking is harmless: the kernel answers a request before
//! `send` returns. Messages are encoded and decoded by netlink-packet-route.

pub mod link;
mod watch;

pub use watch::{News, Watch};

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// How often a dump that the kernel says was interrupted is asked for again.
const DUMP_TRIES: usize = 5;

/// What can go wrong on a netlink socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself.
    #[error("netlink socket: {0}")]
    Socket(#[from] io::Error),
    /// The kernel refused the request.
    #[error("{0}")]
    Refused(io::Error),
    /// The kernel sent what we cannot read.
    #[error("netlink: message that cannot be read: {0}")]
    Decode(String),
}

impl Error {
    /// Whether the kernel refused because the thing is there already.
    pub fn already_exists(&self) -> bool {
        matches!(self, Error::Refused(e) if e.raw_os_error() == Some(rustix::io::Errno::EXIST.raw_os_error()))
    }

    /// The error number, if the kernel refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Refused(e) => e.raw_os_error(),
            _ => None,
        }
    }
}

/// A socket for requests.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> Result<Netlink, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Dumps then honour the filters in their header.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Asks for a change and waits until the kernel has made it. `flags`: `NLM_F_CREATE` and the like.
    pub fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        self.collect().map(drop)
    }

    /// Asks for a dump and returns all of it.
    pub fn dump(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Error> {
        let mut answers = Vec::new();
        for _ in 0..DUMP_TRIES {
            self.send(message.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            let (got, whole) = self.collect()?;
            answers = got;
            if whole {
                break;
            }
        }
        Ok(answers)
    }

    /// Asks for one object and returns it.
    pub fn get(&mut self, message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, Error> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        self.collect().map(|(answers, _)| answers)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut buffer = vec![0; packet.buffer_len()];
        packet.serialize(&mut buffer);
        self.socket.send(&buffer, 0)?;
        Ok(())
    }

    /// The answers to the last request up to its end, and whether they are a consistent whole.
    fn collect(&mut self) -> Result<(Vec<RouteNetlinkMessage>, bool), Error> {
        const DUMP_INTERRUPTED: u16 = 0x10;
        let mut answers = Vec::new();
        let mut whole = true;
        loop {
            let (buffer, _) = self.socket.recv_from_full()?;
            for packet in packets(&buffer) {
                let packet = packet?;
                if packet.header.sequence_number != self.sequence {
                    continue;
                }
                whole &= packet.header.flags & DUMP_INTERRUPTED == 0;
                match packet.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Done(_) => return Ok((answers, whole)),
                    NetlinkPayload::Error(e) if e.code.is_none() => return Ok((answers, whole)),
                    NetlinkPayload::Error(e) => return Err(Error::Refused(e.to_io())),
                    _ => {}
                }
            }
        }
    }
}

/// The packets of one datagram. Ends at the first that cannot be read.
fn packets(buffer: &[u8]) -> impl Iterator<Item = Result<NetlinkMessage<RouteNetlinkMessage>, Error>> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let packet = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
        match packet {
            Ok(packet) => {
                // Lengths are padded to four bytes; zero would never end.
                let length = (packet.header.length as usize).max(16).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                Some(Ok(packet))
            }
            Err(e) => {
                rest = &[];
                Some(Err(Error::Decode(e.to_string())))
            }
        }
    })
}
