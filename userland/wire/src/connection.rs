//! One connection: its socket, the peer's credentials, and two bounded buffers.
//!
//! Invariants: never blocks. What a peer has sent but not finished is at most one message
//! ([`message::LONGEST`]) and [`MOST_FDS`] descriptors; while more than [`ENOUGH`] bytes of answers wait for it
//! its owner should read nothing more from it; a peer that lets [`TOO_MUCH`] pile up (it does not read its signals) is dropped.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::auth::{Greeting, Handshake, Rejected, Step};
use crate::message::{self, Fds, Message};

/// Unsent bytes above which a peer's requests wait.
const ENOUGH: usize = 1 << 20;
/// Unsent bytes above which a peer is given up.
const TOO_MUCH: usize = 16 << 20;
/// The most that is read from one peer in a turn.
const GULP: usize = 64 << 10;
/// The most descriptors of one peer that wait for their message, and that one message carries.
pub const MOST_FDS: usize = 16;
/// The most descriptors that wait to be sent to one peer.
const MOST_UNSENT_FDS: usize = 64;
/// Room for the control messages of [`MOST_FDS`] descriptors, in bytes.
const ANCILLARY: usize = 256;
/// The most frames that go out in one system call.
const MOST_SLICES: usize = 64;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// The peer closed it.
    #[error("closed by the peer")]
    Closed,
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// The handshake broke down.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Not D-Bus.
    #[error(transparent)]
    Malformed(#[from] message::Malformed),
    /// More descriptors than messages that want them.
    #[error("peer sends descriptors that no message asks for")]
    Descriptors,
    /// It does not read what it is sent.
    #[error("peer does not read: {0} bytes wait for it")]
    Deaf(usize),
}

/// Bytes to be sent, and the descriptors that go with the first of them. Shared, so that a signal to many is
/// marshalled once.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Arc<[u8]>,
    fds: Fds,
}

impl Frame {
    /// A message with its serial already set.
    ///
    /// # Errors
    /// The message cannot be marshalled.
    pub fn of(message: &Message) -> Result<Frame, message::Malformed> {
        Ok(Frame { bytes: message.encode()?.into(), fds: message.fds.clone() })
    }
}

/// Sends a message whole, waiting as long as it takes: for clients that do nothing else.
///
/// # Errors
/// The socket fails, or the message cannot be marshalled.
pub fn write(stream: &UnixStream, message: &Message) -> io::Result<()> {
    let bytes = message.encode().map_err(io::Error::other)?;
    let fds: Vec<BorrowedFd<'_>> = message.fds.iter().map(AsFd::as_fd).collect();
    let mut sent = 0;
    while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
        let mut space = [MaybeUninit::uninit(); ANCILLARY];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if sent == 0 && !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match sendmsg(stream, &[IoSlice::new(rest)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(length) => sent += length,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What is to be said before the first message.
#[derive(Debug)]
enum Opening {
    Server(Handshake),
    Client(Greeting),
}

/// A peer.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// The peer's uid, from the kernel.
    pub uid: u32,
    /// The peer's gid, from the kernel.
    pub gid: u32,
    /// The peer's pid, from the kernel; zero: of another PID namespace.
    pub pid: u32,
    opening: Option<Opening>,
    input: Vec<u8>,
    taken: usize,
    fds: VecDeque<OwnedFd>,
    output: VecDeque<Frame>,
    /// How much of the first frame is sent.
    sent: usize,
    unsent: usize,
    unsent_fds: usize,
    serial: u32,
}

impl Connection {
    /// The server's end of an accepted, non-blocking socket.
    ///
    /// # Errors
    /// The kernel does not tell the peer's credentials.
    pub fn server(stream: UnixStream) -> io::Result<Connection> {
        let connection = Connection::new(stream)?;
        let handshake = Handshake::new(connection.uid);
        Ok(Connection { opening: Some(Opening::Server(handshake)), ..connection })
    }

    /// The client's end of a connected, non-blocking socket: its side of the handshake is queued at once.
    ///
    /// # Errors
    /// The kernel does not tell the peer's credentials.
    pub fn client(stream: UnixStream) -> io::Result<Connection> {
        let mut connection = Connection::new(stream)?;
        connection.opening = Some(Opening::Client(Greeting::default()));
        connection.push(Frame { bytes: Greeting::ALL.into(), fds: Fds::default() });
        Ok(connection)
    }

    fn new(stream: UnixStream) -> io::Result<Connection> {
        let peer = getsockopt(&stream, PeerCredentials)?;
        Ok(Connection {
            stream,
            uid: peer.uid(),
            gid: peer.gid(),
            pid: u32::try_from(peer.pid()).unwrap_or(0),
            opening: None,
            input: Vec::new(),
            taken: 0,
            fds: VecDeque::new(),
            output: VecDeque::new(),
            sent: 0,
            unsent: 0,
            unsent_fds: 0,
            serial: 0,
        })
    }

    /// Its socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Authenticated: messages may be sent.
    pub fn is_open(&self) -> bool {
        self.opening.is_none()
    }

    /// Bytes wait to be sent.
    pub fn has_output(&self) -> bool {
        self.unsent > 0
    }

    /// It reads its answers, so its requests are read.
    pub fn wants_input(&self) -> bool {
        self.unsent < ENOUGH
    }

    /// Takes in what has come, at most a gulp, and goes through the handshake with it. True: the peer has closed
    /// its side; what it sent before still counts.
    ///
    /// # Errors
    /// The connection is over.
    pub fn receive(&mut self, guid: &str) -> Result<bool, Gone> {
        let closed = self.read()?;
        let pending = self.input.get(self.taken..).unwrap_or_default();
        let step = match &mut self.opening {
            None => return Ok(closed),
            Some(Opening::Server(handshake)) => handshake.step(pending, guid)?,
            Some(Opening::Client(greeting)) => greeting.step(pending)?,
        };
        let Step { used, answer, done } = step;
        self.taken += used;
        if !answer.is_empty() {
            self.push(Frame { bytes: answer.into_bytes().into(), fds: Fds::default() });
        }
        if done {
            self.opening = None;
        }
        Ok(closed)
    }

    /// One read: bytes and descriptors.
    fn read(&mut self) -> Result<bool, Gone> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let start = self.input.len();
        self.input.resize(start + GULP, 0);
        let mut space = [MaybeUninit::uninit(); ANCILLARY];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let room = self.input.get_mut(start..).unwrap_or_default();
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(&self.stream, &mut [IoSliceMut::new(room)], &mut ancillary, flags);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.fds.extend(rights);
            }
        }
        self.input.truncate(start + got.as_ref().map_or(0, |got| got.bytes));
        if self.input.len() < GULP {
            self.input.shrink_to(GULP);
        }
        if self.fds.len() > MOST_FDS {
            return Err(Gone::Descriptors);
        }
        match got {
            Ok(got) => Ok(got.bytes == 0),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// The next whole message.
    ///
    /// # Errors
    /// What came is no message.
    pub fn message(&mut self) -> Result<Option<Message>, Gone> {
        while self.is_open() {
            let pending = self.input.get(self.taken..).unwrap_or_default();
            let Some(length) = Message::length(pending)? else { return Ok(None) };
            let Some(frame) = pending.get(..length) else { return Ok(None) };
            let message = Message::decode(frame)?;
            self.taken += length;
            let Some(mut message) = message else { continue };
            let count = message.fd_count as usize;
            if count > self.fds.len() {
                return Err(Gone::Descriptors);
            }
            message.fds = Fds::new(self.fds.drain(..count));
            return Ok(Some(message));
        }
        Ok(None)
    }

    /// Queues a message under a serial of its own, which is returned.
    ///
    /// # Errors
    /// The peer is deaf, or the message cannot be marshalled.
    pub fn send(&mut self, mut message: Message) -> Result<u32, Gone> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        message.serial = self.serial;
        self.forward(Frame::of(&message)?)?;
        Ok(self.serial)
    }

    /// Queues a frame as it is.
    ///
    /// # Errors
    /// The peer is deaf.
    pub fn forward(&mut self, frame: Frame) -> Result<(), Gone> {
        self.unsent_fds += frame.fds.iter().count();
        self.push(frame);
        let deaf = self.unsent > TOO_MUCH || self.unsent_fds > MOST_UNSENT_FDS;
        if deaf { Err(Gone::Deaf(self.unsent)) } else { Ok(()) }
    }

    fn push(&mut self, frame: Frame) {
        self.unsent += frame.bytes.len();
        self.output.push_back(frame);
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn flush(&mut self) -> Result<(), Gone> {
        while let Some(first) = self.output.front() {
            let fds: Vec<BorrowedFd<'_>> =
                if self.sent == 0 { first.fds.iter().map(AsFd::as_fd).collect() } else { Vec::new() };
            let rest = self.output.iter().skip(1).take_while(|frame| frame.fds.is_empty());
            let slices: Vec<IoSlice<'_>> = std::iter::once(first.bytes.get(self.sent..).unwrap_or_default())
                .chain(rest.map(|frame| &*frame.bytes))
                .take(MOST_SLICES)
                .map(IoSlice::new)
                .collect();
            let mut space = [MaybeUninit::uninit(); ANCILLARY];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
                return Err(Gone::Descriptors);
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.stream, &slices, &mut ancillary, flags) {
                Ok(0) => return Err(Gone::Closed),
                Ok(length) => self.took(length),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
        Ok(())
    }

    /// The socket took that many bytes.
    fn took(&mut self, length: usize) {
        self.unsent -= length.min(self.unsent);
        self.sent += length;
        while let Some(first) = self.output.front()
            && self.sent >= first.bytes.len()
        {
            self.sent -= first.bytes.len();
            self.unsent_fds -= first.fds.iter().count().min(self.unsent_fds);
            self.output.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn pair() -> (Connection, Connection) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (mut server, mut client) =
            (Connection::server(ours).unwrap(), Connection::client(theirs).unwrap());
        while !server.is_open() || !client.is_open() {
            client.flush().unwrap();
            server.receive("0123456789abcdef0123456789abcdef").unwrap();
            server.flush().unwrap();
            client.receive("").unwrap();
        }
        (server, client)
    }

    #[test]
    fn messages_and_descriptors_travel() {
        let (mut server, mut client) = pair();
        let (mut read, write) = std::io::pipe().unwrap();
        for number in 0..200u32 {
            let mut call = Message::call("/a", "a.b", "C").with(&number).unwrap();
            if number == 100 {
                call.fds = Fds::new([OwnedFd::from(write.try_clone().unwrap())]);
            }
            client.send(call).unwrap();
        }
        drop(write);
        let mut next = 0u32;
        while next < 200 {
            client.flush().unwrap();
            server.receive("").unwrap();
            while let Some(message) = server.message().unwrap() {
                assert_eq!(message.body::<u32>().unwrap(), next);
                assert_eq!(message.fds.iter().count(), usize::from(next == 100));
                if let Some(fd) = message.fds.iter().next() {
                    let file = std::fs::File::from(fd.try_clone().unwrap());
                    assert_ne!(file.metadata().unwrap().ino(), 0);
                    std::io::Write::write_all(&mut &file, b"x").unwrap();
                }
                next += 1;
            }
        }
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x", "the last writer is closed");
    }

    #[test]
    fn a_deaf_peer_is_given_up() {
        let (mut server, _client) = pair();
        let signal = Message::signal("/a", "a.b", "C").with(&"x".repeat(1 << 20)).unwrap();
        let gone = (0..64).find_map(|_| server.send(signal.clone()).err());
        assert!(matches!(gone, Some(Gone::Deaf(_))), "{gone:?}");
        assert!(!server.wants_input());
    }
}
