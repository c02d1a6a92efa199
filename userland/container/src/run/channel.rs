//! What a container's first process and its parent tell each other before it becomes the program.
//!
//! One socket. The child may send the terminal that it made, ask for what only the parent can do, and say that it
//! waits; if something fails it sends what. When the program is executed the socket closes, and that silence
//! means success.

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
    /// A mount from another mount namespace.
    Mount(OwnedFd),
    /// It cannot go on. The first number is the exit status that says so.
    Failed(u8, String),
    /// The parent is to run its hooks now, and to answer.
    Hooks,
    /// The parent is to fetch the descriptor of this number that hears of system calls, and to answer.
    Listener(u32),
    /// All is done, and it waits to be started.
    Waits,
    /// The answer: go on.
    Go,
    /// A process was born.
    Number(u32),
    /// The program runs.
    Started,
}

/// One end of the socket.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

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
        self.send_with(b"t", terminal)
    }

    /// Sends a detached mount.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn send_mount(&self, mount: &OwnedFd) -> io::Result<()> {
        self.send_with(b"m", mount)
    }

    /// Sends these bytes with a descriptor.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send_with(&self, bytes: &[u8], fd: &OwnedFd) -> io::Result<()> {
        let fds = [fd.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.0, &[io::IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends what failed, cut to what fits. Nobody to hear it is no further failure.
    pub fn send_failure(&self, status: u8, text: &str) {
        let mut bytes = vec![b'e', status];
        bytes.extend(text.bytes().take(MESSAGE_LIMIT - 2));
        let mut none = SendAncillaryBuffer::default();
        let _ = sendmsg(&self.0, &[io::IoSlice::new(&bytes)], &mut none, SendFlags::NOSIGNAL);
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut none = SendAncillaryBuffer::default();
        sendmsg(&self.0, &[io::IoSlice::new(bytes)], &mut none, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Asks the parent for its hooks, and waits until they ran.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn ask_for_hooks(&self) -> io::Result<()> {
        self.send(b"h")?;
        self.wait_for_go()
    }

    /// Says that everything is done but the start.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn send_waits(&self) -> io::Result<()> {
        self.send(b"w")
    }

    /// Says which number the descriptor that hears of system calls will have.
    ///
    /// # Errors
    /// When the parent is gone.
    pub fn send_listener(&self, number: u32) -> io::Result<()> {
        self.send(&[b"l".as_slice(), &number.to_ne_bytes()].concat())
    }

    /// Says which process was born. Nobody to hear it is no further failure.
    pub fn send_number(&self, pid: u32) {
        let _ = self.send(&[b"n".as_slice(), &pid.to_ne_bytes()].concat());
    }

    /// Lets the other side go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn send_go(&self) -> io::Result<()> {
        self.send(b"g")
    }

    /// Waits for the other side's go, with read(2) alone: a filter may be in force.
    ///
    /// # Errors
    /// When the other side is gone instead.
    pub fn wait_for_go(&self) -> io::Result<()> {
        let mut byte = [0];
        loop {
            match rustix::io::read(&self.0, &mut byte) {
                Ok(1) if byte == *b"g" => return Ok(()),
                Ok(_) | Err(Errno::CONNRESET) => return Err(io::Error::other("the runtime is gone")),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether something waits to be received, within this many milliseconds.
    #[must_use]
    pub fn has_message(&self, milliseconds: i64) -> bool {
        let mut polled = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
        rustix::event::poll(&mut polled, Some(&patience)).is_ok_and(|ready| ready > 0)
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
            let number = || {
                let bytes = bytes.get(1..5).and_then(|bytes| bytes.try_into().ok());
                bytes.map(u32::from_ne_bytes).ok_or(io::ErrorKind::InvalidData)
            };
            return Ok(match (bytes.first().filter(|_| length > 0), fd) {
                (Some(b't'), Some(terminal)) => Message::Terminal(terminal),
                (Some(b'm'), Some(mount)) => Message::Mount(mount),
                (Some(b'h'), _) => Message::Hooks,
                (Some(b'w'), _) => Message::Waits,
                (Some(b'g'), _) => Message::Go,
                (Some(b'l'), _) => Message::Listener(number()?),
                (Some(b'n'), _) => Message::Number(number()?),
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
