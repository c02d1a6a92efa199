//! A container's network namespace, made before the container, with cables to the networks it asks for.
//!
//! So what can fail (a port that is taken, an address that is used) fails before anything of the container runs.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use linux::namespace::{Namespaces, fork_into};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{Connected, DEFAULT, NetworkError, Networks, Publish, Request};
use crate::state::{Containers, Record};

/// Where a container is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// In the machine's network, or in one with loopback alone: nothing is to be made.
    Nothing,
    /// In the network of a running container of this name.
    Shared(String),
    /// On these networks. The first is its way out, and has its ports.
    On {
        /// One for each network.
        endpoints: Vec<Endpoint>,
        /// Ports of the machine that lead to it.
        publish: Vec<Publish>,
    },
}

/// What a container asks of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The network's name or id.
    pub network: String,
    /// Names beyond its own that it is known by there.
    pub aliases: Vec<String>,
    /// The address it wants; none: any.
    pub address: Option<Ipv4Addr>,
}

impl Endpoint {
    /// All that a container is called there: its name, the digits that people know it by, its aliases.
    #[must_use]
    pub fn names(&self, record: &Record) -> Vec<String> {
        let mut names = vec![record.name.clone(), record.short_id().to_owned()];
        names.extend(self.aliases.iter().filter(|alias| **alias != record.name).cloned());
        names.dedup();
        names
    }
}

/// Where it is.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
    connected: Vec<Connected>,
}

/// Makes what the container asks for; none if there is nothing to make.
///
/// # Errors
/// When there is no such network, or it has no place for it. Then it is on none.
pub fn connect(
    networks: &Networks,
    containers: &Containers,
    record: &Record,
    wanted: &Wanted,
) -> Result<Option<Namespace>, NetworkError> {
    let failed = |source| NetworkError::Io { path: "network namespace".into(), source };
    let (endpoints, publish) = match wanted {
        Wanted::Nothing => return Ok(None),
        Wanted::Shared(other) => {
            let file = of_container(containers, other)?;
            return Ok(Some(Namespace { file, connected: Vec::new() }));
        }
        Wanted::On { endpoints, publish } => (endpoints, publish),
    };
    let file = make().map_err(failed)?;
    let alive = |id: &str| containers.is_looked_after(id);
    let mut connected = Vec::new();
    for (at, endpoint) in endpoints.iter().enumerate() {
        let request = Request {
            container: &record.id,
            network: &endpoint.network,
            address: endpoint.address,
            aliases: endpoint.names(record),
            publish: if at == 0 { publish } else { &[] },
        };
        match networks.connect(&request, file.as_fd(), &alive) {
            Ok(one) => connected.push(one),
            Err(error) => {
                let _ = networks.disconnect(&record.id, &alive);
                return Err(error);
            }
        }
    }
    Ok(Some(Namespace { file, connected }))
}

/// The network namespace of a running container.
///
/// # Errors
/// When it does not run.
pub fn of_container(containers: &Containers, name: &str) -> Result<OwnedFd, NetworkError> {
    let other = containers.find(name)?;
    let stopped = || {
        NetworkError::Invalid(format!("cannot join network of a non running container: {}", other.record.id))
    };
    // The process is held, so that the number is still its own when the namespace is opened.
    let held = other.state.process().ok_or_else(stopped)?;
    let path = PathBuf::from(format!("/proc/{}/ns/net", other.state.pid.unwrap_or(0)));
    let file = File::open(&path).map_err(|source| NetworkError::Io { path, source })?;
    drop(held);
    Ok(file.into())
}

/// A new network namespace with its loopback up.
fn make() -> io::Result<OwnedFd> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let parent = rustix::process::getpid();
    let child = fork_into(Namespaces::NETWORK, None, || {
        // If we are killed it must not stay; and we may have been already.
        let tied = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        if tied.is_err() || rustix::process::getppid() != Some(parent) {
            return 1;
        }
        let up = linux::loopback::up().is_ok() && rustix::io::write(&write, b"!").is_ok();
        if up { park() } else { 1 }
    })?;
    drop(write);
    let mut told = [0];
    let up = rustix::io::read(&read, &mut told[..])?;
    let namespace = File::open(format!("/proc/{}/ns/net", child.pid));
    crate::run::kill(&child.pidfd);
    if up == 0 {
        return Err(io::Error::other("loopback does not come up"));
    }
    Ok(namespace?.into())
}

/// Stays until it is killed.
fn park() -> i32 {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}

impl Namespace {
    /// Lets a configuration join it.
    pub fn enter(&self, spec: &mut Spec) {
        let Some(mut linux) = spec.linux().clone() else { return };
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        for namespace in &mut namespaces {
            if namespace.typ() == LinuxNamespaceType::Network {
                namespace.set_path(Some(path.clone()));
            }
        }
        linux.set_namespaces(Some(namespaces));
        spec.set_linux(Some(linux));
    }

    /// Its addresses there; of a shared one, which is not ours to know, loopback's.
    #[must_use]
    pub fn addresses(&self) -> Vec<Ipv4Addr> {
        match self.connected.as_slice() {
            [] => vec![Ipv4Addr::LOCALHOST],
            some => some.iter().map(|one| one.attachment.address.addr()).collect(),
        }
    }

    /// The way out.
    #[must_use]
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.connected.iter().find_map(|one| one.attachment.gateway)
    }

    /// Whether it is on a network of the user's, where containers know each other by name.
    #[must_use]
    pub fn has_names(&self, networks: &Networks) -> bool {
        let default = networks.find(DEFAULT).map(|one| one.id).unwrap_or_default();
        self.connected.iter().any(|one| one.attachment.network != default)
    }

    /// Takes the container off its networks.
    pub fn leave(self, networks: &Networks, containers: &Containers, id: &str) {
        if !self.connected.is_empty()
            && let Err(error) = networks.disconnect(id, &|id| containers.is_looked_after(id))
        {
            eprintln!("container {id}: {error}");
        }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}
