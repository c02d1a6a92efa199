//! The broker: clients, and the way of every message from one to others.
//!
//! The story: [`Broker::ready`] reads from who is readable; each message gets its sender's true name and goes to the
//! bus itself ([`driver`](crate::driver)), to one client, or to all whose [`rules`](crate::rule) fit; at the end of
//! the turn what was queued is sent.
//!
//! Invariants: one thread, nothing blocks; every queue is bounded. A client that does not read is dropped, and takes
//! nobody along: calls to a client that is behind are refused rather than queued, and so are answers that nobody
//! asked for. A bus that the service manager started serves the manager first: whoever woke the bus mostly wants to
//! speak to it. Root's connections (PID 1 is one) are always read, so that two that are behind do not wait for each
//! other.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use wire::connection::Frame;
use wire::message::NO_AUTO_START;
use wire::{Connection, Fds, Gone, Message, MessageType};

use crate::activation::{Activation, Start};
use crate::names::{Change, Id, Names};
use crate::policy::Policy;
use crate::rule::Rule;

/// The bus's own name.
pub const NAME: &str = "org.freedesktop.DBus";
/// The bus's own object.
pub const PATH: &str = "/org/freedesktop/DBus";

/// The most clients.
const MOST_CLIENTS: usize = 1024;
/// The most clients of one user other than root.
const MOST_OF_USER: usize = 128;
/// The most clients that have not said Hello; the oldest makes room.
const MOST_SILENT: usize = 64;
/// The most calls of one client that wait for their answers.
const MOST_CALLS: usize = 1024;
/// The name of the service manager, PID 1.
const MANAGER: &str = "org.freedesktop.systemd1";
/// How long all others wait for the manager at the start.
const MANAGER_FIRST: Duration = Duration::from_secs(5);
/// epoll's mark of the listener.
const LISTENER: u64 = 0;

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) connection: Connection,
    /// `:1.7`; empty before Hello.
    pub(crate) name: String,
    pub(crate) rules: Vec<(String, Rule)>,
    /// It sees everything that fits and says nothing.
    pub(crate) monitor: bool,
    calls: usize,
}

/// The bus.
#[derive(Debug)]
pub struct Broker {
    epoll: OwnedFd,
    listener: UnixListener,
    pub(crate) guid: String,
    pub(crate) clients: BTreeMap<Id, Client>,
    pub(crate) names: Names,
    pub(crate) policy: Policy,
    pub(crate) activation: Activation,
    last: Id,
    serial: u32,
    /// Calls that wait for their answers: caller and its serial → who is to answer.
    calls: HashMap<(Id, u32), Id>,
    /// Who has something to be sent, or is to be looked at.
    stirred: BTreeSet<Id>,
    gone: Vec<(Id, Gone)>,
    /// Until then, and until the manager has its name, nobody else is served.
    manager_first: Option<Instant>,
}

impl Broker {
    /// Serves a listening socket.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(listener: UnixListener, policy: Policy, activation: Activation) -> io::Result<Broker> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Broker {
            epoll,
            listener,
            guid: wire::guid(),
            clients: BTreeMap::new(),
            names: Names::default(),
            policy,
            activation,
            last: LISTENER,
            serial: 0,
            calls: HashMap::new(),
            stirred: BTreeSet::new(),
            gone: Vec::new(),
            manager_first: None,
        })
    }

    /// Serves the service manager, which started us, before all others.
    #[must_use]
    pub fn manager_first(mut self) -> Broker {
        self.manager_first = Some(Instant::now() + MANAGER_FIRST);
        self
    }

    /// Waits for clients and serves those who are ready.
    ///
    /// # Errors
    /// epoll fails, which it does not.
    pub fn turn(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(64);
        let for_manager = self.manager_first.map(|until| until.saturating_duration_since(Instant::now()));
        let deadline = [self.activation.deadline(), for_manager].into_iter().flatten().min();
        let timeout = deadline.map(|left| Timespec { tv_sec: left.as_secs() as i64 + 1, tv_nsec: 0 });
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events {
            match event.data.u64() {
                LISTENER => self.accept(),
                id => self.read(id),
            }
        }
        if self.manager_first.is_some_and(|until| until <= Instant::now()) {
            self.serve_all();
        }
        for message in self.activation.expired() {
            self.refuse(
                &message,
                "org.freedesktop.DBus.Error.TimedOut",
                "The service was not there in time.",
            );
        }
        self.settle();
        Ok(())
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let client = stream.set_nonblocking(true).and_then(|()| Connection::server(stream));
            let Ok(connection) = client else { continue };
            let uid = connection.uid;
            let of_user = self.clients.values().filter(|client| client.connection.uid == uid).count();
            if self.clients.len() >= MOST_CLIENTS || (uid != 0 && of_user >= MOST_OF_USER) {
                continue;
            }
            let silent = |client: &Client| client.name.is_empty();
            if self.clients.values().filter(|client| silent(client)).count() >= MOST_SILENT
                && let Some(oldest) =
                    self.clients.iter().find(|(_, client)| silent(client)).map(|(id, _)| *id)
            {
                self.clients.remove(&oldest);
            }
            self.last += 1;
            let mark = epoll::EventData::new_u64(self.last);
            let is_served = self.manager_first.is_none() || connection.pid == 1;
            let flags = if is_served { epoll::EventFlags::IN } else { epoll::EventFlags::empty() };
            if epoll::add(&self.epoll, connection.fd(), mark, flags).is_ok() {
                let client =
                    Client { connection, name: String::new(), rules: Vec::new(), monitor: false, calls: 0 };
                self.clients.insert(self.last, client);
            }
        }
    }

    /// The manager is there, or has had its time: now the others.
    fn serve_all(&mut self) {
        self.manager_first = None;
        self.stirred.extend(self.clients.keys());
    }

    /// Takes in what a client has sent, and passes it on.
    fn read(&mut self, id: Id) {
        self.stirred.insert(id);
        let Some(client) = self.clients.get_mut(&id) else { return };
        let closed = match may_send(client) {
            true => client.connection.receive(&self.guid),
            false => Ok(false),
        };
        let closed = match closed {
            Ok(closed) => closed,
            Err(gone) => return self.gone.push((id, gone)),
        };
        self.pass_on(id);
        if closed {
            self.gone.push((id, Gone::Closed));
        }
    }

    /// Passes on what a client has said so far.
    fn pass_on(&mut self, id: Id) {
        while let Some(client) = self.clients.get_mut(&id).filter(|client| may_send(client)) {
            match client.connection.message() {
                Ok(Some(message)) => self.route(id, message),
                Ok(None) => return,
                Err(gone) => return self.gone.push((id, gone)),
            }
        }
    }

    fn route(&mut self, id: Id, mut message: Message) {
        let Some(client) = self.clients.get(&id) else { return };
        if client.monitor {
            return self.gone.push((id, Gone::Closed));
        }
        let is_hello = message.destination == NAME && message.member == "Hello";
        if client.name.is_empty() && !is_hello {
            return self.gone.push((id, Gone::Closed));
        }
        message.sender.clone_from(&client.name);
        if message.destination == NAME {
            self.watch(&message);
            match message.kind {
                MessageType::Call => crate::driver::answer(self, id, &message),
                MessageType::Signal if message.member == "ActivationFailure" => {
                    self.activation_failed(&message)
                }
                _ => {}
            }
            return;
        }
        if message.destination.is_empty() {
            if message.kind == MessageType::Signal {
                self.broadcast(&message);
            }
            return;
        }
        match self.find(&message.destination) {
            Some(to) => self.unicast(id, to, &message),
            None => self.start(message),
        }
    }

    /// The client of a unique or well-known name.
    pub(crate) fn find(&self, name: &str) -> Option<Id> {
        if !name.starts_with(':') {
            return self.names.owner(name);
        }
        let id = name.strip_prefix(":1.")?.parse().ok()?;
        self.clients.get(&id).filter(|client| client.name == name && !client.monitor).map(|_| id)
    }

    /// To one client.
    fn unicast(&mut self, from: Id, to: Id, message: &Message) {
        let behind = self.clients.get(&to).is_some_and(|client| !client.connection.wants_input());
        match message.kind {
            MessageType::Call if behind => {
                return self.refuse(
                    message,
                    "org.freedesktop.DBus.Error.LimitsExceeded",
                    "The receiver has too many messages waiting.",
                );
            }
            MessageType::Call if message.wants_reply() => {
                let Some(caller) = self.clients.get_mut(&from) else { return };
                if caller.calls >= MOST_CALLS || self.calls.contains_key(&(from, message.serial)) {
                    let text = "Too many calls wait for their answers.";
                    return self.refuse(message, "org.freedesktop.DBus.Error.LimitsExceeded", text);
                }
                caller.calls += 1;
                self.calls.insert((from, message.serial), to);
            }
            MessageType::Return | MessageType::Error => {
                // Only what was asked for.
                let call = (to, message.reply_serial);
                if self.calls.get(&call) != Some(&from) {
                    return;
                }
                self.answered(call);
            }
            MessageType::Signal if behind => return,
            MessageType::Call | MessageType::Signal => {}
        }
        let activator = message.interface == "org.freedesktop.systemd1.Activator";
        match (activator, message.kind, message.member.as_str()) {
            // Only the bus asks for units.
            (true, MessageType::Signal, "ActivationRequest") => return,
            _ => self.watch(message),
        }
        self.deliver(to, message);
    }

    fn answered(&mut self, call: (Id, u32)) {
        self.calls.remove(&call);
        if let Some(caller) = self.clients.get_mut(&call.0) {
            caller.calls = caller.calls.saturating_sub(1);
        }
    }

    /// To all whose rules fit.
    fn broadcast(&mut self, message: &Message) {
        self.watch(message);
        let Ok(frame) = Frame::of(message) else { return };
        let names = &self.names;
        let is = |name: &str, unique: &str| {
            name == unique || names.owner(name).is_some_and(|owner| unique == unique_name(owner))
        };
        let fits = |client: &Client| {
            !client.monitor && client.rules.iter().any(|(_, rule)| rule.matches(message, is))
        };
        let to: Vec<Id> = self.clients.iter().filter(|(_, client)| fits(client)).map(|(id, _)| *id).collect();
        for id in to {
            self.push(id, frame.clone());
        }
    }

    /// Shows a message to the monitors.
    fn watch(&mut self, message: &Message) {
        if !self.clients.values().any(|client| client.monitor) {
            return;
        }
        // What monitors see carries no descriptors: they are not theirs.
        let mut copy = message.clone();
        copy.fds = Fds::default();
        let Ok(frame) = Frame::of(&copy) else { return };
        let names = &self.names;
        let is =
            |name: &str, unique: &str| names.owner(name).is_some_and(|owner| unique == unique_name(owner));
        let fits = |client: &Client| {
            client.monitor
                && (client.rules.is_empty() || client.rules.iter().any(|(_, rule)| rule.matches(message, is)))
        };
        let to: Vec<Id> = self.clients.iter().filter(|(_, client)| fits(client)).map(|(id, _)| *id).collect();
        for id in to {
            self.push(id, frame.clone());
        }
    }

    fn deliver(&mut self, to: Id, message: &Message) {
        match Frame::of(message) {
            Ok(frame) => self.push(to, frame),
            Err(malformed) => {
                self.refuse(message, "org.freedesktop.DBus.Error.Failed", &malformed.to_string())
            }
        }
    }

    fn push(&mut self, to: Id, frame: Frame) {
        self.stirred.insert(to);
        let Some(client) = self.clients.get_mut(&to) else { return };
        if let Err(gone) = client.connection.forward(frame) {
            self.gone.push((to, gone));
        }
    }

    /// A message for a name that nobody has: a service may be started for it.
    fn start(&mut self, message: Message) {
        let may = message.kind == MessageType::Call && message.flags & NO_AUTO_START == 0;
        let name = message.destination.clone();
        let start = if may { self.activation.wait(&name, message.clone()) } else { Start::Unknown };
        match start {
            Start::Waits => {}
            Start::Ask(unit) => self.ask_for(&unit),
            Start::Full => {
                let text = "Too many messages wait for services to start.";
                self.refuse(&message, "org.freedesktop.DBus.Error.LimitsExceeded", text);
            }
            Start::Unknown => {
                let text = format!("The name {name} was not provided by any .service files");
                self.refuse(&message, "org.freedesktop.DBus.Error.ServiceUnknown", &text);
            }
        }
    }

    /// Asks PID 1 to start a unit.
    pub(crate) fn ask_for(&mut self, unit: &str) {
        let manager = self.names.owner(MANAGER);
        let request = Message::signal(PATH, "org.freedesktop.systemd1.Activator", "ActivationRequest")
            .to(MANAGER)
            .with(&unit);
        match (manager, request) {
            (Some(manager), Ok(request)) => self.say(manager, request),
            _ => {
                for message in self.activation.failed(unit) {
                    let text = format!("{unit} cannot be started: the service manager is not on the bus.");
                    self.refuse(&message, "org.freedesktop.DBus.Error.Spawn.Failed", &text);
                }
            }
        }
    }

    /// PID 1 could not start a unit; nobody else is believed.
    fn activation_failed(&mut self, message: &Message) {
        let manager = self.names.owner(MANAGER).map(unique_name);
        if manager.as_deref() != Some(message.sender.as_str()) {
            return;
        }
        if let Ok((unit, error, text)) = message.body::<(String, String, String)>() {
            for waiting in self.activation.failed(&unit) {
                self.refuse(&waiting, &error, &text);
            }
        }
    }

    /// Answers a call with an error of the bus's own.
    pub(crate) fn refuse(&mut self, call: &Message, error: &str, text: &str) {
        if call.wants_reply()
            && let Some(to) = self.find(&call.sender)
        {
            self.say(to, Message::refusal(call.serial, error, text));
        }
    }

    /// Says something as the bus.
    pub(crate) fn say(&mut self, to: Id, message: Message) {
        let Some(client) = self.clients.get(&to) else { return };
        let message = message.to(&client.name);
        let message = self.own(message);
        self.watch(&message);
        self.deliver(to, &message);
    }

    /// The same message from the bus, with the bus's own serial.
    fn own(&mut self, message: Message) -> Message {
        self.serial = self.serial.checked_add(1).unwrap_or(1);
        let mut message = message.from(NAME);
        message.serial = self.serial;
        message
    }

    /// Tells everybody that a name has another owner, and the owners themselves.
    pub(crate) fn tell(&mut self, change: &Change) {
        let [old, new] = [change.old, change.new].map(|id| id.map(unique_name).unwrap_or_default());
        let signal = |member: &str| Message::signal(PATH, NAME, member);
        if let Ok(changed) = signal("NameOwnerChanged").with(&(change.name.as_str(), old, new)) {
            let changed = self.own(changed);
            self.broadcast(&changed);
        }
        for (to, member) in [(change.old, "NameLost"), (change.new, "NameAcquired")] {
            if let (Some(to), Ok(message)) = (to, signal(member).with(&change.name.as_str())) {
                self.say(to, message);
            }
        }
        if change.name == MANAGER && change.new.is_some() && self.manager_first.is_some() {
            self.serve_all();
        }
        if let Some(owner) = change.new {
            for message in self.activation.arrived(&change.name) {
                if let Some(from) = self.find(&message.sender) {
                    self.unicast(from, owner, &message);
                }
            }
        }
    }

    /// Sends what was queued; lets go of who is gone, until nothing moves any more.
    fn settle(&mut self) {
        loop {
            while let Some((id, _)) = self.gone.pop() {
                self.forget(id);
            }
            let Some(id) = self.stirred.pop_first() else { return };
            let Some(client) = self.clients.get_mut(&id) else { continue };
            let waited = !may_send(client);
            let mut flags = epoll::EventFlags::empty();
            let flushed = client.connection.flush();
            flags.set(epoll::EventFlags::IN, may_send(client));
            flags.set(epoll::EventFlags::OUT, client.connection.has_output());
            let mark = epoll::EventData::new_u64(id);
            let watched = epoll::modify(&self.epoll, client.connection.fd(), mark, flags);
            let heard_again = waited && may_send(client);
            if let Err(gone) = flushed.and_then(|()| watched.map_err(|error| io::Error::from(error).into())) {
                self.gone.push((id, gone));
            } else if heard_again {
                // What it said while it was not listened to lies in its buffer, where epoll does not see it.
                self.pass_on(id);
            }
        }
    }

    /// Lets go of a client: its names, its calls and the calls to it.
    pub(crate) fn forget(&mut self, id: Id) {
        // Closing the socket takes it out of the epoll set.
        let Some(client) = self.clients.remove(&id) else { return };
        for change in self.names.forget(id) {
            self.tell(&Change { old: Some(id), ..change });
        }
        if !client.name.is_empty() && !client.monitor {
            self.tell(&Change { name: client.name, old: Some(id), new: None });
        }
        self.calls.retain(|(caller, _), _| *caller != id);
        let unanswered: Vec<(Id, u32)> =
            self.calls.iter().filter(|(_, callee)| **callee == id).map(|(call, _)| *call).collect();
        for call in unanswered {
            self.answered(call);
            let text = "Message recipient disconnected from message bus without replying";
            self.say(call.0, Message::refusal(call.1, "org.freedesktop.DBus.Error.NoReply", text));
        }
    }

    /// A client no longer speaks, but watches.
    pub(crate) fn make_monitor(&mut self, id: Id, rules: Vec<(String, Rule)>) {
        for change in self.names.forget(id) {
            self.tell(&change);
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.monitor = true;
        client.rules = rules;
        let name = client.name.clone();
        self.tell(&Change { name, old: Some(id), new: None });
    }
}

/// Whether a client is listened to: it reads its answers, or is root's.
fn may_send(client: &Client) -> bool {
    client.connection.uid == 0 || client.connection.wants_input()
}

/// A client's unique name.
pub(crate) fn unique_name(id: Id) -> String {
    format!(":1.{id}")
}

impl AsFd for Broker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
