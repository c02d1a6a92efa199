//! Networks of containers: a bridge each, an address for each container, ports of the machine that lead in.
//!
//! A [`Definition`] says what a network is and lies in the store. An [`Attachment`] says that a running
//! container is on one, and lies in `/run`: a reboot ends it. From all of them [`rules`] makes the one
//! nf_tables table that there has to be, and each change puts the whole of it in place. So nothing has
//! to be undone step by step, and what a kill left behind is gone with the next change: an attachment
//! counts only as long as someone looks after its container.
//!
//! A container gets its [`namespace`] with cables to all that it asks for before it begins, then its files of `/etc`
//! ([`etc_files`]), and on a network of the user's a [`resolver`] for the names of the others: its [`place`].
//!
//! [`Networks::connect`] takes the steps in an order in which a failure leaves nothing but a link, and
//! that goes with the container's network namespace.

mod attachment;
mod definition;
pub mod etc_files;
mod links;
pub mod namespace;
pub mod place;
pub mod ports;
pub mod resolver;
pub mod rules;

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nftables::{Nftables, Transaction};
use rustix::fs::FlockOperation;

use crate::state::{StateError, lock, make_dir};
use crate::store::{Store, StoreError};

pub use attachment::Attachment;
pub use definition::{DEFAULT, Definition, WITHOUT_BRIDGE, free_subnet};
pub use ports::{Publish, Published};

/// Where the attachments of running containers are.
pub const RUN: &str = "/run/corten/networks";

/// Why a container is not on a network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Not there.
    #[error("network {0} not found")]
    Missing(String),
    /// The name is taken.
    #[error("network with name {0} already exists")]
    Exists(String),
    /// One of the networks that are always there.
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    /// Somebody is on it.
    #[error("network {name} has active endpoints: {containers}")]
    Busy {
        /// The network.
        name: String,
        /// Ids of the containers.
        containers: String,
    },
    /// What the user asked for makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// No address is left.
    #[error("no free address left in network {name} ({subnet})")]
    Full {
        /// The network.
        name: String,
        /// Its subnet.
        subnet: ipnet::Ipv4Net,
    },
    /// Someone else has the port.
    #[error("Bind for {address}:{port} failed: port is already allocated")]
    PortTaken {
        /// The address of the machine.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// The kernel's links.
    #[error("{what}: {source}")]
    Link {
        /// What was to be done.
        what: String,
        /// What the kernel says.
        source: netlink::Error,
    },
    /// The kernel's rules.
    #[error(transparent)]
    Rules(#[from] nftables::Error),
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A lock.
    #[error(transparent)]
    State(#[from] StateError),
}

/// All networks.
#[derive(Clone, Debug)]
pub struct Networks {
    store: PathBuf,
    run: PathBuf,
}

/// What a container asks of a network.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The container's id.
    pub container: &'a str,
    /// The network's name or id.
    pub network: &'a str,
    /// The address it wants; none: any.
    pub address: Option<Ipv4Addr>,
    /// Names that it is known by on the network.
    pub aliases: Vec<String>,
    /// Ports of the machine that lead to it.
    pub publish: &'a [Publish],
}

/// The proof that a container is on a network. Its ports are kept from others for as long as it lives.
#[derive(Debug)]
pub struct Connected {
    /// Where it is.
    pub attachment: Attachment,
    _ports: Vec<OwnedFd>,
}

impl Networks {
    /// The networks of this store, with the attachments under `run`.
    #[must_use]
    pub fn new(store: &Path, run: &Path) -> Self {
        Self { store: store.join("networks"), run: run.to_owned() }
    }

    /// Every network with a bridge, by name.
    ///
    /// # Errors
    /// When the directory cannot be read. A network without a readable definition is left out.
    pub fn list(&self) -> Result<Vec<Definition>, NetworkError> {
        let mut all: Vec<Definition> = files(&self.store)?.iter().filter_map(|path| read(path)).collect();
        if !all.iter().any(|one| one.name == DEFAULT) {
            all.push(Definition::default_bridge());
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The network of this name, id, or beginning of an id.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub fn find(&self, name: &str) -> Result<Definition, NetworkError> {
        let all = self.list()?;
        if let Some(exact) = all.iter().find(|one| one.name == name || one.id == name) {
            return Ok(exact.clone());
        }
        let mut begin = all.into_iter().filter(|one| !name.is_empty() && one.id.starts_with(name));
        match (begin.next(), begin.next()) {
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => {
                Err(NetworkError::Invalid(format!("more than one network begins with {name}")))
            }
            (None, _) => Err(NetworkError::Missing(name.to_owned())),
        }
    }

    /// Keeps a new network. Without a subnet it is given one that nobody uses.
    ///
    /// # Errors
    /// When the name or the subnet is taken, or the disk fails.
    pub fn create(
        &self,
        store: &Store,
        definition: impl FnOnce(&[Definition]) -> Result<Definition, NetworkError>,
    ) -> Result<Definition, NetworkError> {
        let _lock = self.lock()?;
        let all = self.list()?;
        let new = definition(&all)?;
        if !new.has_valid_names() {
            let text = format!("invalid name of a network or its bridge: {:?}, {:?}", new.name, new.bridge);
            return Err(NetworkError::Invalid(text));
        }
        if all.iter().any(|one| one.name == new.name) || WITHOUT_BRIDGE.iter().any(|one| one.0 == new.name) {
            return Err(NetworkError::Exists(new.name));
        }
        if let Some(other) = all.iter().find(|one| one.overlaps(new.subnet)) {
            return Err(NetworkError::Invalid(format!(
                "subnet {} overlaps with that of network {}, {}",
                new.subnet, other.name, other.subnet
            )));
        }
        make_dir(&self.store)?;
        let path = self.store.join(format!("{}.json", new.name));
        let text = serde_json::to_vec_pretty(&new).map_err(|error| io_error(&path, error.into()))?;
        store.write(&path, &text)?;
        Ok(new)
    }

    /// Forgets a network that no container is on, and removes its bridge.
    ///
    /// # Errors
    /// When it is one that is always there, is in use, or cannot be removed.
    pub fn remove(&self, name: &str, alive: &dyn Fn(&str) -> bool) -> Result<Definition, NetworkError> {
        let _lock = self.lock()?;
        let network = self.find(name)?;
        if network.name == DEFAULT {
            return Err(NetworkError::Predefined(network.name));
        }
        let on_it: Vec<String> = self
            .attachments(alive)?
            .into_iter()
            .filter(|one| one.network == network.id)
            .map(|one| one.container)
            .collect();
        if !on_it.is_empty() {
            return Err(NetworkError::Busy { name: network.name, containers: on_it.join(", ") });
        }
        let path = self.store.join(format!("{}.json", network.name));
        fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
        links::remove_bridge(&network)?;
        self.put_rules(alive)?;
        Ok(network)
    }

    /// Who is on which network. Forgets those whose container nobody looks after any more.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn attachments(&self, alive: &dyn Fn(&str) -> bool) -> Result<Vec<Attachment>, NetworkError> {
        let mut all = Vec::new();
        for path in files(&self.run)? {
            match read::<Attachment>(&path) {
                Some(attachment) if alive(&attachment.container) => all.push(attachment),
                _ => drop(fs::remove_file(&path)),
            }
        }
        all.sort_by(|a, b| (&a.network, a.address.addr()).cmp(&(&b.network, b.address.addr())));
        Ok(all)
    }

    /// Brings a container onto a network: its first process's network namespace gets a link, an
    /// address, and a route to the world.
    ///
    /// # Errors
    /// When a step fails. Then the container is not on the network.
    pub fn connect(
        &self,
        request: &Request<'_>,
        namespace: BorrowedFd<'_>,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<Connected, NetworkError> {
        let network = self.find(request.network)?;
        let _lock = self.lock()?;
        let others = self.attachments(alive)?;
        let (published, sockets) = ports::reserve(request.publish)?;
        let attachment = Attachment::new(&network, request, &others, published)?;
        let link = links::connect(&network, &attachment, namespace)?;
        let path = self.run.join(attachment.file_name());
        let told = write(&path, &attachment).and_then(|()| self.put_rules(alive));
        if let Err(error) = told {
            let _ = fs::remove_file(&path);
            links::remove(link);
            return Err(error);
        }
        Ok(Connected { attachment, _ports: sockets })
    }

    /// Takes a container off all its networks.
    ///
    /// # Errors
    /// When the rules cannot be put in place without it.
    pub fn disconnect(&self, container: &str, alive: &dyn Fn(&str) -> bool) -> Result<(), NetworkError> {
        let _lock = self.lock()?;
        let mut was_on_one = false;
        for path in files(&self.run)? {
            if read::<Attachment>(&path).is_some_and(|one| one.container == container) {
                fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
                was_on_one = true;
            }
        }
        if was_on_one { self.put_rules(alive) } else { Ok(()) }
    }

    /// Takes a running container off one network.
    ///
    /// # Errors
    /// When it is not on it, or the kernel refuses.
    pub fn leave(
        &self,
        container: &str,
        network: &Definition,
        namespace: BorrowedFd<'_>,
        alive: &dyn Fn(&str) -> bool,
    ) -> Result<(), NetworkError> {
        let _lock = self.lock()?;
        let of_it = self.attachments(alive)?.into_iter().filter(|one| one.container == container);
        let (left, stay): (Vec<_>, Vec<_>) = of_it.partition(|one| one.network == network.id);
        let Some(left) = left.first() else {
            let name = &network.name;
            return Err(NetworkError::Invalid(format!(
                "container {container} is not connected to network {name}"
            )));
        };
        let path = self.run.join(left.file_name());
        fs::remove_file(&path).map_err(|error| io_error(&path, error))?;
        links::remove_cable(left)?;
        if let Some(next) = stay.iter().find(|one| one.gateway.is_some()) {
            links::lead_out(namespace, next)?;
        }
        self.put_rules(alive)
    }

    /// Puts the table in place that the networks and attachments ask for.
    fn put_rules(&self, alive: &dyn Fn(&str) -> bool) -> Result<(), NetworkError> {
        let attachments = self.attachments(alive)?;
        let mut networks = self.list()?;
        // A bridge that was never used is not there, and needs no rules.
        networks.retain(|one| attachments.iter().any(|attachment| attachment.network == one.id));
        let transaction = match networks.as_slice() {
            [] => Transaction::new().remove(rules::FAMILY, rules::TABLE),
            some => Transaction::new().replace(&rules::table(some, &attachments)),
        };
        Ok(Nftables::open()?.commit(&transaction)?)
    }

    fn lock(&self) -> Result<OwnedFd, NetworkError> {
        make_dir(&self.run)?;
        Ok(lock(&self.run.join("lock"), FlockOperation::LockExclusive)?)
    }
}

/// The JSON files of a directory; none if it is not there.
fn files(dir: &Path) -> Result<Vec<PathBuf>, NetworkError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| io_error(dir, error))?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Into a tmpfs, moved into place so that a reader never sees half of it.
fn write(path: &Path, attachment: &Attachment) -> Result<(), NetworkError> {
    let new = path.with_extension("new");
    let text = serde_json::to_vec(attachment).map_err(|error| io_error(path, error.into()))?;
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(|error| io_error(path, error))
}

fn io_error(path: &Path, source: io::Error) -> NetworkError {
    NetworkError::Io { path: path.to_owned(), source }
}
