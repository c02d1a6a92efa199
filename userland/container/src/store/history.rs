//! The steps that made an image, as its configuration tells them.

use serde_json::Value;

use super::image::Image;
use super::{Store, StoreError};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Seconds since 1970; 0 if that is not known.
    pub created: i64,
    /// The command.
    pub by: String,
    /// A remark.
    pub comment: String,
    /// Bytes of the layer that it made, unpacked; 0 if it made none.
    pub size: u64,
}

/// The steps of an image, the newest first.
///
/// # Errors
/// When its configuration or a layer is missing.
pub fn steps(store: &Store, image: &Image) -> Result<Vec<Step>, StoreError> {
    let mut layers = store.layers(&store.config(image)?)?.into_iter();
    let document: Value =
        store.blob(&image.id)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let history = document.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut steps: Vec<Step> = history
        .iter()
        .map(|step| {
            let text = |name: &str| step.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let made = step.get("empty_layer").and_then(Value::as_bool) != Some(true);
            let created: Option<jiff::Timestamp> = text("created").parse().ok();
            Step {
                created: created.map_or(0, jiff::Timestamp::as_second),
                by: text("created_by"),
                comment: text("comment"),
                size: if made { layers.next().map_or(0, |layer| super::size_of(&layer)) } else { 0 },
            }
        })
        .collect();
    steps.reverse();
    Ok(steps)
}
