//! The sockets of a DHCP client on one link.
//!
//! A packet socket while there is no address, or none that is certain; a UDP socket on our address
//! while a lease is held, so that renewals reach a server behind a router and its answers find an
//! open port. The packet socket is closed while the lease is quiet.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use dhcproto::v4::{CLIENT_PORT, SERVER_PORT};
use linux::packet_socket::{UdpPacketSocket, bind_to_device};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::frame;

/// More than any server sends: our MaxMessageSize is 1500.
const BUFFER: usize = 2048;
/// At most so many packets are read in one go, so that a flood on one link does not starve the rest.
const BATCH: usize = 32;

/// The sockets; each is opened when it is first needed.
#[derive(Default)]
pub struct Transport {
    link: Option<UdpPacketSocket>,
    udp: Option<(Ipv4Addr, UdpSocket)>,
}

impl Transport {
    /// Opens or closes the packet socket.
    pub fn listen_to_link(&mut self, index: u32, on: bool) -> io::Result<()> {
        match (on, &self.link) {
            (true, None) => self.link = Some(UdpPacketSocket::open(index, CLIENT_PORT)?),
            (false, Some(_)) => self.link = None,
            _ => {}
        }
        Ok(())
    }

    /// Sends to everyone on the link, from no address.
    pub fn broadcast(&mut self, index: u32, message: &[u8]) -> io::Result<()> {
        self.listen_to_link(index, true)?;
        let packet = frame::wrap(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, message)
            .ok_or(io::ErrorKind::InvalidInput)?;
        match &self.link {
            Some(socket) => socket.send(&packet, &[0xff; 6]),
            None => Ok(()),
        }
    }

    /// Opens the UDP socket on our address. The address must be configured.
    pub fn bind(&mut self, link_name: &str, ours: Ipv4Addr) -> io::Result<()> {
        if self.udp.as_ref().is_some_and(|(bound, _)| *bound == ours) {
            return Ok(());
        }
        let fd = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        sockopt::set_socket_broadcast(&fd, true)?;
        bind_to_device(&fd, link_name)?;
        rustix::net::bind(&fd, &SocketAddrV4::new(ours, CLIENT_PORT))?;
        self.udp = Some((ours, UdpSocket::from(fd)));
        Ok(())
    }

    /// Closes the UDP socket: the address is gone.
    pub fn unbind(&mut self) {
        self.udp = None;
    }

    /// Sends from our address, routed.
    pub fn send(&mut self, link_name: &str, from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> io::Result<()> {
        self.bind(link_name, from)?;
        match &self.udp {
            Some((_, socket)) => socket.send_to(message, (to, SERVER_PORT)).map(drop),
            None => Ok(()),
        }
    }

    /// The messages that have come in.
    pub fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        let mut buffer = [0; BUFFER];
        if let Some(socket) = &self.link {
            for _ in 0..BATCH {
                let Ok(received) = socket.receive(&mut buffer) else { break };
                let packet = &buffer[..received.len];
                messages.extend(frame::unwrap(packet, received.checksum_ready).map(<[u8]>::to_vec));
            }
        }
        if let Some((_, socket)) = &self.udp {
            for _ in 0..BATCH {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { break };
                if from.port() == SERVER_PORT {
                    messages.push(buffer[..length].to_vec());
                }
            }
        }
        messages
    }

    /// What to poll for input.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let link = self.link.as_ref().map(AsFd::as_fd);
        let udp = self.udp.as_ref().map(|(_, socket)| socket.as_fd());
        link.into_iter().chain(udp)
    }
}
