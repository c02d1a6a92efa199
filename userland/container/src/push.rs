//! From an image in the store to a registry.
//!
//! The image goes as it came wherever that is possible: if the registry has the layers in the form in which
//! they were pulled, or another of its repositories has, the manifest is pushed byte for byte. A layer that it
//! does not have is made again from its recipe and compressed here; its archive is the same, so the image keeps
//! its id, but compressed bytes differ between compressors, so the manifest gets another digest. A manifest
//! goes last, when all that it names is there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use oci_spec::image::Descriptor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::layer::compressed::gzip;
use crate::layer::recipe::{RecipeError, archive};
use crate::reference::Reference;
use crate::registry::auth::Credentials;
use crate::registry::config::{BadConfig, DAEMON_JSON, Trust};
use crate::registry::manifest::{self, BadManifest, Document};
use crate::registry::upload::{Blob, Placed};
use crate::registry::{Access, Registry, RegistryError};
use crate::store::digest::Sha256;
use crate::store::image::Image;
use crate::store::{Store, StoreError};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Why an image was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layer.
    #[error(transparent)]
    Layer(#[from] RecipeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The manifest that was pulled.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// Our own configuration.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// The image is not whole.
    #[error("the image cannot be pushed: {0}")]
    Image(String),
    /// A name with a digest says what must come out, which cannot be promised.
    #[error("cannot push a digest reference; give a tag")]
    Digest,
    /// The machine.
    #[error("push: {0}")]
    Io(#[from] io::Error),
}

/// What a push tells while it goes on. Layers are named by the first twelve digits of their digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It begins with this repository, `HOST/NAME`.
    Asking(String),
    /// The layer waits.
    Preparing(String),
    /// The registry has it.
    Exists(String),
    /// Another repository there has it.
    Mounted {
        /// The layer.
        layer: String,
        /// The other repository.
        from: String,
    },
    /// So much of it is there.
    Pushing {
        /// The layer.
        layer: String,
        /// Bytes that are there.
        sent: u64,
        /// Bytes in all.
        total: u64,
    },
    /// All of it is there.
    Pushed(String),
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest.
    pub digest: String,
    /// Its size in bytes.
    pub size: usize,
}

/// A layer in the form in which the registry has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Form {
    digest: String,
    size: u64,
}

/// Pushes an image under a name, telling `progress` what happens.
///
/// # Errors
/// When the registry does not take all of it. It then has no manifest of it.
pub fn push(
    store: &Store,
    image: &Image,
    reference: &Reference,
    credentials: Option<Credentials>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Pushed, PushError> {
    if reference.digest().is_some() {
        return Err(PushError::Digest);
    }
    let trust = Trust::load(Path::new(DAEMON_JSON))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut pushing = Pushing::new(store, image, reference)?;
        pushing.run(&trust, credentials, progress).await
    })
}

struct Pushing<'a> {
    store: &'a Store,
    image: &'a Image,
    reference: &'a Reference,
    /// The manifest as it is.
    bytes: Vec<u8>,
    layers: Vec<Descriptor>,
    diff_ids: Vec<String>,
    /// Other repositories of the same registry, by the digest of what they have.
    elsewhere: BTreeMap<String, Vec<String>>,
}

impl<'a> Pushing<'a> {
    fn new(store: &'a Store, image: &'a Image, reference: &'a Reference) -> Result<Self, PushError> {
        let missing = |what: &str| PushError::Image(format!("its {what} is missing; pull it again"));
        let bytes = store.blob(&image.manifest)?.ok_or_else(|| missing("manifest"))?;
        let Document::Manifest(parsed) = manifest::read(&bytes)? else { return Err(missing("manifest")) };
        let diff_ids = store.config(image)?.diff_ids().to_vec();
        if diff_ids.len() != parsed.layers().len() {
            return Err(PushError::Image(
                "its manifest and its configuration contradict each other".to_owned(),
            ));
        }
        let mut elsewhere: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for other in store.images()? {
            let Ok(name) = other.reference.parse::<Reference>() else { continue };
            if name.registry() != reference.registry() || name.repository() == reference.repository() {
                continue;
            }
            let Ok(Some(bytes)) = store.blob(&other.manifest) else { continue };
            let Ok(Document::Manifest(parsed)) = manifest::read(&bytes) else { continue };
            for layer in parsed.layers() {
                let repositories = elsewhere.entry(layer.digest().to_string()).or_default();
                if !repositories.iter().any(|known| known == name.repository()) {
                    repositories.push(name.repository().to_owned());
                }
            }
        }
        Ok(Self { store, image, reference, bytes, layers: parsed.layers().clone(), diff_ids, elsewhere })
    }

    async fn run(
        &mut self,
        trust: &Trust,
        credentials: Option<Credentials>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Pushed, PushError> {
        let (host, path) = (self.reference.registry(), self.reference.repository());
        progress(Progress::Asking(format!("{host}/{path}")));
        for layer in &self.layers {
            progress(Progress::Preparing(short(layer.digest().as_ref())));
        }
        let wanted: Vec<String> = self.layers.iter().map(|layer| layer.digest().to_string()).collect();
        let mut mounts: Vec<String> =
            wanted.iter().filter_map(|digest| self.elsewhere.get(digest)).flatten().cloned().collect();
        mounts.sort();
        mounts.dedup();
        let access = Access { credentials, push: true, mounts };
        let registry = Registry::connect(self.reference, trust, access).await?;

        let mut forms = Vec::new();
        for (layer, diff_id) in self.layers.iter().zip(&self.diff_ids) {
            let own = Form { digest: layer.digest().to_string(), size: layer.size() };
            forms.push(self.place(&registry, own, diff_id, progress).await?);
        }
        let config = self.store.blob(&self.image.id)?;
        let config = config.ok_or_else(|| PushError::Image("its configuration is missing".to_owned()))?;
        if !registry.has_blob(&self.image.id).await? {
            let file = self.store.scratch()?;
            file.write_all_at(&config, 0)?;
            let blob =
                Blob { digest: self.image.id.clone(), size: config.len() as u64, file: Arc::new(file) };
            registry.upload(&blob, &mut |_| {}).await?;
        }

        let (kind, bytes) = self.manifest(&forms)?;
        let digest = self.store.put_blob(&bytes)?;
        let tag = self.reference.tag().unwrap_or("latest");
        let size = bytes.len();
        registry.put_manifest(tag, &kind, bytes).await?;
        // From now on the name means what is there.
        let size_of_all = forms.iter().map(|form| form.size).fold(0, u64::saturating_add);
        let reference = self.reference.to_string();
        let id = self.image.id.clone();
        self.store.tag(&Image { reference, manifest: digest.clone(), id, size: size_of_all })?;
        Ok(Pushed { digest, size })
    }

    /// Sees to it that the repository has a layer, and returns in which form.
    async fn place(
        &self,
        registry: &Registry,
        own: Form,
        diff_id: &str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Form, PushError> {
        let layer = short(&own.digest);
        // As it was pulled; else as we compress it, if we know what that gives; else let us see.
        let known = self.known(diff_id);
        for form in std::iter::once(&own).chain(&known) {
            if registry.has_blob(&form.digest).await? {
                progress(Progress::Exists(layer));
                return Ok(form.clone());
            }
            for from in self.elsewhere.get(&form.digest).into_iter().flatten() {
                if registry.mount(&form.digest, from).await? == Placed::Mounted {
                    progress(Progress::Mounted { layer, from: from.clone() });
                    return Ok(form.clone());
                }
            }
        }
        let (form, file) = self.compress(diff_id)?;
        if registry.has_blob(&form.digest).await? {
            progress(Progress::Exists(layer));
            return Ok(form);
        }
        let blob = Blob { digest: form.digest.clone(), size: form.size, file: Arc::new(file) };
        let tell = |sent, progress: &mut dyn FnMut(Progress)| {
            progress(Progress::Pushing { layer: layer.clone(), sent, total: form.size });
        };
        tell(0, progress);
        registry.upload(&blob, &mut |sent| tell(sent, progress)).await?;
        progress(Progress::Pushed(layer));
        Ok(form)
    }

    fn known(&self, diff_id: &str) -> Option<Form> {
        let path = self.store.layer_path(diff_id).ok()?.join("gzip.json");
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    fn compress(&self, diff_id: &str) -> Result<(Form, File), PushError> {
        let mut file = self.store.scratch()?;
        let mut packed =
            gzip(Counted { out: io::BufWriter::new(&mut file), sha256: Sha256::default(), size: 0 });
        archive(self.store, diff_id, &mut packed)?;
        let Counted { mut out, sha256, size } = packed.finish()?;
        out.flush()?;
        drop(out);
        let form = Form { digest: sha256.finish(), size };
        let text = serde_json::to_vec(&form).map_err(io::Error::from)?;
        self.store.write(&self.store.layer_path(diff_id)?.join("gzip.json"), &text)?;
        Ok((form, file))
    }

    /// The manifest with the layers in these forms: as it is, if they are its own.
    fn manifest(&self, forms: &[Form]) -> Result<(String, Vec<u8>), PushError> {
        let mut document: Value = serde_json::from_slice(&self.bytes).map_err(BadManifest::Syntax)?;
        let kind = document.get("mediaType").and_then(Value::as_str).unwrap_or(OCI).to_owned();
        let same = self.layers.iter().zip(forms).all(|(own, form)| own.digest().to_string() == form.digest);
        if same {
            return Ok((kind, self.bytes.clone()));
        }
        let layer_kind = if kind == DOCKER { DOCKER_LAYER } else { OCI_LAYER };
        let layers = document.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten();
        for (layer, form) in layers.zip(forms) {
            if layer.get("digest").and_then(Value::as_str) != Some(&form.digest) {
                *layer = json!({ "mediaType": layer_kind, "digest": form.digest, "size": form.size });
            }
        }
        Ok((kind, serde_json::to_vec(&document).map_err(BadManifest::Syntax)?))
    }
}

fn short(digest: &str) -> String {
    digest.split_once(':').map_or(digest, |(_, hex)| hex).chars().take(12).collect()
}

/// A writer that hashes and counts what passes.
struct Counted<W> {
    out: W,
    sha256: Sha256,
    size: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.sha256.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
