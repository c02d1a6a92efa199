//! Who is at the other end of an accepted connection: for limits by source, and for the instance's name.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use rustix::net::{AddressFamily, getpeername, getsockname};

/// The other end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// An address, or a user's number.
    pub(super) source: String,
    /// `LOCAL:PORT-REMOTE:PORT`, or `PID-UID`, as systemd names instances.
    pub(super) instance: String,
}

/// `None`: it has gone already.
pub(super) fn of(fd: BorrowedFd<'_>, number: u64) -> Option<Peer> {
    let local = getsockname(fd).ok()?;
    if local.address_family() == AddressFamily::UNIX {
        let (pid, uid) = linux::socket::peer(fd).ok()?;
        return Some(Peer { source: uid.to_string(), instance: format!("{pid}-{uid}") });
    }
    if !matches!(local.address_family(), AddressFamily::INET | AddressFamily::INET6) {
        return Some(Peer { source: "vsock".into(), instance: format!("vsock-{number}") });
    }
    let local = plain(SocketAddr::try_from(local).ok()?);
    let remote = plain(SocketAddr::try_from(getpeername(fd).ok()??).ok()?);
    let instance = format!("{}:{}-{}:{}", local.ip(), local.port(), remote.ip(), remote.port());
    Some(Peer { source: remote.ip().to_string(), instance })
}

/// An IPv4 address that came by an IPv6 socket.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
