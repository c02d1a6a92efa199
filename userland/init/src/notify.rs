//! The notify socket, `/run/systemd/notify` (sd_notify(3)): who sent a datagram is the kernel's word, not the sender's.

use std::fs::{self, Permissions};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
/// Room for the credentials and for as many descriptors as the kernel takes along (SCM_MAX_FD).
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

    /// One that was bound before PID 1 executed itself anew.
    #[must_use]
    pub fn again(fd: OwnedFd) -> NotifySocket {
        NotifySocket(fd.into())
    }

    /// The next message, its sender and the descriptors that came along; `None` when none is waiting. Odd datagrams are skipped.
    pub fn next(&self) -> Option<(Pid, Notify, Vec<OwnedFd>)> {
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
            let mut descriptors = Vec::new();
            for message in ancillary.drain() {
                match message {
                    RecvAncillaryMessage::ScmCredentials(credentials) => {
                        sender = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok();
                    }
                    RecvAncillaryMessage::ScmRights(rights) => descriptors.extend(rights),
                    _ => {}
                }
            }
            let whole = !got.flags.contains(ReturnFlags::TRUNC);
            if let (Some(pid), true, Some(text)) = (sender, whole, bytes.get(..got.bytes)) {
                let mut message = Notify::parse(text);
                message.descriptors = u32::try_from(descriptors.len()).unwrap_or(u32::MAX);
                return Some((Pid(pid), message, descriptors));
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
        let (pid, message, descriptors) = socket.next().unwrap();
        assert!(descriptors.is_empty());
        assert_eq!(pid, Pid(std::process::id()));
        assert!(message.ready);
        assert!(socket.next().is_none());
    }
}
