//! The Docker Engine API: what the stock `docker` command speaks, without a daemon that holds containers.
//!
//! The server knows nothing that is not in the store or in `/run/corten`: it can be killed and started at any
//! time, and containers go on. What it asks the machine for:
//!
//! - [`serve`] takes connections from the sockets it was handed, [`route`] finds who answers.
//! - [`system`], [`images`], [`archives`], [`transfer`], [`containers`], [`networks`], [`volumes`] read and change what lasts.
//! - [`create`] turns a request into an OCI configuration and a record; [`inspect`] tells it again.
//! - [`launch`] starts the container's [`supervisor`]: a transient unit of PID 1, or where there is none of our
//!   kind, a process of its own. It keeps the container's streams, writes its [`logs`], and takes clients
//!   at `attach.sock` in [`frame`]s.
//! - [`archive`] carries files in and out, [`update`] and [`join`] change a container that may run.
//! - [`attach`] and [`exec`] carry streams between an upgraded connection and there.
//!
//! Who may connect to the socket can do what root can, as with Docker: its permissions are the only gate.
//! Source: Docker Engine API 1.24 to 1.50.

pub mod answer;
pub(crate) mod archive;
mod archives;
mod asked;
mod attach;
mod containers;
pub(crate) mod create;
mod events;
mod exec;
mod filters;
pub mod frame;
mod images;
pub(crate) mod inspect;
mod join;
mod launch;
mod lifecycle;
mod logs;
mod mounts;
pub(crate) mod network_request;
pub(crate) mod networks;
mod processes;
mod request;
mod route;
mod serve;
pub(crate) mod settings;
mod stats;
pub mod supervisor;
mod system;
mod time;
mod transfer;
mod update;
pub(crate) mod volumes;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::cli::Places;
use crate::network::Networks;
use crate::state::Containers;
use crate::store::{Store, StoreError};

pub use events::Events;
pub use serve::{ServeError, serve};

/// The newest version of the API that is spoken.
pub const VERSION: &str = "1.50";
/// The oldest.
pub const OLDEST: &str = "1.24";

/// What the server works with.
#[derive(Debug)]
pub struct Api {
    pub(crate) places: Places,
    pub(crate) events: Events,
    execs: Mutex<HashMap<String, exec::Exec>>,
    /// Clients that came before their container was started: each is told when it may connect, and tells
    /// when it has.
    early: Mutex<HashMap<String, Vec<Early>>>,
}

type Early = oneshot::Sender<oneshot::Sender<()>>;

impl Api {
    /// A server of this store and state.
    #[must_use]
    pub fn new(places: Places) -> Self {
        let events = Events::new(&run_directory(&places));
        Self { places, events, execs: Mutex::default(), early: Mutex::default() }
    }

    fn store(&self) -> Result<Store, StoreError> {
        Store::open(&self.places.store)
    }

    pub(crate) fn containers(&self) -> Containers {
        self.places.containers()
    }

    pub(crate) fn networks(&self) -> Networks {
        self.places.networks()
    }

    /// Asks to be told when the container's supervisor takes clients.
    fn wait_early(&self, id: &str) -> oneshot::Receiver<oneshot::Sender<()>> {
        let (send, receive) = oneshot::channel();
        locked(&self.early).entry(id.to_owned()).or_default().push(send);
        receive
    }

    /// Lets those in who came before the start, and returns when all are.
    async fn let_in(&self, id: &str) {
        let waiting = locked(&self.early).remove(id).unwrap_or_default();
        for client in waiting {
            let (send, receive) = oneshot::channel();
            if client.send(send).is_ok() {
                let _ = tokio::time::timeout(std::time::Duration::from_secs(2), receive).await;
            }
        }
    }
}

/// Where everything is that a reboot ends.
pub(crate) fn run_directory(places: &Places) -> PathBuf {
    places.state.parent().map_or_else(|| places.state.clone(), std::path::Path::to_owned)
}

/// A lock whose holder may have panicked: what it guards is a list that is never half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
