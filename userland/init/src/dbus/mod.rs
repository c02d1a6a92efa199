//! PID 1's D-Bus face: `/run/systemd/private`, where `systemctl` and its like talk to the manager, and the system
//! [`bus`].
//!
//! The story: [`Server`] accepts clients on one epoll descriptor, and is itself a client of the bus while there is
//! one; a [`Connection`] goes through its handshake and then yields [`Message`]s; [`methods`] finds the method in one
//! table and runs it against the [`World`]; what happens in the manager comes back as [`Notice`]s and goes out as
//! answers and signals.
//! The objects are virtual ([`path`]): nothing is registered, any unit name has a path, as with systemd, whose
//! `GetAll("")` on a unit that is not loaded loads it. [`property`] holds what they tell.
//!
//! Invariants: one thread, nothing blocks; the kernel's word for the peer's uid decides, or the bus's (uid 0 changes
//! things, everybody reads); clients, buffers and pending answers are bounded. Private clients get every signal
//! without `Subscribe`, those on the bus with it, as with systemd. Sources: the D-Bus specification, org.freedesktop.systemd1(5).

pub mod assign;
pub mod bus;
mod clients;
mod control;
mod dump;
mod face;
pub mod facts;
pub mod glob;
mod membership;
pub mod methods;
mod news;
pub mod path;
pub mod property;
mod save;
pub mod signals;
pub mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use bus::Bus;
pub use face::Face;
use methods::{Answer, Call};
pub use save::Saved;
use wire::{Connection, Message};
use world::World;

/// The name that systemd has on a bus.
pub const NAME: &str = "org.freedesktop.systemd1";
/// The manager's object path; units and jobs are below it.
pub const ROOT: &str = "/org/freedesktop/systemd1";
/// The name that logind has on a bus; ours where there is none, for the power verbs.
pub const LOGIN: &str = "org.freedesktop.login1";
/// Where the socket is.
pub const SOCKET: &str = "/run/systemd/private";

/// The most clients at a time.
const MOST_CLIENTS: usize = 256;
/// The most of them that may be others than root, so that root always gets in.
const MOST_STRANGERS: usize = 128;
/// The most units that requests by others than root may bring into memory: GetAll loads what it names.
const MOST_STRANGE_LOADS: u32 = 4096;
/// What all of them together may take of PID 1's time before it looks at root and at its other work again.
const STRANGERS_TURN: Duration = Duration::from_millis(20);
/// epoll's mark of the listener, and of the bus.
const LISTENER: u64 = 0;
const BUS: u64 = 1;

/// Who is to have an answer: a client of the socket, or a unique name on the bus.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Receiver {
    Client(u64),
    Name(String),
}

/// A call that a job answers.
#[derive(Debug)]
struct Waiting {
    receiver: Receiver,
    serial: u32,
    /// All that is known of the job, rather than its path.
    in_full: bool,
}

/// The socket and its clients, and the bus.
pub struct Server {
    epoll: OwnedFd,
    listener: UnixListener,
    guid: String,
    clients: BTreeMap<u64, Connection>,
    last: u64,
    /// Strangers whose requests are here and wait for their next turn.
    unfinished: BTreeSet<u64>,
    /// The stranger whose turn was the last one.
    served: u64,
    bus: Option<Bus>,
    bus_path: PathBuf,
    /// Who had subscribed on the bus before PID 1 executed itself anew.
    remembered: BTreeSet<String>,
    /// Calls that a job answers, by ticket.
    waiting: HashMap<u64, Waiting>,
    /// Units that are started because the bus asked for them, by ticket.
    activations: HashMap<u64, String>,
    /// Jobs that somebody on the bus waits for.
    followed: BTreeSet<u32>,
    strange_loads: u32,
    inhibitors: methods::Inhibitors,
}

impl Server {
    /// Binds the socket, in place of one left behind. Everybody may connect. `bus`: where the bus will be.
    ///
    /// # Errors
    /// The directory is missing or not writable, or no descriptor is left.
    pub fn listen(path: &Path, bus: &Path) -> io::Result<Server> {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
        Server::on(listener, bus)
    }

    /// Serves those who connect here.
    fn on(listener: UnixListener, bus: &Path) -> io::Result<Server> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
        Ok(Server {
            epoll,
            listener,
            guid: wire::guid(),
            clients: BTreeMap::new(),
            last: BUS,
            unfinished: BTreeSet::new(),
            served: BUS,
            bus: None,
            bus_path: bus.to_owned(),
            remembered: BTreeSet::new(),
            waiting: HashMap::new(),
            activations: HashMap::new(),
            followed: BTreeSet::new(),
            strange_loads: 0,
            inhibitors: methods::Inhibitors::default(),
        })
    }

    /// Readable when there is something to do.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Serves who is ready, once: root first, then others as long as their turn is, each in its turn.
    pub fn ready(&mut self, world: &mut dyn World) {
        let mut events = Vec::with_capacity(MOST_CLIENTS + 2);
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&now)).is_err() {
            return;
        }
        let mut strangers = Vec::new();
        for event in events {
            match event.data.u64() {
                LISTENER => self.accept(),
                BUS => {
                    let outcome = self.converse_on_bus(world);
                    self.settle_bus(outcome);
                }
                id if self.clients.get(&id).is_some_and(|client| client.uid != 0) => strangers.push(id),
                id => {
                    let outcome = self.converse(id, None, world);
                    self.settle(id, outcome);
                }
            }
        }
        let until = Instant::now() + STRANGERS_TURN;
        strangers.sort_unstable();
        let next = strangers.partition_point(|id| *id <= self.served);
        strangers.rotate_left(next);
        for id in strangers {
            let outcome = self.converse(id, Some(until), world);
            self.settle(id, outcome);
            self.served = id;
            // those that are left are as ready as they were
            if Instant::now() >= until {
                break;
            }
        }
    }

    /// Runs a call. `None`: there is nothing to say, or not yet.
    fn respond(
        &mut self,
        receiver: Receiver,
        caller: bus::Caller,
        message: &Message,
        world: &mut dyn World,
    ) -> Option<Message> {
        let name = match &receiver {
            Receiver::Client(_) => None,
            Receiver::Name(name) => Some(name.as_str()),
        };
        let may_load = caller.uid == 0 || self.strange_loads < MOST_STRANGE_LOADS;
        let bus::Caller { uid, pid } = caller;
        let inhibitors = &mut self.inhibitors;
        let mut call = Call { message, uid, pid, name, may_load, loaded: 0, inhibitors, world };
        let outcome = methods::dispatch(&mut call);
        if uid != 0 {
            self.strange_loads += call.loaded;
        }
        if !message.wants_reply() {
            return None;
        }
        match outcome {
            Ok(answer @ (Answer::Later(ticket) | Answer::LaterInFull(ticket))) => {
                let in_full = matches!(answer, Answer::LaterInFull(_));
                self.waiting.insert(ticket, Waiting { receiver, serial: message.serial, in_full });
                None
            }
            Ok(Answer::Never) => None,
            Ok(Answer::Now(body)) => Message::reply(message.serial).with_body(body).ok(),
            Ok(Answer::With(body, fds)) => {
                let mut reply = Message::reply(message.serial).with_body(body).ok()?;
                reply.fds = fds;
                Some(reply)
            }
            Err(failure) => Some(Message::refusal(message.serial, failure.name, &failure.text)),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_bus;
#[cfg(test)]
mod tests_interface;
