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
mod control;
mod dump;
mod face;
pub mod facts;
pub mod glob;
pub mod methods;
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

use bus::{Bus, Incoming};
pub use face::Face;
use methods::{Answer, Call};
pub use save::Saved;
use wire::{Connection, Gone, Malformed, Message, MessageType};
use world::{Failure, Notice, World};

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

    /// Passes on what happened: answers to the calls that waited for it, signals to all.
    pub fn tell(&mut self, world: &dyn World, notices: &[Notice]) {
        let mut changed = BTreeSet::new();
        for notice in notices {
            match notice {
                Notice::Queued { job, ticket, unit } => {
                    self.follow(*job, *ticket);
                    self.broadcast(world, || signals::job_new(*job, unit));
                    self.answer(*ticket, |waiting| {
                        let path = signals::object(path::of_job(*job));
                        let reply = Message::reply(waiting.serial);
                        if waiting.in_full {
                            reply.with(&in_full(world, *job, unit))
                        } else {
                            reply.with(&path)
                        }
                    });
                }
                Notice::Refused { ticket, failure } => {
                    self.answer(Some(*ticket), |waiting| {
                        Ok(Message::refusal(waiting.serial, failure.name, &failure.text))
                    });
                    self.activation_failed(*ticket, failure);
                }
                Notice::Done { job, unit, result } => {
                    self.broadcast(world, || signals::job_removed(*job, unit, result));
                    self.followed.remove(job);
                }
                // A unit may change many times in one event: its last state is the news.
                Notice::Changed(unit) => _ = changed.insert(unit),
                Notice::Loaded(unit) => self.broadcast(world, || signals::unit_new(unit)),
                Notice::StartupFinished(times) => self.broadcast(world, || signals::startup_finished(*times)),
                Notice::Forgotten(unit) => self.broadcast(world, || signals::unit_removed(unit)),
                Notice::Reloading(active) => self.broadcast(world, || signals::reloading(*active)),
                Notice::UnitFilesChanged => self.broadcast(world, signals::unit_files_changed),
            }
        }
        if self.has_listeners(world) {
            for unit in &changed {
                for signal in signals::changed(world, unit) {
                    self.broadcast(world, || Ok(signal));
                }
            }
        }
        if !changed.is_empty() && self.bus.is_none() {
            self.look_for_bus(world);
        }
    }

    fn has_listeners(&self, world: &dyn World) -> bool {
        self.clients.values().any(Connection::is_open) || self.bus_listens(world)
    }

    /// Somebody on the bus has subscribed, holds a unit, or waits for a job.
    fn bus_listens(&self, world: &dyn World) -> bool {
        let subscribed = self.bus.as_ref().is_some_and(Bus::has_subscribers);
        self.bus.is_some() && (subscribed || !self.followed.is_empty() || world.has_holders())
    }

    /// A job that somebody on the bus has asked for.
    fn follow(&mut self, job: u32, ticket: Option<u64>) {
        let asked = ticket.and_then(|ticket| self.waiting.get(&ticket));
        if asked.is_some_and(|waiting| matches!(waiting.receiver, Receiver::Name(_))) {
            self.followed.insert(job);
        }
    }

    /// Joins the bus once its service is there.
    fn look_for_bus(&mut self, world: &dyn World) {
        if !world.is_active(bus::UNIT) {
            return;
        }
        let mut names = vec![NAME];
        if world.unit_file_state("systemd-logind.service").is_none() {
            names.push(LOGIN);
        }
        let Ok(mut bus) = Bus::connect(&self.bus_path, &names) else { return };
        for name in &self.remembered {
            bus.subscribe(name, true);
        }
        for name in world.bus_names() {
            let _ = bus.ask_for(&name);
        }
        // who is gone by now is found out
        for name in std::mem::take(&mut self.remembered).into_iter().chain(world.holders()) {
            let _ = bus.ask_about(&name);
        }
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        if epoll::add(&self.epoll, bus.fd(), epoll::EventData::new_u64(BUS), flags).is_ok() {
            self.bus = Some(bus);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let Ok(client) = stream.set_nonblocking(true).and_then(|()| Connection::server(stream)) else {
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

    /// Reads from a client, answers what can be answered, writes. `until`: what is left then is for its next turn.
    fn converse(&mut self, id: u64, until: Option<Instant>, world: &mut dyn World) -> Result<(), Gone> {
        let goes_on = self.unfinished.remove(&id);
        let Some(client) = self.clients.get_mut(&id) else { return Ok(()) };
        client.flush()?;
        let closed = !goes_on && client.wants_input() && client.receive(&self.guid)?;
        while let Some(client) = self.clients.get_mut(&id)
            && client.wants_input()
            && let Some(message) = client.message()?
        {
            if message.kind == MessageType::Call {
                let caller = bus::Caller { uid: client.uid, pid: client.pid };
                if let Some(answer) = self.respond(Receiver::Client(id), caller, &message, world)
                    && let Some(client) = self.clients.get_mut(&id)
                {
                    client.send(answer.from(NAME))?;
                }
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                self.unfinished.insert(id);
                break;
            }
        }
        self.clients.get_mut(&id).map_or(Ok(()), Connection::flush)?;
        if closed && !self.unfinished.contains(&id) { Err(Gone::Closed) } else { Ok(()) }
    }

    /// The same with those on the bus.
    fn converse_on_bus(&mut self, world: &mut dyn World) -> Result<(), Gone> {
        let Some(bus) = &mut self.bus else { return Ok(()) };
        bus.flush()?;
        let closed = bus.wants_input() && bus.receive()?;
        while let Some(bus) = &mut self.bus
            && let Some(incoming) = bus.incoming()?
        {
            match incoming {
                Incoming::Left(name) => world.unref(&name),
                Incoming::Named(name, owned) => world.bus_name(&name, owned),
                Incoming::Activate(unit) => self.activate(unit, world),
                Incoming::Call(caller, message) => {
                    let sender = message.sender.clone();
                    if let Some(wants) = subscription(&message) {
                        bus.subscribe(&sender, wants);
                    }
                    if let Some(answer) =
                        self.respond(Receiver::Name(sender.clone()), caller, &message, world)
                        && let Some(bus) = &mut self.bus
                    {
                        bus.send(answer.to(&sender))?;
                    }
                }
            }
        }
        self.bus.as_mut().map_or(Ok(()), Bus::flush)?;
        if closed { Err(Gone::Closed) } else { Ok(()) }
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

    /// Starts the service behind a name on the bus.
    fn activate(&mut self, unit: String, world: &mut dyn World) {
        if unit::UnitName::parse(&unit).is_ok_and(|name| !name.is_template()) {
            let ticket = world.submit(unit::Verb::Start, &unit, unit::JobMode::Replace);
            self.activations.insert(ticket, unit);
        }
    }

    /// Tells the bus that nothing comes of it.
    fn activation_failed(&mut self, ticket: u64, failure: &Failure) {
        let Some(unit) = self.activations.remove(&ticket) else { return };
        let signal = Message::signal(ROOT, "org.freedesktop.systemd1.Activator", "ActivationFailure")
            .to("org.freedesktop.DBus")
            .with(&(unit, failure.name, failure.text.as_str()));
        let outcome = match (&mut self.bus, signal) {
            (Some(bus), Ok(signal)) => bus.send(signal).and_then(|()| bus.flush()),
            _ => return,
        };
        self.settle_bus(outcome);
    }

    fn answer(&mut self, ticket: Option<u64>, make: impl FnOnce(&Waiting) -> Result<Message, Malformed>) {
        let Some(ticket) = ticket else { return };
        let Some(waiting) = self.waiting.remove(&ticket) else { return };
        let Ok(answer) = make(&waiting) else { return };
        match waiting.receiver {
            Receiver::Client(id) => {
                let Some(client) = self.clients.get_mut(&id) else { return };
                let outcome = client.send(answer.from(NAME)).and_then(|_| client.flush());
                self.settle(id, outcome);
            }
            Receiver::Name(name) => {
                let Some(bus) = &mut self.bus else { return };
                let outcome = bus.send(answer.to(&name)).and_then(|()| bus.flush());
                self.settle_bus(outcome);
            }
        }
    }

    /// Sends a signal to all who want signals. It is not even made when there are none, as for most of a boot.
    fn broadcast(&mut self, world: &dyn World, signal: impl FnOnce() -> Result<Message, Malformed>) {
        if !self.has_listeners(world) {
            return;
        }
        let Ok(signal) = signal() else { return };
        let ids: Vec<u64> =
            self.clients.iter().filter(|(_, client)| client.is_open()).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(client) = self.clients.get_mut(&id) else { continue };
            let outcome = client.send(signal.clone().from(NAME)).and_then(|_| client.flush());
            self.settle(id, outcome);
        }
        let listens = self.bus_listens(world);
        if let Some(bus) = self.bus.as_mut().filter(|_| listens) {
            let outcome = bus.send(signal).and_then(|()| bus.flush());
            self.settle_bus(outcome);
        }
    }

    /// Waits for what the client needs next, or drops it.
    fn settle(&mut self, id: u64, outcome: Result<(), Gone>) {
        let Some(client) = self.clients.get(&id) else { return };
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, client.wants_input());
        // who can be written to is ready: that brings on its next turn
        let goes_on = self.unfinished.contains(&id) && client.wants_input();
        flags.set(epoll::EventFlags::OUT, client.has_output() || goes_on);
        let watched = epoll::modify(&self.epoll, client.fd(), epoll::EventData::new_u64(id), flags);
        if outcome.is_err() || watched.is_err() {
            // Closing the socket takes it out of the epoll set.
            self.clients.remove(&id);
            self.unfinished.remove(&id);
            self.waiting.retain(|_, waiting| waiting.receiver != Receiver::Client(id));
        }
    }

    /// The same with the bus. When it is lost, it is looked for again with the next change of a unit.
    fn settle_bus(&mut self, outcome: Result<(), Gone>) {
        let Some(bus) = &self.bus else { return };
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, bus.wants_input());
        flags.set(epoll::EventFlags::OUT, bus.has_output());
        let watched = epoll::modify(&self.epoll, bus.fd(), epoll::EventData::new_u64(BUS), flags);
        if outcome.is_err() || watched.is_err() {
            self.bus = None;
            self.waiting.retain(|_, waiting| matches!(waiting.receiver, Receiver::Client(_)));
            self.activations.clear();
            self.followed.clear();
        }
    }
}

/// A job as `EnqueueUnitJob` tells it: number, path, unit, its path, type, and jobs that came with it (which are told
/// by `JobNew`).
fn in_full(world: &dyn World, job: u32, unit: &str) -> Enqueued {
    let kind = world.jobs().into_iter().find(|other| other.id == job).map_or("", |job| job.kind);
    let [job_path, unit_path] = [path::of_job(job), path::of_unit(unit)].map(signals::object);
    (job, job_path, unit.to_owned(), unit_path, kind.to_owned(), Vec::new())
}

type Object = zvariant::ObjectPath<'static>;
type Enqueued = (u32, Object, String, Object, String, Vec<(u32, Object, String, Object, String)>);

/// Whether a call says that its caller wants signals, or no longer wants them.
fn subscription(message: &Message) -> Option<bool> {
    match (message.path.as_str(), message.member.as_str()) {
        (ROOT, "Subscribe") => Some(true),
        (ROOT, "Unsubscribe") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_bus;
#[cfg(test)]
mod tests_interface;
