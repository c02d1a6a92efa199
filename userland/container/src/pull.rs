//! From a reference to an image in the store.
//!
//! Layers that are not there yet are transferred at the same time, each unpacked by a thread of its own
//! while it comes in. The image gets its name last, when everything else is safe on the disk.

use std::io;
use std::path::Path;

use oci_spec::image::Descriptor;
use tokio::sync::mpsc::channel;
use tokio::task::JoinSet;

use crate::bundle::image::ImageConfig;
use crate::layer::take::into;
use crate::layer::{Expected, LayerError, Limits};
use crate::pipe::Chunks;
use crate::policy::{POLICY_JSON, Policy, PolicyError};
use crate::reference::Reference;
use crate::registry::auth::Credentials;
use crate::registry::config::{BadConfig, DAEMON_JSON, Trust};
use crate::registry::manifest::{BadManifest, compression};
use crate::registry::{Access, Manifest, Registry, RegistryError};
use crate::store::image::Image;
use crate::store::{Store, StoreError};

/// Chunks on their way from the network to the thread that unpacks them.
const CHUNKS_AHEAD: usize = 64;
/// Layers transferred at the same time, as many as Docker.
const AT_ONCE: usize = 3;

/// Why an image was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layer.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// The signature policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Our own configuration.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// The image contradicts itself.
    #[error("the image is not usable: {0}")]
    Image(String),
    /// No runtime or directory to work with.
    #[error("pull: {0}")]
    Io(#[from] io::Error),
}

/// What a pull tells while it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It asks for this tag or digest of this repository.
    Asking {
        /// Tag or digest.
        selector: String,
        /// Repository.
        repository: String,
    },
    /// This layer was there.
    Exists(String),
    /// This layer is now there.
    Complete(String),
}

/// A pulled image.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Its record in the store.
    pub image: Image,
    /// Whether the name did not refer to it before.
    pub new: bool,
}

/// Pulls an image, telling `progress` what happens.
///
/// # Errors
/// When it cannot be had whole. Layers that were whole stay for the next attempt.
pub fn pull(
    store: &Store,
    reference: &Reference,
    credentials: Option<Credentials>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Pulled, PullError> {
    let trust = Trust::load(Path::new(DAEMON_JSON))?;
    let policy = Policy::load(Path::new(POLICY_JSON))?;
    // Its threads are gone when this returns: whoever runs a container after a pull must be alone.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(pull_with(store, reference, (&trust, &policy), credentials, progress))
}

async fn pull_with(
    store: &Store,
    reference: &Reference,
    (trust, policy): (&Trust, &Policy),
    credentials: Option<Credentials>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Pulled, PullError> {
    progress(Progress::Asking {
        selector: reference.selector().to_owned(),
        repository: reference.familiar_repository(),
    });
    let (registry, manifest) = find(reference, trust, credentials).await?;
    policy.check(&registry, reference, &manifest).await?;
    let config = registry.blob(manifest.parsed.config()).await?;
    let parsed = ImageConfig::read(&config)
        .map_err(|error| PullError::Image(format!("its configuration: {error}")))?;
    let layers = manifest.parsed.layers();
    if layers.len() != parsed.diff_ids().len() {
        return Err(PullError::Image(format!(
            "the manifest lists {} layers, the configuration {}",
            layers.len(),
            parsed.diff_ids().len()
        )));
    }
    let wanted: Vec<(&Descriptor, &String)> = layers.iter().zip(parsed.diff_ids()).collect();
    fetch_layers(store, registry, &wanted, progress).await?;

    store.put_blob(&manifest.bytes)?;
    let image = Image {
        reference: reference.to_string(),
        manifest: manifest.digest,
        id: store.put_blob(&config)?,
        size: layers.iter().map(Descriptor::size).fold(0, u64::saturating_add),
    };
    // A damaged record is as good as none: it is written again.
    let new = store.image(reference).ok().flatten().as_ref() != Some(&image);
    store.tag(&image)?;
    Ok(Pulled { image, new })
}

/// The manifest, from the first mirror that has it or from the registry itself.
async fn find(
    reference: &Reference,
    trust: &Trust,
    credentials: Option<Credentials>,
) -> Result<(Registry, Manifest), PullError> {
    for mirror in trust.mirrors(reference) {
        let asked = async {
            let registry = Registry::connect_to(mirror, reference, trust, Access::default()).await?;
            let manifest = registry.manifest(reference).await?;
            Ok::<_, RegistryError>((registry, manifest))
        };
        match asked.await {
            Ok(found) => return Ok(found),
            Err(error) => eprintln!("mirror {mirror}: {error}; asking the next"),
        }
    }
    let registry = Registry::connect(reference, trust, Access { credentials, ..Access::default() }).await?;
    let manifest = registry.manifest(reference).await?;
    Ok((registry, manifest))
}

async fn fetch_layers(
    store: &Store,
    registry: Registry,
    layers: &[(&Descriptor, &String)],
    progress: &mut dyn FnMut(Progress),
) -> Result<(), PullError> {
    let registry = std::sync::Arc::new(registry);
    let mut running = JoinSet::new();
    let mut started = std::collections::HashSet::new();
    for (descriptor, diff_id) in layers {
        if store.layer(diff_id)?.is_some() {
            progress(Progress::Exists(short(descriptor)));
            continue;
        }
        if !started.insert((*diff_id).clone()) {
            continue;
        }
        while running.len() >= AT_ONCE {
            finish_one(store, &mut running, progress).await?;
        }
        let expected = Expected {
            blob: Some(descriptor.digest().to_string()),
            diff_id: Some((*diff_id).clone()),
            compression: compression(descriptor)?,
        };
        let staging = store.stage()?;
        let (registry, descriptor) = (std::sync::Arc::clone(&registry), (*descriptor).clone());
        running.spawn(async move {
            let (send, receive) = channel(CHUNKS_AHEAD);
            let unpacked = tokio::task::spawn_blocking(move || {
                into(&staging, Chunks::new(receive), &expected, Limits::default()).map(|done| (staging, done))
            });
            let streamed = registry.stream(&descriptor, &send).await;
            drop(send);
            let unpacked = unpacked.await.map_err(io::Error::other)?;
            match (streamed, unpacked) {
                // Each failure makes the other side fail too; the cause is the one that is not an echo.
                (Err(RegistryError::GivenUp), Err(layer)) | (Ok(()), Err(layer)) => Err(layer.into()),
                (Err(registry), _) => Err(PullError::from(registry)),
                (Ok(()), Ok((staging, done))) => Ok((staging, done.diff_id, short(&descriptor))),
            }
        });
    }
    while !running.is_empty() {
        finish_one(store, &mut running, progress).await?;
    }
    Ok(())
}

type Unpacked = (crate::store::Staging, String, String);

async fn finish_one(
    store: &Store,
    running: &mut JoinSet<Result<Unpacked, PullError>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), PullError> {
    if let Some(done) = running.join_next().await {
        let (staging, diff_id, name) = done.map_err(io::Error::other)??;
        store.commit(staging, &diff_id)?;
        progress(Progress::Complete(name));
    }
    Ok(())
}

fn short(descriptor: &Descriptor) -> String {
    descriptor.digest().digest().chars().take(12).collect()
}
