//! `runc delete`: what is left of a container goes.

use super::containers::{Folder, Record, Status};
use super::{Error, World, during};
use crate::run::hooks;

/// Delete a container that has stopped
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// Kill it before, and do not mind if there is none
    #[arg(short, long)]
    force: bool,
    /// The container's ID
    id: String,
}

impl Delete {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let folder = match world.containers.folder(&self.id) {
            Err(Error::Missing(_)) if self.force => return Ok(0),
            other => other?,
        };
        let record = match world.containers.load(&self.id) {
            // Killed while it was being made: nothing but the folder is there.
            Err(Error::Missing(_) | Error::Config { .. }) if self.force => {
                folder.remove()?;
                return Ok(0);
            }
            other => other?,
        };
        match world.containers.status(&record) {
            Status::Stopped => {}
            // Nobody will start it any more.
            Status::Created => kill(&record),
            _ if self.force => kill(&record),
            status => return Err(Error::State { id: self.id, is: status.word(), wanted: "stopped" }),
        }
        delete(folder, &record)?;
        Ok(0)
    }
}

fn kill(record: &Record) {
    if let Some(process) = record.process() {
        let _ = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
        if record.cgroup.is_frozen() {
            let _ = record.cgroup.freeze(false);
        }
        // Its end can be seen, whoever collects it.
        let mut polled = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        let _ = rustix::event::poll(&mut polled, Some(&patience));
    }
}

/// Removes cgroup and folder, and runs the hooks for that.
pub(super) fn delete(folder: Folder, record: &Record) -> Result<(), Error> {
    if record.cgroup.remove().is_err() {
        // Others than the first process are still in it.
        record.cgroup.kill();
        during("cgroup", record.cgroup.remove())?;
    }
    folder.remove()?;
    let hooks = record.hooks.as_ref().and_then(|hooks| hooks.poststop().as_ref());
    if let Err(error) = hooks::run("poststop", hooks, &record.state(Status::Stopped)) {
        // The specification: told, and the container is gone all the same.
        eprintln!("runc: {error}");
    }
    Ok(())
}
