//! Images into an archive or a layout: an OCI layout of plain layers with Docker's `manifest.json` beside it.
//!
//! The layers are made again from their recipes while they are written, and checked: if one is not what it was,
//! the archive ends there, without the files that name images.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::ArchiveError;
use super::load::{OCI_MANIFEST, manifest};
use crate::layer::recipe;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::digest::{self, Sha256};
use crate::store::image::Image;

/// The images that are meant: of a repository without a tag all, of an ID the image without a name.
///
/// # Errors
/// The words for the one that is not here.
pub fn select(store: &Store, names: &[String]) -> Result<Vec<Image>, String> {
    let all = store.images().map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        if let Ok(reference) = name.parse::<Reference>() {
            let written = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
            found.extend(
                all.iter()
                    .filter(|image| match image.reference.parse::<Reference>() {
                        Ok(known) if written => known == reference,
                        Ok(known) => known.familiar_repository() == reference.familiar_repository(),
                        Err(_) => false,
                    })
                    .cloned(),
            );
        }
        if found.len() == before {
            let image = store.find_image(name).map_err(|error| error.to_string())?;
            let image = image.ok_or_else(|| format!("No such image: {name}"))?;
            found.push(Image { reference: Image::no_name(&image.id), ..image });
        }
    }
    Ok(found)
}

/// Where files of a layout are put.
trait Sink {
    fn file(
        &mut self,
        name: &str,
        size: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError>;
}

/// Writes images as an archive. Images with several names are written once.
///
/// # Errors
/// When a layer cannot be made again, or `out` does not take it.
pub fn archive(store: &Store, images: &[Image], out: impl Write) -> Result<(), ArchiveError> {
    let mut tar = Tar(Builder::new(out));
    layout(store, images, &mut tar)?;
    let mut out = tar.0.into_inner().map_err(ArchiveError::Unwritable)?;
    out.flush().map_err(ArchiveError::Unwritable)
}

/// Writes images as a layout into a directory that is there. What it holds of other images stays, but is not
/// named any more.
///
/// # Errors
/// When a layer cannot be made again, or the disk fails.
pub fn directory(store: &Store, images: &[Image], dir: &Path) -> Result<(), ArchiveError> {
    layout(store, images, &mut Directory(dir.to_owned()))
}

fn layout(store: &Store, images: &[Image], sink: &mut dyn Sink) -> Result<(), ArchiveError> {
    let mut names: BTreeMap<&str, Vec<&Image>> = BTreeMap::new();
    for image in images {
        let known = names.entry(&image.id).or_default();
        if !known.contains(&image) {
            known.push(image);
        }
    }
    let mut written = BTreeSet::new();
    let mut documents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut index, mut docker) = (Vec::new(), Vec::new());
    for (id, images) in names {
        let missing = || ArchiveError::Wrong(format!("the configuration of {id} is missing; pull it again"));
        let config = store.blob(id)?.ok_or_else(missing)?;
        let mut layers = Vec::new();
        let diff_ids = images.first().map(|image| store.config(image)).transpose()?.unwrap_or_default();
        for diff_id in diff_ids.diff_ids() {
            let size = recipe::size(store, diff_id)?;
            layers.push((diff_id.clone(), size));
            if written.insert(diff_id.clone()) {
                sink.file(&path(diff_id), size, &mut |out| {
                    recipe::archive(store, diff_id, out).map(drop).map_err(ArchiveError::from)
                })?;
            }
        }
        let manifest = manifest(id, config.len(), layers.iter().map(|(digest, size)| (digest, *size)));
        let digest = Sha256::of(manifest.as_bytes());
        let entry = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len() });
        let mut tags = Vec::new();
        for reference in images.iter().filter_map(|image| image.reference.parse::<Reference>().ok()) {
            let Some(tag) = reference.tag().filter(|_| reference.digest().is_none()) else { continue };
            tags.push(reference.familiar());
            let mut entry = entry.clone();
            let full = reference.to_string();
            super::changes::set(
                &mut entry,
                "annotations",
                json!({ "io.containerd.image.name": full, "org.opencontainers.image.ref.name": tag }),
            );
            index.push(entry);
        }
        if tags.is_empty() {
            index.push(entry);
        }
        docker.push(json!({
            "Config": path(id), "RepoTags": if tags.is_empty() { Value::Null } else { json!(tags) },
            "Layers": layers.iter().map(|(digest, _)| path(digest)).collect::<Vec<_>>(),
        }));
        documents.insert(path(id), config);
        documents.insert(path(&digest), manifest.into_bytes());
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": index,
    });
    documents.insert("index.json".to_owned(), index.to_string().into_bytes());
    documents.insert("manifest.json".to_owned(), json!(docker).to_string().into_bytes());
    documents.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    // In the order of their names: what names images comes after all that it names.
    for (name, bytes) in documents {
        sink.file(&name, bytes.len() as u64, &mut |out| {
            out.write_all(&bytes).map_err(ArchiveError::Unwritable)
        })?;
    }
    Ok(())
}

fn path(digest: &str) -> String {
    format!("blobs/sha256/{}", digest::hex_of(digest).unwrap_or(digest))
}

struct Tar<W: Write>(Builder<W>);

impl<W: Write> Sink for Tar<W> {
    fn file(
        &mut self,
        name: &str,
        size: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let mut header = Header::new_gnu();
        header.set_path(name).map_err(ArchiveError::Unwritable)?;
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        let out = self.0.get_mut();
        out.write_all(header.as_bytes()).map_err(ArchiveError::Unwritable)?;
        write(out)?;
        let padding = size.next_multiple_of(512) - size;
        io::copy(&mut io::Read::take(io::repeat(0), padding), out).map_err(ArchiveError::Unwritable)?;
        Ok(())
    }
}

struct Directory(PathBuf);

impl Sink for Directory {
    fn file(
        &mut self,
        name: &str,
        _size: u64,
        write: &mut dyn FnMut(&mut dyn Write) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let path = self.0.join(name);
        let failed = |source| ArchiveError::Io { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        // Beside it first: a layout that is being written over names nothing that is not whole.
        let new = path.with_extension("new");
        let mut out = io::BufWriter::new(File::create(&new).map_err(failed)?);
        write(&mut out)?;
        out.flush().map_err(failed)?;
        drop(out);
        fs::rename(&new, &path).map_err(failed)
    }
}
