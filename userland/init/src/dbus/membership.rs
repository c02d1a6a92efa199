//! PID 1 as a member of the system bus: it joins once the bus is there, serves who calls it there, starts what the bus
//! asks for, and comes back when it is lost.

use rustix::event::epoll;
use wire::{Gone, Message};

use super::bus::{self, Bus, Incoming};
use super::world::{Failure, World};
use super::{BUS, LOGIN, NAME, ROOT, Receiver, Server};

impl Server {
    /// Joins the bus once its service is there.
    pub(super) fn look_for_bus(&mut self, world: &dyn World) {
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

    /// Asks whether names of units that are new in memory have owners: the bus tells of changes only.
    pub(super) fn ask_for_names(&mut self, names: impl IntoIterator<Item = String>) {
        let Some(bus) = &mut self.bus else { return };
        let outcome = names.into_iter().try_for_each(|name| bus.ask_for(&name)).and_then(|()| bus.flush());
        self.settle_bus(outcome);
    }

    /// Somebody on the bus has subscribed, holds a unit, or waits for a job.
    pub(super) fn bus_listens(&self, world: &dyn World) -> bool {
        let subscribed = self.bus.as_ref().is_some_and(Bus::has_subscribers);
        self.bus.is_some() && (subscribed || !self.followed.is_empty() || world.has_holders())
    }

    /// The same with those on the bus.
    pub(super) fn converse_on_bus(&mut self, world: &mut dyn World) -> Result<(), Gone> {
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

    /// Starts the service behind a name on the bus.
    fn activate(&mut self, unit: String, world: &mut dyn World) {
        if unit::UnitName::parse(&unit).is_ok_and(|name| !name.is_template()) {
            let ticket = world.submit(unit::Verb::Start, &unit, unit::JobMode::Replace);
            self.activations.insert(ticket, unit);
        }
    }

    /// Tells the bus that nothing comes of it.
    pub(super) fn activation_failed(&mut self, ticket: u64, failure: &Failure) {
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

    /// The same with the bus. When it is lost, it is looked for again with the next change of a unit.
    pub(super) fn settle_bus(&mut self, outcome: Result<(), Gone>) {
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

/// Whether a call says that its caller wants signals, or no longer wants them.
fn subscription(message: &Message) -> Option<bool> {
    match (message.path.as_str(), message.member.as_str()) {
        (ROOT, "Subscribe") => Some(true),
        (ROOT, "Unsubscribe") => Some(false),
        _ => None,
    }
}
