//! A new image from an image and what a container changed in it.

use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use serde_json::Value;

use super::ArchiveError;
use super::changes::{Step, with_layer};
use super::load::named;
use crate::layer::pack::{PackError, pack};
use crate::layer::take::take;
use crate::layer::{Expected, Limits, Unpacked};
use crate::reference::Reference;
use crate::registry::manifest::Compression;
use crate::store::Store;
use crate::store::image::Image;

/// Makes an image of `base` and the directory `upper` that overlayfs wrote, which says to run as `config`, and
/// gives it this name or none.
///
/// # Errors
/// When the directory cannot be read or the base is not whole. Nothing of it is kept then.
pub fn commit(
    store: &Store,
    base: &str,
    upper: &Path,
    config: Value,
    step: &Step<'_>,
    name: Option<&Reference>,
) -> Result<Image, ArchiveError> {
    let failed = |source| ArchiveError::Io { path: upper.to_owned(), source };
    let missing = || ArchiveError::Wrong(format!("the image {base} is not here any more"));
    let bytes = store.blob(base)?.ok_or_else(missing)?;
    let document: Value =
        serde_json::from_slice(&bytes).map_err(|error| ArchiveError::Wrong(error.to_string()))?;
    let dir = open(upper, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    let layer = layer_of(store, dir)?;
    let new = with_layer(Some(document), config, &layer.diff_id, step);
    let mut sizes = sizes(store, base)?;
    sizes.push(layer.size);
    let names: Vec<Reference> = name.into_iter().cloned().collect();
    let images = named(store, new.to_string().as_bytes(), &sizes, &names)?;
    images.into_iter().next().ok_or_else(missing)
}

/// Makes a layer of a directory and takes it into the store.
///
/// # Errors
/// When the directory cannot be read or the store not be written. Nothing of it is kept then.
pub(super) fn layer_of(store: &Store, dir: OwnedFd) -> Result<Unpacked, ArchiveError> {
    let (reader, writer) = std::io::pipe().map_err(ArchiveError::Unwritable)?;
    let (packed, taken) = std::thread::scope(|scope| {
        let out = std::io::BufWriter::with_capacity(64 << 10, writer);
        let packing = scope.spawn(move || pack(dir, out).map(drop));
        let expected = Expected { blob: None, diff_id: None, compression: Compression::None };
        let taken = take(store, BufReader::new(reader), &expected, Limits::default());
        (packing.join(), taken)
    });
    // Each failure makes the other side fail too; an unpacker that stopped shows as a broken pipe.
    match packed {
        Ok(Err(PackError::Write(_))) if taken.is_err() => {}
        Ok(packed) => packed?,
        Err(_) => return Err(ArchiveError::Unwritable(std::io::Error::other("the packer ended"))),
    }
    let (staging, layer) = taken?;
    store.commit(staging, &layer.diff_id)?;
    Ok(layer)
}

/// The sizes of the layers of an image as plain archives.
fn sizes(store: &Store, id: &str) -> Result<Vec<u64>, ArchiveError> {
    let bytes = store.blob(id)?.unwrap_or_default();
    let config = crate::bundle::image::ImageConfig::read(&bytes)
        .map_err(|error| ArchiveError::Wrong(error.to_string()))?;
    let mut sizes = Vec::new();
    for diff_id in config.diff_ids() {
        sizes.push(crate::layer::recipe::size(store, diff_id)?);
    }
    Ok(sizes)
}
