//! What a container's first process tells its parent before it becomes the program.
//!
//! One socket. The child may send the terminal that it made; if something fails it sends what. When the
//! program is executed the socket closes, and that silence means success.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

const MESSAGE_LIMIT: usize = 8 << 10;

/// A message from the child.
#[derive(Debug)]
pub enum Message {
    /// The terminal of the container.
    Terminal(OwnedFd),
    /// It cannot go on. The first number is the exit status that says so.
    Failed(u8, String),
    /// The program runs.
    Started,
}

/// One end of the socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A new socket: the parent's end, the child's end.
///
/// # Errors
/// When the kernel has no more descriptors.
pub fn pair() -> io::Result<(Channel, Channel)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Channel(ours), Channel(theirs)))
}

impl Channel {
    /// Sends the terminal.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn send_terminal(&self, terminal: &OwnedFd) -> io::Result<()> {
        let fds = [terminal.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.0, &[io::IoSlice::new(b"t")], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends what failed, cut to what fits. Nobody to hear it is no further failure.
    pub fn send_failure(&self, status: u8, text: &str) {
        let mut bytes = vec![b'e', status];
        bytes.extend(text.bytes().take(MESSAGE_LIMIT - 2));
        let mut none = SendAncillaryBuffer::default();
        let _ = sendmsg(&self.0, &[io::IoSlice::new(&bytes)], &mut none, SendFlags::NOSIGNAL);
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When the socket breaks.
    pub fn receive(&self) -> io::Result<Message> {
        let mut bytes = vec![0; MESSAGE_LIMIT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        loop {
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = recvmsg(
                &self.0,
                &mut [io::IoSliceMut::new(&mut bytes)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            let length = match received {
                Err(Errno::INTR) => continue,
                // The child died with our message unread: the same silence.
                Err(Errno::CONNRESET) => 0,
                other => other?.bytes,
            };
            let fd = ancillary.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
                _ => None,
            });
            return Ok(match (bytes.first().filter(|_| length > 0), fd) {
                (Some(b't'), Some(terminal)) => Message::Terminal(terminal),
                (Some(b'e'), _) => {
                    let text = bytes.get(2..length).unwrap_or_default();
                    let status = bytes.get(1).copied().unwrap_or(125);
                    Message::Failed(status, String::from_utf8_lossy(text).into_owned())
                }
                (Some(_), _) => return Err(io::ErrorKind::InvalidData.into()),
                (None, _) => Message::Started,
            });
        }
    }

    /// Whether the other end is gone.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let mut polled = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = rustix::event::poll(&mut polled, Some(&now));
        polled.iter().any(|one| one.revents().contains(rustix::event::PollFlags::HUP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_and_silence_is_success() {
        let (parent, child) = pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        child.send_terminal(&OwnedFd::from(file)).unwrap();
        child.send_failure(127, "no such program");
        assert!(!parent.is_alone());
        assert!(matches!(parent.receive().unwrap(), Message::Terminal(_)));
        assert!(matches!(parent.receive().unwrap(), Message::Failed(127, text) if text == "no such program"));
        drop(child);
        assert!(matches!(parent.receive().unwrap(), Message::Started));
        assert!(parent.is_alone());
    }

    #[test]
    fn a_long_story_is_cut() {
        let (parent, child) = pair().unwrap();
        child.send_failure(1, &"x".repeat(1 << 20));
        assert!(
            matches!(parent.receive().unwrap(), Message::Failed(1, text) if text.len() == MESSAGE_LIMIT - 2)
        );
    }
}
