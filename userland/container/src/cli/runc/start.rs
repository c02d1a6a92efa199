//! `runc start`: lets the program of a created container begin.

use std::io;
use std::path::Path;

use oci_spec::runtime::Spec;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use serde_json::json;

use super::containers::{Folder, Record, Status};
use super::{Error, World, create, during};
use crate::run::channel::{Channel, Message};
use crate::run::{RunError, gate, hooks};

/// Start the program of a created container
#[derive(Debug, clap::Args)]
pub struct Start {
    /// The container's ID
    id: String,
}

impl Start {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let folder = world.containers.folder(&self.id)?;
        let record = world.containers.load(&self.id)?;
        match world.containers.status(&record) {
            Status::Created => start(world, &folder, &record)?,
            status => return Err(Error::State { id: self.id, is: status.word(), wanted: "created" }),
        }
        Ok(0)
    }
}

/// Starts it, and returns when its program runs.
pub(super) fn start(world: &World, folder: &Folder, record: &Record) -> Result<(), Error> {
    let channel = during("start", gate::open(&folder.fd))?;
    loop {
        match during("start", channel.receive())? {
            Message::Started => break,
            Message::Listener(number) => {
                let spec = world.containers.config(&record.id)?;
                during("seccomp listener", hand_over(&channel, number, record, &spec))?;
            }
            Message::Failed(status, text) => return Err(RunError::Start { status, text }.into()),
            other => return Err(Error::Usage(format!("{other:?} is not for us"))),
        }
    }
    let hooks = record.hooks.as_ref().and_then(|hooks| hooks.poststart().as_ref());
    if let Err(error) = hooks::run("poststart", hooks, &record.state(Status::Running)) {
        // The specification: told, and the container goes on.
        eprintln!("runc: {error}");
    }
    Ok(())
}

/// Fetches the descriptor that hears of system calls from the container's process, and sends it to who decides.
pub(super) fn hand_over(channel: &Channel, number: u32, record: &Record, spec: &Spec) -> io::Result<()> {
    let missing = || io::Error::other("SCMP_ACT_NOTIFY needs seccomp.listenerPath");
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let path = seccomp.and_then(|seccomp| seccomp.listener_path().clone()).ok_or_else(missing)?;
    let metadata = seccomp.and_then(|seccomp| seccomp.listener_metadata().clone());
    let process = record.process().ok_or(io::ErrorKind::NotFound)?;
    let raw = i32::try_from(number).map_err(|_| io::ErrorKind::InvalidData)?;
    let listener = loop {
        match pidfd_getfd(&process, raw, PidfdGetfdFlags::empty()) {
            Ok(listener) => break listener,
            // The filter is not in force yet; if that fails, we are told.
            Err(rustix::io::Errno::BADF) if !channel.has_message(1) => {}
            Err(error) => return Err(error.into()),
        }
    };
    let agent = create::console(Path::new(&path))?;
    let state = json!({
        "ociVersion": hooks::VERSION,
        "fds": ["seccompFd"],
        "pid": record.pid,
        "metadata": metadata.unwrap_or_default(),
        "state": record.state(Status::Creating),
    });
    agent.send_with(state.to_string().as_bytes(), &listener)?;
    channel.send_go()
}
