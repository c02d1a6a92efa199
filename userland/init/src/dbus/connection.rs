//! One client: its socket, its credentials, and two bounded buffers.
//!
//! Invariants: never blocks. What a client has sent but not finished is at most one message
//! ([`message::LONGEST`]); while more than [`ENOUGH`] bytes of answers wait for it nothing more is read from it;
//! a client that lets [`TOO_MUCH`] pile up (it does not read its signals) is dropped.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::auth::Handshake;
use super::message::{self, Message};

/// Unsent bytes above which a client's requests wait.
const ENOUGH: usize = 1 << 20;
/// Unsent bytes above which a client is given up.
const TOO_MUCH: usize = 16 << 20;
/// The most that is read from one client in a turn.
const GULP: usize = 64 << 10;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Gone {
    /// The client closed it.
    #[error("closed by the client")]
    Closed,
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// The handshake broke down.
    #[error(transparent)]
    Rejected(#[from] super::auth::Rejected),
    /// Not D-Bus.
    #[error(transparent)]
    Malformed(#[from] message::Malformed),
    /// It does not read what it is sent.
    #[error("client does not read: {0} bytes wait for it")]
    Deaf(usize),
}

/// A client.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    /// The peer's uid, from the kernel.
    pub uid: u32,
    /// The peer's pid, from the kernel.
    pub pid: u32,
    handshake: Option<Handshake>,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
    serial: u32,
}

impl Connection {
    /// Of an accepted, non-blocking socket.
    ///
    /// # Errors
    /// The kernel does not tell the peer's credentials.
    pub fn new(stream: UnixStream) -> io::Result<Connection> {
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let (uid, pid) = (peer.uid.as_raw(), u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0));
        let handshake = Some(Handshake::new(uid));
        Ok(Connection {
            stream,
            uid,
            pid,
            handshake,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            serial: 0,
        })
    }

    /// Its socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Authenticated: signals may be sent.
    pub fn is_open(&self) -> bool {
        self.handshake.is_none()
    }

    /// Answers wait to be sent.
    pub fn has_output(&self) -> bool {
        self.unsent() > 0
    }

    /// It reads its answers, so its requests are read.
    pub fn wants_input(&self) -> bool {
        self.unsent() < ENOUGH
    }

    fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Takes in what has come, at most a gulp, and goes through the handshake with it. True: the client has closed
    /// its side; what it sent before still counts.
    ///
    /// # Errors
    /// The connection is over.
    pub fn receive(&mut self, guid: &str) -> Result<bool, Gone> {
        let mut gulp = vec![0u8; GULP];
        let closed = match self.stream.read(&mut gulp) {
            Ok(0) => true,
            Ok(length) => {
                self.input.extend_from_slice(gulp.get(..length).unwrap_or_default());
                false
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => false,
            Err(error) => return Err(error.into()),
        };
        if let Some(handshake) = &mut self.handshake {
            let step = handshake.step(&self.input, guid)?;
            self.input.drain(..step.used);
            self.output.extend_from_slice(step.answer.as_bytes());
            if step.done {
                self.handshake = None;
            }
        }
        Ok(closed)
    }

    /// The next whole message, if the client may have it answered now.
    ///
    /// # Errors
    /// What came is no message.
    pub fn message(&mut self) -> Result<Option<Message>, Gone> {
        while self.is_open() && self.wants_input() {
            let Some(length) = Message::length(&self.input)? else { return Ok(None) };
            let Some(frame) = self.input.get(..length) else { return Ok(None) };
            let message = Message::decode(frame)?;
            self.input.drain(..length);
            if self.input.is_empty() {
                self.input.shrink_to(GULP);
            }
            if message.is_some() {
                return Ok(message);
            }
        }
        Ok(None)
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The client is deaf, or the message cannot be marshalled.
    pub fn send(&mut self, mut message: Message) -> Result<(), Gone> {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        message.serial = self.serial;
        self.output.extend_from_slice(&message.encode()?);
        if self.unsent() > TOO_MUCH { Err(Gone::Deaf(self.unsent())) } else { Ok(()) }
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// The client is gone.
    pub fn flush(&mut self) -> Result<(), Gone> {
        while self.has_output() {
            match self.stream.write(self.output.get(self.sent..).unwrap_or_default()) {
                Ok(0) => return Err(Gone::Closed),
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        if self.sent > ENOUGH || !self.has_output() {
            self.output.drain(..self.sent);
            self.output.shrink_to(GULP);
            self.sent = 0;
        }
        Ok(())
    }
}
