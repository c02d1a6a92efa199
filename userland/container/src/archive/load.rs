//! Images out of an archive or a layout.
//!
//! Whatever the archive says its layers are, they are unpacked under the digests of their image's
//! configuration, and checked. An image gets its name last, when all of it is safe on the disk: a load that is
//! killed leaves nothing half.

use std::io::BufReader;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageManifest};
use serde::Deserialize;
use serde_json::json;

use super::ArchiveError;
use super::source::Source;
use crate::bundle::image::ImageConfig;
use crate::layer::take::take;
use crate::layer::{Expected, Limits, compressed};
use crate::policy::{POLICY_JSON, Policy};
use crate::reference::Reference;
use crate::registry::manifest::{self, Document};
use crate::registry::{CONFIG_LIMIT, MANIFEST_LIMIT};
use crate::store::Store;
use crate::store::digest::{self, Sha256};
use crate::store::image::Image;

/// Images in one archive.
const IMAGES_LIMIT: usize = 1000;
/// What containerd, and so Docker, writes the whole name in.
const FULL_NAME: &str = "io.containerd.image.name";
/// What OCI has for it; often only a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An entry of Docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Takes all images of a source, and returns each with the names that it now has; without one there is a single
/// record that has none.
///
/// # Errors
/// When one of them is not whole. Those before it stay.
pub fn load(store: &Store, source: &Source) -> Result<Vec<Image>, ArchiveError> {
    Policy::load(Path::new(POLICY_JSON))?.check_file()?;
    let mut images = Vec::new();
    if source.has("manifest.json") {
        let text = source.document("manifest.json", MANIFEST_LIMIT as u64)?;
        let entries: Vec<Entry> = serde_json::from_slice(&text)
            .map_err(|error| ArchiveError::Wrong(format!("manifest.json: {error}")))?;
        if entries.len() > IMAGES_LIMIT {
            return Err(ArchiveError::Bomb("more than 1,000 images"));
        }
        for entry in entries {
            images.extend(docker(store, source, &entry)?);
        }
        return Ok(images);
    }
    let text = source.document("index.json", MANIFEST_LIMIT as u64)?;
    let Document::Index(index) = manifest::read(&text)? else {
        return Err(ArchiveError::Wrong("index.json is no index".to_owned()));
    };
    if index.manifests().len() > IMAGES_LIMIT {
        return Err(ArchiveError::Bomb("more than 1,000 images"));
    }
    for entry in index.manifests() {
        images.push(oci(store, source, entry)?);
    }
    Ok(images)
}

/// A blob of a layout, which has the digest that it goes by.
fn blob(source: &Source, wanted: &str, limit: usize) -> Result<Vec<u8>, ArchiveError> {
    let bytes = source.document(&blob_name(wanted)?, limit as u64)?;
    let name = wanted.to_owned();
    digest::check(&bytes, wanted).map_err(|source| ArchiveError::Digest { name, source })?;
    Ok(bytes)
}

fn blob_name(digest: &str) -> Result<String, ArchiveError> {
    let hex = digest::hex_of(digest);
    hex.map(|hex| format!("blobs/sha256/{hex}"))
        .ok_or_else(|| ArchiveError::Wrong(format!("{digest:?} is not a sha256 digest")))
}

fn oci(store: &Store, source: &Source, entry: &Descriptor) -> Result<Image, ArchiveError> {
    let mut digest = entry.digest().to_string();
    let mut bytes = blob(source, &digest, MANIFEST_LIMIT)?;
    if let Document::Index(index) = manifest::read(&bytes)? {
        digest = manifest::choose(&index)?.digest().to_string();
        bytes = blob(source, &digest, MANIFEST_LIMIT)?;
    }
    let Document::Manifest(parsed) = manifest::read(&bytes)? else {
        return Err(ArchiveError::Manifest(manifest::BadManifest::NestedIndex));
    };
    let config = blob(source, parsed.config().digest().as_ref(), CONFIG_LIMIT)?;
    layers(store, source, &parsed, &read_config(&config)?)?;
    let id = store.put_blob(&config)?;
    let annotation = |name: &str| entry.annotations().as_ref().and_then(|all| all.get(name)).cloned();
    let name =
        annotation(FULL_NAME).or_else(|| annotation(REF_NAME).filter(|name| name.contains([':', '/'])));
    let reference = name.and_then(|name| name.parse::<Reference>().ok());
    let image = Image {
        reference: reference.map_or_else(|| Image::no_name(&id), |name| name.to_string()),
        manifest: store.put_blob(&bytes)?,
        size: parsed.layers().iter().map(Descriptor::size).fold(0, u64::saturating_add),
        id,
    };
    store.tag(&image)?;
    Ok(image)
}

fn layers(
    store: &Store,
    source: &Source,
    manifest: &ImageManifest,
    config: &ImageConfig,
) -> Result<(), ArchiveError> {
    same_number(manifest.layers().len(), config)?;
    for (layer, diff_id) in manifest.layers().iter().zip(config.diff_ids()) {
        if store.layer(diff_id)?.is_some() {
            continue;
        }
        let expected = Expected {
            blob: Some(layer.digest().to_string()),
            diff_id: Some(diff_id.clone()),
            compression: manifest::compression(layer)?,
        };
        let part = source.file(&blob_name(layer.digest().as_ref())?)?;
        let (staging, unpacked) = take(store, BufReader::new(part), &expected, Limits::default())?;
        store.commit(staging, &unpacked.diff_id)?;
    }
    Ok(())
}

fn docker(store: &Store, source: &Source, entry: &Entry) -> Result<Vec<Image>, ArchiveError> {
    let config = source.document(&entry.config, CONFIG_LIMIT as u64)?;
    let parsed = read_config(&config)?;
    same_number(entry.layers.len(), &parsed)?;
    let mut sizes = Vec::new();
    for (name, diff_id) in entry.layers.iter().zip(parsed.diff_ids()) {
        let mut part = source.file(name)?;
        sizes.push(part.length());
        if store.layer(diff_id)?.is_some() {
            continue;
        }
        let mut first = [0; 4];
        let filled = std::io::Read::read(&mut part, &mut first).map_err(ArchiveError::Unreadable)?;
        let expected = Expected {
            blob: None,
            diff_id: Some(diff_id.clone()),
            compression: compressed::detect(first.get(..filled).unwrap_or_default()),
        };
        let input = BufReader::new(source.file(name)?);
        let (staging, unpacked) = take(store, input, &expected, Limits::default())?;
        store.commit(staging, &unpacked.diff_id)?;
    }
    let mut names = Vec::new();
    for name in entry.repo_tags.iter().flatten() {
        names.push(name.parse::<Reference>().map_err(|error| ArchiveError::Wrong(error.to_string()))?);
    }
    named(store, &config, &sizes, &names)
}

/// The manifest of an image of plain layers, each with its length. Source: OCI image specification, "Image Manifest".
pub(super) fn manifest<'a>(
    id: &str,
    config_length: usize,
    layers: impl Iterator<Item = (&'a String, u64)>,
) -> String {
    let layers: Vec<_> = layers
        .map(|(digest, size)| json!({ "mediaType": OCI_LAYER, "digest": digest, "size": size }))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": id, "size": config_length },
        "layers": layers,
    });
    manifest.to_string()
}

/// Gives an image its names whose configuration and layers are there, with a manifest of plain layers.
pub(super) fn named(
    store: &Store,
    config: &[u8],
    sizes: &[u64],
    names: &[Reference],
) -> Result<Vec<Image>, ArchiveError> {
    let id = Sha256::of(config);
    let diff_ids = read_config(config)?.diff_ids().to_vec();
    let manifest = manifest(&id, config.len(), diff_ids.iter().zip(sizes.iter().copied()));
    store.put_blob(config)?;
    let manifest = store.put_blob(manifest.as_bytes())?;
    let size = sizes.iter().copied().fold(0, u64::saturating_add);
    let mut references: Vec<String> = names.iter().map(ToString::to_string).collect();
    if references.is_empty() {
        references.push(Image::no_name(&id));
    }
    let mut images = Vec::new();
    for reference in references {
        let image = Image { reference, manifest: manifest.clone(), id: id.clone(), size };
        store.tag(&image)?;
        images.push(image);
    }
    Ok(images)
}

fn read_config(bytes: &[u8]) -> Result<ImageConfig, ArchiveError> {
    ImageConfig::read(bytes)
        .map_err(|error| ArchiveError::Wrong(format!("an image's configuration: {error}")))
}

fn same_number(layers: usize, config: &ImageConfig) -> Result<(), ArchiveError> {
    let named = config.diff_ids().len();
    if layers == named {
        return Ok(());
    }
    Err(ArchiveError::Wrong(format!("it lists {layers} layers of an image, whose configuration {named}")))
}
