//! `runc run`: create, start, and unless detached wait and delete.

use std::os::fd::AsFd;

use super::create::{Created, Options, create};
use super::delete::delete;
use super::start::start;
use super::{Error, World, during};
use crate::run::exit_status;
use crate::run::relay::Relay;

/// Create and start a container
#[derive(Debug, clap::Args)]
pub struct Run {
    #[command(flatten)]
    options: Options,
    /// Return when it is started
    #[arg(short, long)]
    detach: bool,
    /// Keep it after its end
    #[arg(long)]
    keep: bool,
    /// Here orphans of the container never come to us
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// The container's ID
    id: String,
}

impl Run {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        // Before the child is born: a signal that comes now is for it.
        let relay = if self.detach { None } else { Some(during("signals", Relay::new())?) };
        let created = create(world, &self.id, &self.options, relay.is_some())?;
        if let Err(error) = start(world, &created.folder, &created.record) {
            crate::run::kill(&created.pidfd);
            delete(created.folder, &created.record)?;
            return Err(error);
        }
        match relay {
            None => Ok(0),
            Some(relay) => self.wait(world, relay, created),
        }
    }

    fn wait(&self, world: &World, mut relay: Relay, created: Created) -> Result<u8, Error> {
        if let Some(master) = created.terminal {
            during("terminal", relay.copy_terminal(master, true))?;
        }
        // Others may look at the container, stop it and even delete it while it runs.
        let record = created.record;
        drop(created.folder);
        during("wait", relay.until_end(created.pidfd.as_fd()))?;
        let status = exit_status(&created.pidfd)?;
        relay.drain();
        if !self.keep
            && let Ok(folder) = world.containers.folder(&record.id)
        {
            delete(folder, &record)?;
        }
        Ok(u8::try_from(status).unwrap_or(255))
    }
}
