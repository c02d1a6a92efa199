//! An image as Docker describes it.

use serde_json::{Value, json};

use super::image::Image;
use super::{Store, StoreError};
use crate::reference::Reference;

/// What stands for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The names and digests of one image.
#[must_use]
pub fn names(images: &[Image], id: &str) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for image in images.iter().filter(|image| image.id == id) {
        let Ok(reference) = image.reference.parse::<Reference>() else { continue };
        if reference.digest().is_none() {
            tags.push(reference.familiar());
        }
        digests.push(format!("{}@{}", reference.familiar_repository(), image.manifest));
    }
    digests.sort();
    digests.dedup();
    (tags, digests)
}

/// All that is known of an image, as `docker image inspect` shows it.
///
/// # Errors
/// When its configuration is missing or damaged.
pub fn describe(store: &Store, image: &Image) -> Result<Value, StoreError> {
    let damaged = |why: String| StoreError::Damaged { path: store.root().join("blobs"), why };
    let bytes = store.blob(&image.id)?.ok_or_else(|| damaged(format!("{} is missing", image.id)))?;
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    let (tags, digests) = names(&store.images()?, &image.id);
    let field = |name: &str| document.get(name).cloned().unwrap_or(json!(""));
    Ok(json!({
        "Id": image.id, "RepoTags": tags, "RepoDigests": digests, "Parent": "", "Comment": field("comment"),
        "Created": field("created"), "DockerVersion": field("docker_version"), "Author": field("author"),
        "Config": document.get("config").filter(|config| config.is_object()).cloned().unwrap_or_else(|| json!({})),
        "Architecture": field("architecture"), "Os": field("os"), "Size": image.size, "VirtualSize": image.size,
        "GraphDriver": { "Name": "overlay2", "Data": null },
        "RootFS": {
            "Type": "layers", "Layers": document.pointer("/rootfs/diff_ids").cloned().unwrap_or_else(|| json!([])),
        },
        "Metadata": { "LastTagTime": NEVER },
    }))
}
