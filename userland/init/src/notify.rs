//! The notify socket, `/run/systemd/notify` (sd_notify(3)): who sent a datagram is the kernel's word, not the sender's.

use std::fs::{self, Permissions};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt::set_socket_passcred,
};
use unit::{Notify, Pid};

/// Where services find it.
pub const PATH: &str = "/run/systemd/notify";
/// Longer datagrams are dropped, as by systemd.
const LONGEST: usize = 4096;
/// Room for the credentials and for descriptors that come along (and are closed).
const ANCILLARY: usize = 4096;

/// The socket.
#[derive(Debug)]
pub struct NotifySocket(UnixDatagram);

impl NotifySocket {
    /// Binds it, for every user to send to.
    ///
    /// # Errors
    /// The folder is not there.
    pub fn bind(path: &Path) -> io::Result<NotifySocket> {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o777))?;
        socket.set_nonblocking(true)?;
        set_socket_passcred(&socket, true)?;
        Ok(NotifySocket(socket))
    }

    /// The next message and its sender; `None` when none is waiting. Odd datagrams are skipped.
    pub fn next(&self) -> Option<(Pid, Notify)> {
        loop {
            let mut bytes = [0; LONGEST];
            let mut space = [MaybeUninit::uninit(); ANCILLARY];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let got = match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags) {
                Ok(got) => got,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return None,
            };
            let mut sender = None;
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmCredentials(credentials) = message {
                    sender = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok();
                }
            }
            let whole = !got.flags.contains(ReturnFlags::TRUNC);
            if let (Some(pid), true, Some(text)) = (sender, whole, bytes.get(..got.bytes)) {
                return Some((Pid(pid), Notify::parse(text)));
            }
        }
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_known_and_long_datagrams_are_dropped() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("notify");
        let socket = NotifySocket::bind(&path).unwrap();
        assert!(socket.next().is_none());
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(&[b'x'; LONGEST + 1], &path).unwrap();
        client.send_to(b"READY=1\nSTATUS=here", &path).unwrap();
        let (pid, message) = socket.next().unwrap();
        assert_eq!(pid, Pid(std::process::id()));
        assert!(message.ready);
        assert!(socket.next().is_none());
    }
}
