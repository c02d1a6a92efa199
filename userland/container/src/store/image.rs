//! The names of images, and what they refer to.
//!
//! An image's id is the digest of its configuration, as with Docker. Several names may refer to one image.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError, digest, io_error};
use crate::bundle::image::ImageConfig;
use crate::reference::Reference;

/// One name of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The full name.
    pub reference: String,
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the configuration: the image's id.
    pub id: String,
    /// Bytes of all layers as they were transferred.
    pub size: u64,
}

impl Image {
    /// What stands in for the name of an image that has none; it is no reference.
    #[must_use]
    pub fn no_name(id: &str) -> String {
        format!("<none>@{id}")
    }

    /// The twelve digits that people know an image by.
    #[must_use]
    pub fn short_id(&self) -> &str {
        digest::hex_of(&self.id).and_then(|hex| hex.get(..12)).unwrap_or(&self.id)
    }
}

impl Store {
    /// Gives an image a name, after all that belongs to it is in the store.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tag(&self, image: &Image) -> Result<(), StoreError> {
        let text =
            serde_json::to_vec_pretty(image).map_err(|error| io_error("write", &self.root, error.into()))?;
        self.write(&self.image_path(&image.reference)?, &text)
    }

    fn image_path(&self, reference: &str) -> Result<PathBuf, StoreError> {
        let digest = digest::Sha256::of(reference.as_bytes());
        let hex = digest::hex_of(&digest).ok_or_else(|| StoreError::Digest(digest.clone()))?;
        Ok(self.root.join("images").join(format!("{hex}.json")))
    }

    /// The image of this name; `None` if it is not here or not whole.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub fn image(&self, reference: &Reference) -> Result<Option<Image>, StoreError> {
        let path = self.image_path(&reference.to_string())?;
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("read", &path, error)),
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| StoreError::Damaged { path, why: error.to_string() }),
        }
    }

    /// All names of images, by name.
    ///
    /// # Errors
    /// When the directory cannot be read. A damaged record is left out.
    pub fn images(&self) -> Result<Vec<Image>, StoreError> {
        let dir = self.root.join("images");
        let entries = fs::read_dir(&dir).map_err(|error| io_error("list", &dir, error))?;
        let mut images: Vec<Image> = entries
            .flatten()
            .filter_map(|entry| serde_json::from_slice(&fs::read(entry.path()).ok()?).ok())
            .collect();
        images.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(images)
    }

    /// The image that a name or the beginning of an id means.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn find_image(&self, name: &str) -> Result<Option<Image>, StoreError> {
        if let Ok(reference) = name.parse::<Reference>()
            && let Some(image) = self.image(&reference)?
        {
            return Ok(Some(image));
        }
        let prefix = name.strip_prefix("sha256:").unwrap_or(name);
        if prefix.len() < 3 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let mut found = self
            .images()?
            .into_iter()
            .filter(|image| digest::hex_of(&image.id).is_some_and(|hex| hex.starts_with(prefix)));
        let first = found.next();
        // Several names of one image are no ambiguity; several images are.
        let ambiguous = found.any(|other| Some(&other.id) != first.as_ref().map(|image| &image.id));
        Ok(first.filter(|_| !ambiguous))
    }

    /// Takes a name away. What nothing refers to any more goes with the next clearing.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn untag(&self, image: &Image) -> Result<(), StoreError> {
        let path = self.image_path(&image.reference)?;
        fs::remove_file(&path).map_err(|error| io_error("remove", &path, error))
    }

    /// The configuration of an image.
    ///
    /// # Errors
    /// When it is missing or damaged.
    pub fn config(&self, image: &Image) -> Result<ImageConfig, StoreError> {
        let path = self.root.join("blobs");
        let bytes = self.blob(&image.id)?.ok_or_else(|| StoreError::Damaged {
            path: path.clone(),
            why: format!("{} is missing", image.id),
        })?;
        ImageConfig::read(&bytes).map_err(|error| StoreError::Damaged { path, why: error.to_string() })
    }

    /// The directories of an image's layers, the lowest first.
    ///
    /// # Errors
    /// When one is missing.
    pub fn layers(&self, config: &ImageConfig) -> Result<Vec<PathBuf>, StoreError> {
        config
            .diff_ids()
            .iter()
            .map(|diff_id| {
                self.layer(diff_id)?.ok_or_else(|| StoreError::Damaged {
                    path: self.root.join("layers"),
                    why: format!("layer {diff_id} is missing"),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(reference: &str, id: char) -> Image {
        let digest = format!("sha256:{}", id.to_string().repeat(64));
        Image { reference: reference.to_owned(), manifest: digest.clone(), id: digest, size: 1 }
    }

    #[test]
    fn images_are_found_by_name_and_by_id() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let busybox = image("docker.io/library/busybox:latest", 'a');
        let again = image("10.0.2.2:5000/busybox:1", 'a');
        let other = image("docker.io/library/nginx:latest", 'b');
        for image in [&busybox, &again, &other] {
            store.tag(image).unwrap();
        }
        assert_eq!(store.find_image("busybox").unwrap(), Some(busybox.clone()));
        assert_eq!(store.find_image("aaa").unwrap().unwrap().id, busybox.id);
        assert_eq!(store.find_image("sha256:bbbb").unwrap(), Some(other.clone()));
        assert_eq!(store.find_image("ccc").unwrap(), None);
        assert_eq!(store.find_image("../x").unwrap(), None);
        store.untag(&busybox).unwrap();
        assert_eq!(store.find_image("busybox").unwrap(), None);
        assert_eq!(store.images().unwrap(), [again, other]);
    }

    #[test]
    fn the_beginning_of_two_ids_means_neither() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut one = image("one:1", 'a');
        one.id = format!("sha256:{}{}", "a".repeat(63), "b");
        store.tag(&one).unwrap();
        store.tag(&image("two:1", 'a')).unwrap();
        assert_eq!(store.find_image("aaaa").unwrap(), None);
    }
}
