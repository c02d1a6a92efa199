//! The face, written down for PID 1 executed anew: the door stays open, those who wait outside of it are let in later.
//!
//! Who is inside is disconnected, as by systemd. On the bus PID 1 comes back under another unique name, and those who
//! had subscribed are still told.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::methods::{Inhibitors, SavedInhibitor};
use super::world::World;
use super::{SOCKET, Server, bus};
use crate::handover::{Inherited, Kept};

/// The face.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    listener: Option<Kept>,
    subscribers: BTreeSet<String>,
    followed: BTreeSet<u32>,
    strange_loads: u32,
    inhibitors: Vec<SavedInhibitor>,
}

impl Server {
    pub(super) fn save(&self) -> Saved {
        let on_bus = self.bus.as_ref().map(|bus| bus.subscribers()).into_iter().flatten();
        Saved {
            listener: Some(Kept::of(&self.listener)),
            subscribers: on_bus.chain(&self.remembered).cloned().collect(),
            followed: self.followed.clone(),
            strange_loads: self.strange_loads,
            inhibitors: self.inhibitors.save(),
        }
    }

    /// Is on the bus again, if it is there.
    pub(super) fn begin(&mut self, world: &dyn World) {
        self.look_for_bus(world);
    }

    /// Goes on where it was written down; what has not come along is opened anew.
    pub(super) fn again(saved: Saved, inherited: &mut Inherited) -> io::Result<Server> {
        let bus = Path::new(bus::SOCKET);
        let mut server = match saved.listener.and_then(|kept| inherited.take(&kept)) {
            Some(listener) => Server::on(UnixListener::from(listener), bus)?,
            None => Server::listen(Path::new(SOCKET), bus)?,
        };
        server.remembered = saved.subscribers;
        server.followed = saved.followed;
        server.strange_loads = saved.strange_loads;
        server.inhibitors = Inhibitors::again(saved.inhibitors, inherited);
        Ok(server)
    }
}
