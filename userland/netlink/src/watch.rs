//! A stream of changes of links and addresses.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use crate::{Error, packets};

/// Multicast groups of rtnetlink(7) that a watcher joins: links, IPv4 and IPv6 addresses.
const GROUPS: [u32; 3] = [1, 5, 9];

/// A socket that hears of every change of links and addresses.
pub struct Watch {
    socket: Socket,
}

/// What a watcher heard.
pub enum News {
    /// These changes, in order.
    Changes(Vec<RouteNetlinkMessage>),
    /// Changes were lost: take a new dump.
    Lost,
}

impl Watch {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open() -> Result<Watch, Error> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        Ok(Watch { socket })
    }

    /// What has come in. Returns no changes when there is nothing.
    pub fn read(&mut self) -> Result<News, Error> {
        let mut changes = Vec::new();
        loop {
            let buffer = match self.socket.recv_from_full() {
                // Only the kernel (port 0) may tell of changes.
                Ok((buffer, from)) if from.port_number() == 0 => buffer,
                Ok(_) => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(News::Changes(changes)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                    return Ok(News::Lost);
                }
                Err(e) => return Err(e.into()),
            };
            for packet in packets(&buffer) {
                match packet {
                    Ok(NetlinkMessage { payload: NetlinkPayload::InnerMessage(message), .. }) => {
                        changes.push(message);
                    }
                    Ok(_) => {}
                    // A message of a newer kernel: the dump tells what we need.
                    Err(_) => return Ok(News::Lost),
                }
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
