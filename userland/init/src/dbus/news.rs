//! What happens in the manager, passed on: answers to calls that waited for it, and signals to all who listen.

use std::collections::BTreeSet;

use wire::{Connection, Malformed, Message};

use super::world::{Notice, World};
use super::{NAME, Receiver, Server, Waiting, path, signals};

impl Server {
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
                Notice::Loaded(unit) => {
                    self.broadcast(world, || signals::unit_new(unit));
                    self.ask_for_names(world.bus_name_of(unit));
                }
                Notice::StartupFinished(times) => self.broadcast(world, || signals::startup_finished(*times)),
                Notice::Forgotten(unit) => self.broadcast(world, || signals::unit_removed(unit)),
                Notice::Reloading(active) => {
                    self.broadcast(world, || signals::reloading(*active));
                    self.ask_for_names(world.bus_names());
                }
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

    /// A job that somebody on the bus has asked for.
    fn follow(&mut self, job: u32, ticket: Option<u64>) {
        let asked = ticket.and_then(|ticket| self.waiting.get(&ticket));
        if asked.is_some_and(|waiting| matches!(waiting.receiver, Receiver::Name(_))) {
            self.followed.insert(job);
        }
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
