//! The engine's end of the system bus: messages that come and go, with a limit to every wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::{Connection, Gone, Malformed, Message, MessageType};

/// The bus of the system.
pub const BUS: &str = "/run/dbus/system_bus_socket";
const DRIVER: &str = "org.freedesktop.DBus";
/// How long the bus, or a service on it, may take to answer.
const ANSWER: Duration = Duration::from_secs(25);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// Nobody is there.
    #[error("cannot reach the bus at {path}: {source}")]
    Unreachable {
        /// The socket.
        path: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the bus is gone: {0}")]
    Gone(#[from] Gone),
    /// Waiting for it failed.
    #[error("the bus cannot be waited for: {0}")]
    Wait(#[from] rustix::io::Errno),
    /// It does not answer.
    #[error("no answer within {} s", ANSWER.as_secs())]
    Late,
    /// It cannot be read or written.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The other side says no.
    #[error("{text}")]
    Refused {
        /// The error's name.
        name: String,
        /// What it says.
        text: String,
    },
}

/// A connection to the bus.
#[derive(Debug)]
pub struct Peer {
    connection: Connection,
    /// What came while an answer was waited for.
    kept: Vec<Message>,
}

impl Peer {
    /// Connects and says hello.
    ///
    /// # Errors
    /// There is no bus, or it does not let us in.
    pub fn connect(path: &Path) -> Result<Peer, BusError> {
        let unreachable = |source| BusError::Unreachable { path: path.display().to_string(), source };
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_nonblocking(true).map_err(unreachable)?;
        let connection = Connection::client(stream).map_err(unreachable)?;
        let mut peer = Peer { connection, kept: Vec::new() };
        let end = Instant::now() + ANSWER;
        while !peer.connection.is_open() {
            if Instant::now() > end {
                return Err(BusError::Late);
            }
            peer.turn(Some(ANSWER), &[])?;
        }
        peer.driver("Hello", Ok)?;
        Ok(peer)
    }

    /// Calls a method of the bus itself.
    ///
    /// # Errors
    /// As [`BusError`] says.
    pub fn driver(
        &mut self,
        member: &str,
        with: impl FnOnce(Message) -> Result<Message, Malformed>,
    ) -> Result<Message, BusError> {
        self.call(with(Message::call("/org/freedesktop/DBus", DRIVER, member).to(DRIVER))?)
    }

    /// Calls a method and waits for its answer; what else comes is kept.
    ///
    /// # Errors
    /// As [`BusError`] says.
    pub fn call(&mut self, call: Message) -> Result<Message, BusError> {
        let serial = self.connection.send(call)?;
        let end = Instant::now() + ANSWER;
        loop {
            while let Some(message) = self.connection.message()? {
                match message.kind {
                    MessageType::Return if message.reply_serial == serial => return Ok(message),
                    MessageType::Error if message.reply_serial == serial => {
                        let text = message.body().unwrap_or_else(|_| message.error.clone());
                        return Err(BusError::Refused { name: message.error, text });
                    }
                    _ => self.kept.push(message),
                }
            }
            let left = end.checked_duration_since(Instant::now()).ok_or(BusError::Late)?;
            self.turn(Some(left), &[])?;
        }
    }

    /// Sends a message that is no question.
    ///
    /// # Errors
    /// The bus is gone.
    pub fn send(&mut self, message: Message) -> Result<(), BusError> {
        self.connection.send(message)?;
        Ok(self.connection.flush()?)
    }

    /// The next message; `None`: the time is over, or `wake` can be read.
    ///
    /// # Errors
    /// The bus is gone.
    pub fn next(
        &mut self,
        wait: Option<Duration>,
        wake: &[BorrowedFd<'_>],
    ) -> Result<Option<Message>, BusError> {
        if !self.kept.is_empty() {
            return Ok(Some(self.kept.remove(0)));
        }
        if let Some(message) = self.connection.message()? {
            return Ok(Some(message));
        }
        self.turn(wait, wake)?;
        Ok(self.connection.message()?)
    }

    /// Sends what waits, and takes in what comes.
    fn turn(&mut self, wait: Option<Duration>, wake: &[BorrowedFd<'_>]) -> Result<(), BusError> {
        self.connection.flush()?;
        let mut flags = PollFlags::IN;
        if self.connection.has_output() {
            flags |= PollFlags::OUT;
        }
        let fd = self.connection.fd();
        let mut polled = vec![PollFd::from_borrowed_fd(fd.as_fd(), flags)];
        polled.extend(wake.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let limit = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        });
        match poll(&mut polled, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polled.first().is_some_and(|fd| !fd.revents().is_empty());
        drop(polled);
        if ready && self.connection.receive("")? {
            return Err(Gone::Closed.into());
        }
        Ok(self.connection.flush()?)
    }
}
