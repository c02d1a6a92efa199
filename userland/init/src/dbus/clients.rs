//! The clients of the private socket: who is let in, whose turn it is, and what each waits for.

use std::time::Instant;

use rustix::event::epoll;
use wire::{Connection, Gone, MessageType};

use super::world::World;
use super::{MOST_CLIENTS, MOST_STRANGERS, NAME, Receiver, Server, bus};

impl Server {
    pub(super) fn accept(&mut self) {
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
    pub(super) fn converse(
        &mut self,
        id: u64,
        until: Option<Instant>,
        world: &mut dyn World,
    ) -> Result<(), Gone> {
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

    /// Waits for what the client needs next, or drops it.
    pub(super) fn settle(&mut self, id: u64, outcome: Result<(), Gone>) {
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
}
