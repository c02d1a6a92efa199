//! The faces: one folder each, one verb a file.
//!
//! What they share is here: where the store and the state are, how an image is found or pulled, and how
//! things are shown.

pub mod docker;
pub mod dockerd;
pub mod rkt;
pub mod runc;
pub mod show;
pub mod toolbox;

use std::path::PathBuf;

use crate::network::{NetworkError, Networks};
use crate::pull::{Progress, PullError, Pulled, pull};
use crate::reference::{BadReference, Reference};
use crate::run::RunError;
use crate::state::{Containers, RUN, StateError};
use crate::store::image::Image;
use crate::store::{ROOT, Store, StoreError};

/// Where things are. The options exist for tests and for use on machines that are not Corten.
#[derive(Clone, Debug, clap::Args)]
pub struct Places {
    /// Keep images and containers in this directory.
    #[arg(long, global = true, value_name = "DIR", default_value = ROOT)]
    pub store: PathBuf,
    /// Keep the state of running containers in this directory.
    #[arg(long, global = true, value_name = "DIR", default_value = RUN)]
    pub state: PathBuf,
}

/// Why a command did not do it.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// An image that is nowhere.
    #[error("No such image: {0}")]
    NoImage(String),
    /// A name that is none.
    #[error(transparent)]
    Reference(#[from] BadReference),
    /// The registry and what comes from it.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// The way to a registry.
    #[error(transparent)]
    Push(#[from] crate::push::PushError),
    /// Images in files.
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The containers.
    #[error(transparent)]
    State(#[from] StateError),
    /// The options.
    #[error(transparent)]
    Options(#[from] crate::bundle::BadOptions),
    /// Running it.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The machine.
    #[error("{0}: {1}")]
    Io(&'static str, std::io::Error),
}

impl Places {
    pub(crate) fn open_store(&self) -> Result<Store, CliError> {
        Ok(Store::open(&self.store)?)
    }

    pub(crate) fn containers(&self) -> Containers {
        Containers::new(&self.store, &self.state)
    }

    pub(crate) fn networks(&self) -> Networks {
        // Beside the containers' state, so that tests have networks of their own.
        let beside = self.state.parent().unwrap_or(&self.state);
        Networks::new(&self.store, &beside.join("networks"))
    }

    /// Whether somebody looks after a container.
    pub(crate) fn alive(&self) -> impl Fn(&str) -> bool + use<> {
        let containers = self.containers();
        move |id| containers.is_looked_after(id)
    }
}

/// The image of this name, pulled if it is not here.
pub(crate) fn image_or_pull(store: &Store, name: &str) -> Result<Image, CliError> {
    if let Some(image) = store.find_image(name)? {
        return Ok(image);
    }
    let reference: Reference = name.parse()?;
    eprintln!("Unable to find image '{}' locally", reference.familiar());
    let pulled = pull(store, &reference, None, &mut |progress| eprintln!("{}", describe(&progress)))?;
    Ok(pulled.image)
}

/// Pulls, telling on standard output what Docker tells.
pub(crate) fn pull_and_tell(store: &Store, reference: &Reference, quiet: bool) -> Result<Pulled, CliError> {
    let mut tell = |progress: Progress| {
        if !quiet {
            show::line(&describe(&progress));
        }
    };
    Ok(pull(store, reference, None, &mut tell)?)
}

fn describe(progress: &Progress) -> String {
    match progress {
        Progress::Asking { selector, repository } => format!("{selector}: Pulling from {repository}"),
        Progress::Exists(layer) => format!("{layer}: Already exists"),
        Progress::Complete(layer) => format!("{layer}: Pull complete"),
    }
}
