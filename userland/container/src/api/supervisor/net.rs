//! A container's network: a namespace made before the container, with a cable to the network it asks for.
//!
//! So what can fail (a port that is taken, an address that is used) fails before anything of the container runs.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use linux::namespace::{Namespaces, fork_into};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::api::create::Settings;
use crate::cli::{CliError, Places};
use crate::network::{Connected, DEFAULT, Request};
use crate::state::{Containers, Record};

/// Where a container is to be.
#[derive(Debug)]
pub struct Net {
    namespace: OwnedFd,
    connected: Option<Connected>,
    neighbours: Vec<(Ipv4Addr, Vec<String>)>,
}

/// Makes what the container asks for; none if it is in the machine's network, or in one with loopback alone.
///
/// # Errors
/// When there is no such network, or it has no place for it.
pub fn connect(
    places: &Places,
    containers: &Containers,
    record: &Record,
    settings: &Settings,
) -> Result<Option<Net>, CliError> {
    let (config, host) = settings.typed();
    let failed = |error| CliError::Io("network namespace", error);
    if let Some(other) = host.network_mode.strip_prefix("container:") {
        let other = containers.find(other)?;
        let stopped = || {
            CliError::Usage(format!("cannot join network of a non running container: {}", other.record.id))
        };
        let pid = other.state.process().and(other.state.pid).ok_or_else(stopped)?;
        let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(failed)?;
        return Ok(Some(Net { namespace: namespace.into(), connected: None, neighbours: Vec::new() }));
    }
    let Some(network) = host.bridge() else { return Ok(None) };
    let namespace = namespace().map_err(failed)?;
    let publish = host.publish(&config).map_err(|failure| CliError::Usage(failure.message))?;
    let endpoint = settings.endpoints.get(network).cloned().flatten().unwrap_or_default();
    let mut aliases = vec![record.name.clone(), record.short_id().to_owned()];
    aliases.extend(endpoint.aliases.into_iter().flatten());
    aliases.dedup();
    let wanted = endpoint.ipam.and_then(|ipam| ipam.ipv4).filter(|text| !text.is_empty());
    let address =
        wanted.map(|text| text.parse().map_err(|_| CliError::Usage(format!("invalid IPv4 address: {text}"))));
    let networks = places.networks();
    let alive = places.alive();
    let request =
        Request { container: &record.id, network, address: address.transpose()?, aliases, publish: &publish };
    let connected = networks.connect(&request, namespace.as_fd(), &alive);
    let connected = connected
        .map_err(|error| CliError::Usage(format!("failed to set up container networking: {error}")))?;
    // On a network of the user's, containers know each other by name.
    let others = networks.attachments(&alive).unwrap_or_default().into_iter();
    let neighbours = others
        .filter(|one| network != DEFAULT && one.network == connected.attachment.network)
        .filter(|one| one.container != record.id)
        .map(|one| (one.address.addr(), one.aliases))
        .collect();
    Ok(Some(Net { namespace, connected: Some(connected), neighbours }))
}

/// A new network namespace with its loopback up.
fn namespace() -> io::Result<OwnedFd> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = fork_into(Namespaces::NETWORK, None, || {
        let up = linux::loopback::up().is_ok() && rustix::io::write(&write, b"!").is_ok();
        if up { park() } else { 1 }
    })?;
    drop(write);
    let mut told = [0];
    let up = rustix::io::read(&read, &mut told[..])?;
    let namespace = File::open(format!("/proc/{}/ns/net", child.pid));
    let _ = rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::KILL);
    let _ = crate::run::exit_status(&child.pidfd);
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

impl Net {
    /// Lets a configuration join it.
    pub fn enter(&self, spec: &mut Spec) {
        let Some(mut linux) = spec.linux().clone() else { return };
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.namespace.as_raw_fd()));
        for namespace in &mut namespaces {
            if namespace.typ() == LinuxNamespaceType::Network {
                namespace.set_path(Some(path.clone()));
            }
        }
        linux.set_namespaces(Some(namespaces));
        spec.set_linux(Some(linux));
    }

    /// Its address there; of a joined one, which is not ours to know, loopback's.
    pub fn address(&self) -> Ipv4Addr {
        self.connected.as_ref().map_or(Ipv4Addr::LOCALHOST, |connected| connected.attachment.address.addr())
    }

    /// The way out.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.connected.as_ref()?.attachment.gateway
    }

    /// Other containers on the same network, and what they are called.
    pub fn neighbours(&self) -> &[(Ipv4Addr, Vec<String>)] {
        &self.neighbours
    }

    /// Takes the container off it.
    pub fn leave(self, places: &Places, id: &str) {
        if self.connected.is_some()
            && let Err(error) = places.networks().disconnect(id, &places.alive())
        {
            eprintln!("dockerd: {error}");
        }
    }
}
