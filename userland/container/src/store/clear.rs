//! Clearing away what nothing refers to: torn downloads, and blobs and layers without an image.
//!
//! Runs only while nobody else uses the store. A layer stays while an image or a container needs it.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::{Store, StoreError, digest, io_error};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Unfinished downloads and files.
    pub torn: usize,
    /// Blobs.
    pub blobs: usize,
    /// Layers.
    pub layers: usize,
}

impl Store {
    /// Removes what nothing refers to. `needed` gives the ids of images that containers run from; it is
    /// asked when nobody can make containers any more.
    ///
    /// Does nothing while another process uses the store.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self, needed: impl FnOnce() -> Vec<String>) -> Result<Cleared, StoreError> {
        let mut cleared = Cleared::default();
        if !self.alone() {
            return Ok(cleared);
        }
        let needed = needed();
        let images = self.images()?;
        let mut blobs = HashSet::new();
        let mut layers = HashSet::new();
        let ids = images.iter().map(|image| &image.id).chain(&needed);
        for id in ids {
            blobs.extend(digest::hex_of(id).map(str::to_owned));
            // An unreadable configuration keeps no layers; its image cannot run anyway.
            let Ok(Some(bytes)) = self.blob(id) else { continue };
            let Ok(config) = crate::bundle::image::ImageConfig::read(&bytes) else { continue };
            layers.extend(config.diff_ids().iter().filter_map(|id| digest::hex_of(id)).map(str::to_owned));
        }
        blobs.extend(images.iter().filter_map(|image| digest::hex_of(&image.manifest)).map(str::to_owned));
        cleared.torn = sweep(&self.root.join("tmp"), |_| false)?;
        cleared.blobs = sweep(&self.root.join("blobs/sha256"), |name| blobs.contains(name))?;
        cleared.layers = sweep(&self.root.join("layers"), |name| layers.contains(name))?;
        Ok(cleared)
    }
}

fn sweep(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<usize, StoreError> {
    let mut removed = 0;
    for entry in fs::read_dir(dir).map_err(|error| io_error("list", dir, error))?.flatten() {
        if entry.file_name().to_str().is_some_and(&keep) {
            continue;
        }
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let gone = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.map_err(|error| io_error("remove", &path, error))?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::image::Image;

    #[test]
    fn what_an_image_needs_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let layer = |text: &[u8]| {
            let id = digest::Sha256::of(text);
            store.commit(store.stage().unwrap(), &id).unwrap();
            id
        };
        let (kept, lost) = (layer(b"kept"), layer(b"lost"));
        let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{kept}"]}}}}"#);
        let id = store.put_blob(config.as_bytes()).unwrap();
        let manifest = store.put_blob(b"manifest").unwrap();
        store.put_blob(b"orphan").unwrap();
        fs::create_dir_all(dir.path().join("tmp/torn/fs")).unwrap();
        let image = Image { reference: "a:b".to_owned(), manifest, id: id.clone(), size: 0 };
        store.tag(&image).unwrap();

        let busy = Store::open(dir.path()).unwrap();
        assert_eq!(store.clear(Vec::new).unwrap(), Cleared::default(), "another user holds it back");
        drop(busy);
        assert_eq!(store.clear(Vec::new).unwrap(), Cleared { torn: 1, blobs: 1, layers: 1 });
        assert!(store.layer(&kept).unwrap().is_some());
        assert!(store.layer(&lost).unwrap().is_none());

        store.untag(&image).unwrap();
        assert_eq!(store.clear(|| vec![id]).unwrap().layers, 0, "a container still needs it");
        assert_eq!(store.clear(Vec::new).unwrap().layers, 1);
    }
}
