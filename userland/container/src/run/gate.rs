//! Where a created container waits to be started: a socket in its state directory.
//!
//! Its first process listens, with everything done but the last step. Who connects starts it, and hears on that
//! connection what the parent of a supervised container hears: silence when the program runs, or what failed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};

use super::channel::Channel;

/// The socket's name in the state directory: it is there from create to start.
pub const NAME: &str = "start";

/// The container's side.
#[derive(Debug)]
pub struct Gate(OwnedFd);

/// The directory may lie deeper than the address of a socket is long.
fn address(directory: impl AsFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{NAME}", directory.as_fd().as_raw_fd()))?)
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

impl Gate {
    /// Makes the socket in this directory.
    ///
    /// # Errors
    /// When there is one already.
    pub fn make(directory: impl AsFd) -> io::Result<Self> {
        let socket = socket()?;
        bind(&socket, &address(directory)?)?;
        listen(&socket, 1)?;
        Ok(Self(socket))
    }

    /// Waits to be started.
    pub(super) fn wait(&self) -> io::Result<Channel> {
        loop {
            match accept_with(&self.0, SocketFlags::CLOEXEC) {
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                other => return Ok(Channel::from(other?)),
            }
        }
    }
}

/// Starts who waits in this directory; from then on nobody else can.
///
/// # Errors
/// When nobody waits.
pub fn open(directory: impl AsFd) -> io::Result<Channel> {
    let socket = socket()?;
    connect(&socket, &address(directory.as_fd())?)?;
    unlinkat(directory, NAME, AtFlags::empty())?;
    Ok(Channel::from(socket))
}
