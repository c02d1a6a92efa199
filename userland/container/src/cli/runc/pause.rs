//! `runc pause` and `runc resume`: all processes stop where they are, and go on.

use super::containers::Status;
use super::{Error, World, during};

/// Freeze the processes of a container
#[derive(Debug, clap::Args)]
pub struct Pause {
    /// The container's ID
    id: String,
}

/// Let the processes of a paused container go on
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// The container's ID
    id: String,
}

impl Pause {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        change(world, &self.id, true)
    }
}

impl Resume {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        change(world, &self.id, false)
    }
}

fn change(world: &World, id: &str, frozen: bool) -> Result<u8, Error> {
    let _folder = world.containers.folder(id)?;
    let record = world.containers.load(id)?;
    let status = world.containers.status(&record);
    match (status, frozen) {
        (Status::Running | Status::Created, true) | (Status::Paused, false) => {}
        (_, true) => return Err(Error::State { id: id.to_owned(), is: status.word(), wanted: "running" }),
        (_, false) => return Err(Error::State { id: id.to_owned(), is: status.word(), wanted: "paused" }),
    }
    during(if frozen { "pause" } else { "resume" }, record.cgroup.freeze(frozen))?;
    Ok(0)
}
