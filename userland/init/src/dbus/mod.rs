//! PID 1's D-Bus face: `/run/systemd/private`, where `systemctl` and its like talk to the manager.
//!
//! The story: [`Server`] accepts clients on one epoll descriptor; a [`connection`] goes through the [`auth`]
//! handshake and then yields [`message`]s; [`methods`] finds the method in one table and runs it against the
//! [`World`]; what happens in the manager comes back as [`Notice`]s and goes out as answers and signals.
//! The objects are virtual ([`path`]): nothing is registered, any unit name has a path, as with systemd, whose
//! `GetAll("")` on a unit that is not loaded loads it. [`property`] holds what they tell.
//!
//! Invariants: one thread, nothing blocks; the kernel's word for the peer's uid decides (uid 0 changes things,
//! everybody reads); clients, buffers and pending answers are bounded. Private clients get every signal without
//! `Subscribe`, as with systemd. Sources: the D-Bus specification, org.freedesktop.systemd1(5).

pub mod auth;
pub mod connection;
mod face;
pub mod facts;
pub mod glob;
pub mod message;
pub mod methods;
pub mod path;
pub mod property;
pub mod signals;
pub mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use connection::{Connection, Gone};
pub use face::Face;
use message::{Message, MessageType};
use methods::{Answer, Call};
use world::{Notice, World};

/// The name that systemd has on a bus.
pub const NAME: &str = "org.freedesktop.systemd1";
/// The manager's object path; units and jobs are below it.
pub const ROOT: &str = "/org/freedesktop/systemd1";
/// Where the socket is.
pub const SOCKET: &str = "/run/systemd/private";

/// The most clients at a time.
const MOST_CLIENTS: usize = 256;
/// The most of them that may be others than root, so that root always gets in.
const MOST_STRANGERS: usize = 128;
/// The most units that requests by others than root may bring into memory: GetAll loads what it names.
const MOST_STRANGE_LOADS: u32 = 4096;
/// epoll's mark of the listener.
const LISTENER: u64 = 0;

/// The socket and its clients.
pub struct Server {
    epoll: OwnedFd,
    listener: UnixListener,
    guid: String,
    clients: BTreeMap<u64, Connection>,
    last: u64,
    /// Calls that a job answers: ticket → client, serial.
    waiting: HashMap<u64, (u64, u32)>,
    strange_loads: u32,
}

impl Server {
    /// Binds the socket, in place of one left behind. Everybody may connect.
    ///
    /// # Errors
    /// The directory is missing or not writable, or no descriptor is left.
    pub fn listen(path: &Path) -> io::Result<Server> {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        let guid = guid();
        let (clients, waiting) = (BTreeMap::new(), HashMap::new());
        Ok(Server { epoll, listener, guid, clients, last: LISTENER, waiting, strange_loads: 0 })
    }

    /// Readable when there is something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Serves who is ready, once.
    pub fn ready(&mut self, world: &mut dyn World) {
        let mut events = Vec::with_capacity(64);
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now)).is_err() {
            return;
        }
        for event in events {
            match event.data.u64() {
                LISTENER => self.accept(),
                id => self.serve(id, world),
            }
        }
    }

    /// Passes on what happened: answers to the calls that waited for it, signals to all.
    pub fn tell(&mut self, world: &dyn World, notices: &[Notice]) {
        let mut changed = BTreeSet::new();
        for notice in notices {
            match notice {
                Notice::Queued { job, ticket, unit } => {
                    self.broadcast(signals::job_new(*job, unit));
                    let answer = message::Body::of(&signals::object(path::of_job(*job)));
                    self.answer(*ticket, |serial| Message::reply(serial).with_body(answer?));
                }
                Notice::Refused { ticket, failure } => {
                    self.answer(Some(*ticket), |serial| {
                        Ok(Message::refusal(serial, failure.name, &failure.text))
                    });
                }
                Notice::Done { job, unit, result } => {
                    self.broadcast(signals::job_removed(*job, unit, result))
                }
                // A unit may change many times in one event: its last state is the news.
                Notice::Changed(unit) => _ = changed.insert(unit),
                Notice::Reloading(active) => self.broadcast(signals::reloading(*active)),
                Notice::UnitFilesChanged => self.broadcast(signals::unit_files_changed()),
            }
        }
        if self.clients.values().any(Connection::is_open) {
            for unit in changed {
                for signal in signals::changed(world, unit) {
                    self.broadcast(Ok(signal));
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let Ok(client) = stream.set_nonblocking(true).and_then(|()| Connection::new(stream)) else {
                continue;
            };
            let strangers = self.clients.values().filter(|other| other.uid != 0).count();
            if self.clients.len() >= MOST_CLIENTS || (client.uid != 0 && strangers >= MOST_STRANGERS) {
                continue;
            }
            self.last += 1;
            let mark = epoll::EventData::new_u64(self.last);
            if epoll::add(&self.epoll, client.fd(), mark, epoll::EventFlags::IN).is_ok() {
                self.clients.insert(self.last, client);
            }
        }
    }

    fn serve(&mut self, id: u64, world: &mut dyn World) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let outcome =
            Self::converse(client, id, &self.guid, &mut self.waiting, &mut self.strange_loads, world);
        self.settle(id, outcome);
    }

    /// Reads, answers what can be answered, writes.
    fn converse(
        client: &mut Connection,
        id: u64,
        guid: &str,
        waiting: &mut HashMap<u64, (u64, u32)>,
        strange_loads: &mut u32,
        world: &mut dyn World,
    ) -> Result<(), Gone> {
        client.flush()?;
        let closed = client.wants_input() && client.receive(guid)?;
        while let Some(message) = client.message()? {
            if message.kind != MessageType::Call {
                continue;
            }
            let may_load = client.uid == 0 || *strange_loads < MOST_STRANGE_LOADS;
            let mut call =
                Call { message: &message, uid: client.uid, pid: client.pid, may_load, loaded: 0, world };
            let outcome = methods::dispatch(&mut call);
            if client.uid != 0 {
                *strange_loads += call.loaded;
            }
            match outcome {
                Ok(Answer::Later(ticket)) if !message.no_reply => {
                    waiting.insert(ticket, (id, message.serial));
                }
                _ if message.no_reply => {}
                Ok(Answer::Later(_)) => {}
                Ok(Answer::Now(body)) => client.send(Message::reply(message.serial).with_body(body)?)?,
                Err(failure) => client.send(Message::refusal(message.serial, failure.name, &failure.text))?,
            }
        }
        client.flush()?;
        if closed { Err(Gone::Closed) } else { Ok(()) }
    }

    fn answer(&mut self, ticket: Option<u64>, make: impl FnOnce(u32) -> Result<Message, message::Malformed>) {
        let Some((id, serial)) = ticket.and_then(|ticket| self.waiting.remove(&ticket)) else { return };
        let Some(client) = self.clients.get_mut(&id) else { return };
        let outcome = make(serial).map_err(Gone::from).and_then(|answer| client.send(answer));
        let outcome = outcome.and_then(|()| client.flush());
        self.settle(id, outcome);
    }

    fn broadcast(&mut self, signal: Result<Message, message::Malformed>) {
        let Ok(signal) = signal else { return };
        let ids: Vec<u64> =
            self.clients.iter().filter(|(_, client)| client.is_open()).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            let outcome = client.send(signal.clone()).and_then(|()| client.flush());
            self.settle(id, outcome);
        }
    }

    /// Waits for what the client needs next, or drops it.
    fn settle(&mut self, id: u64, outcome: Result<(), Gone>) {
        let Some(client) = self.clients.get(&id) else { return };
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, client.wants_input());
        flags.set(epoll::EventFlags::OUT, client.has_output());
        let watched = epoll::modify(&self.epoll, client.fd(), epoll::EventData::new_u64(id), flags);
        if outcome.is_err() || watched.is_err() {
            // Closing the socket takes it out of the epoll set.
            self.clients.remove(&id);
            self.waiting.retain(|_, (client, _)| *client != id);
        }
    }
}

/// 32 hex digits that name this server.
fn guid() -> String {
    let random = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let digits: String = random.chars().filter(char::is_ascii_hexdigit).collect();
    if digits.len() == 32 { digits } else { "0".repeat(32) }
}

#[cfg(test)]
pub(crate) mod tests;
