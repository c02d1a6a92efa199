//! PID 1 as a client of the system bus: there it is `org.freedesktop.systemd1`, and `org.freedesktop.login1` where no
//! logind is installed.
//!
//! The bus is a service like any other: it comes and goes, and PID 1 neither waits for it nor needs it. A caller's
//! uid is what the bus says of its unique name; a call waits until that is known. Invariants: nothing blocks; what
//! waits and what is remembered is bounded; names are unique for the life of a bus, so what is known stays true.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use wire::{Connection, Gone, Message, MessageType};
use zvariant::OwnedValue;

/// Where the bus is.
pub const SOCKET: &str = "/run/dbus/system_bus_socket";
const DRIVER: &str = "org.freedesktop.DBus";
const DRIVER_PATH: &str = "/org/freedesktop/DBus";
/// The unit of the bus.
pub const UNIT: &str = "dbus.service";
/// The most callers that are remembered.
const MOST_KNOWN: usize = 4096;
/// The most calls that wait for their callers to be known.
const MOST_HELD: usize = 512;
/// Do not wait in the queue for a name.
const DO_NOT_QUEUE: u32 = 4;

/// Somebody on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// As the bus says.
    pub uid: u32,
    /// As the bus says; zero if it does not.
    pub pid: u32,
}

/// What came.
#[derive(Debug)]
pub enum Incoming {
    /// A call by somebody known.
    Call(Caller, Box<Message>),
    /// Somebody has gone from the bus.
    Left(String),
    /// A well-known name has an owner now, or none any more.
    Named(String, bool),
    /// A service is wanted for a name on the bus.
    Activate(String),
}

/// The connection.
#[derive(Debug)]
pub struct Bus {
    connection: Connection,
    known: HashMap<String, Caller>,
    held: VecDeque<Message>,
    /// Who was asked about: serial → unique name.
    asked: BTreeMap<u32, String>,
    /// Which names were asked for.
    wanted: BTreeMap<u32, String>,
    /// Who wants signals.
    subscribers: BTreeSet<String>,
}

impl Bus {
    /// Connects, and asks for the names. Nothing has been answered yet.
    ///
    /// # Errors
    /// Nobody listens there, or too many are waiting to be let in.
    pub fn connect(path: &Path, names: &[&str]) -> Result<Bus, Gone> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        connect(&socket, &address).map_err(io::Error::from)?;
        let mut connection = Connection::client(UnixStream::from(socket))?;
        let call = |member: &str| Message::call(DRIVER_PATH, DRIVER, member).to(DRIVER);
        connection.send(call("Hello"))?;
        let rule = "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',\
                    interface='org.freedesktop.DBus',member='NameOwnerChanged'";
        connection.send(call("AddMatch").with(&rule)?)?;
        for name in names {
            connection.send(call("RequestName").with(&(name, DO_NOT_QUEUE))?)?;
        }
        let (known, held, asked) = (HashMap::new(), VecDeque::new(), BTreeMap::new());
        let wanted = BTreeMap::new();
        let mut bus = Bus { connection, known, held, asked, wanted, subscribers: BTreeSet::new() };
        bus.connection.flush()?;
        Ok(bus)
    }

    /// Its socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.connection.fd()
    }

    /// It is to be read from.
    pub fn wants_input(&self) -> bool {
        self.connection.wants_input()
    }

    /// Bytes wait to be sent.
    pub fn has_output(&self) -> bool {
        self.connection.has_output()
    }

    /// Somebody wants signals.
    pub fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// `Subscribe` and `Unsubscribe`: whether it changed anything.
    pub fn subscribe(&mut self, name: &str, wants: bool) -> bool {
        match wants {
            true => self.subscribers.len() < MOST_KNOWN && self.subscribers.insert(name.to_owned()),
            false => self.subscribers.remove(name),
        }
    }

    /// Who wants signals.
    pub fn subscribers(&self) -> &BTreeSet<String> {
        &self.subscribers
    }

    /// Asks the bus who that is; one that it does not know has left.
    ///
    /// # Errors
    /// The bus does not read.
    pub fn ask_about(&mut self, name: &str) -> Result<(), Gone> {
        let question = Message::call(DRIVER_PATH, DRIVER, "GetConnectionCredentials").to(DRIVER);
        let serial = self.connection.send(question.with(&name)?)?;
        self.asked.insert(serial, name.to_owned());
        Ok(())
    }

    /// Asks the bus whether somebody owns that name.
    ///
    /// # Errors
    /// The bus does not read.
    pub fn ask_for(&mut self, name: &str) -> Result<(), Gone> {
        let serial = self
            .connection
            .send(Message::call(DRIVER_PATH, DRIVER, "NameHasOwner").to(DRIVER).with(&name)?)?;
        self.wanted.insert(serial, name.to_owned());
        Ok(())
    }

    /// Queues a message.
    ///
    /// # Errors
    /// The bus does not read.
    pub fn send(&mut self, message: Message) -> Result<(), Gone> {
        self.connection.send(message).map(|_| ())
    }

    /// Sends what the socket takes now.
    ///
    /// # Errors
    /// The bus is gone.
    pub fn flush(&mut self) -> Result<(), Gone> {
        self.connection.flush()
    }

    /// Takes in what has come, at most a gulp. True: the bus has closed the connection.
    ///
    /// # Errors
    /// The bus is gone.
    pub fn receive(&mut self) -> Result<bool, Gone> {
        self.connection.receive("")
    }

    /// The next thing that is of interest to the face.
    ///
    /// # Errors
    /// The bus sends what is no message.
    pub fn incoming(&mut self) -> Result<Option<Incoming>, Gone> {
        while self.connection.wants_input() {
            if let Some(call) = self.next_held() {
                return Ok(Some(call));
            }
            let Some(message) = self.connection.message()? else { return Ok(None) };
            if let Some(incoming) = self.take(message)? {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// The first call of those that waited whose caller is known by now.
    fn next_held(&mut self) -> Option<Incoming> {
        let at = self.held.iter().position(|message| self.known.contains_key(&message.sender))?;
        let message = self.held.remove(at)?;
        Some(Incoming::Call(*self.known.get(&message.sender)?, Box::new(message)))
    }

    fn take(&mut self, message: Message) -> Result<Option<Incoming>, Gone> {
        let from_bus = message.sender == DRIVER;
        match message.kind {
            MessageType::Return | MessageType::Error if from_bus => {
                if let Some(name) = self.wanted.remove(&message.reply_serial) {
                    return Ok(Some(Incoming::Named(name, message.body().unwrap_or(false))));
                }
                let name = self.asked.remove(&message.reply_serial);
                Ok(name.and_then(|name| self.learn(name, &message)))
            }
            MessageType::Signal if from_bus => Ok(self.on_signal(&message)),
            MessageType::Call => self.on_call(message),
            _ => Ok(None),
        }
    }

    fn on_call(&mut self, message: Message) -> Result<Option<Incoming>, Gone> {
        if let Some(caller) = self.known.get(&message.sender) {
            return Ok(Some(Incoming::Call(*caller, Box::new(message))));
        }
        if self.held.len() >= MOST_HELD {
            let name = "org.freedesktop.DBus.Error.LimitsExceeded";
            let refusal = Message::refusal(message.serial, name, "Too many calls are waiting.");
            self.send(refusal.to(&message.sender))?;
            return Ok(None);
        }
        if !self.asked.values().any(|name| *name == message.sender) {
            self.ask_about(&message.sender)?;
        }
        self.held.push_back(message);
        Ok(None)
    }

    /// The answer about a caller. One that the bus does not know any more is nobody.
    fn learn(&mut self, name: String, answer: &Message) -> Option<Incoming> {
        let credentials: HashMap<String, OwnedValue> = answer.body().unwrap_or_default();
        let number = |key: &str| credentials.get(key).and_then(|value| u32::try_from(value).ok());
        match number("UnixUserID") {
            Some(uid) => {
                if self.known.len() >= MOST_KNOWN {
                    self.known.clear();
                }
                self.known.insert(name, Caller { uid, pid: number("ProcessID").unwrap_or(0) });
                None
            }
            None => {
                self.held.retain(|message| message.sender != name);
                self.subscribers.remove(&name);
                Some(Incoming::Left(name))
            }
        }
    }

    fn on_signal(&mut self, message: &Message) -> Option<Incoming> {
        match message.member.as_str() {
            "NameOwnerChanged" => {
                let (name, _, new): (String, String, String) = message.body().ok()?;
                if !name.starts_with(':') {
                    return Some(Incoming::Named(name, !new.is_empty()));
                }
                if !new.is_empty() {
                    return None;
                }
                self.known.remove(&name);
                self.subscribers.remove(&name);
                self.held.retain(|message| message.sender != name);
                Some(Incoming::Left(name))
            }
            "ActivationRequest" => message.body().ok().map(Incoming::Activate),
            _ => None,
        }
    }
}
