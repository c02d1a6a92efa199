//! An image of one layer from a root file system in a tar archive.

use std::io::BufRead;

use serde_json::json;

use super::ArchiveError;
use super::changes::{Step, apply, with_layer};
use super::load::named;
use crate::layer::take::take;
use crate::layer::{Expected, Limits, compressed};
use crate::reference::Reference;
use crate::store::Store;
use crate::store::image::Image;

/// Takes a root file system, packed or not, and gives the image this name or none.
///
/// # Errors
/// When it is no archive, or a change is none. Nothing of it is kept then.
pub fn import<'a>(
    store: &Store,
    mut input: impl BufRead,
    name: Option<&Reference>,
    comment: &str,
    changes: impl IntoIterator<Item = &'a str>,
) -> Result<Image, ArchiveError> {
    let mut config = json!({});
    apply(&mut config, changes)?;
    let first = input.fill_buf().map_err(ArchiveError::Unreadable)?;
    if first.is_empty() {
        return Err(ArchiveError::Missing("content".to_owned()));
    }
    let expected = Expected { blob: None, diff_id: None, compression: compressed::detect(first) };
    let (staging, layer) = take(store, input, &expected, Limits::default())?;
    store.commit(staging, &layer.diff_id)?;
    let comment = if comment.is_empty() { "Imported from -" } else { comment };
    let document = with_layer(None, config, &layer.diff_id, &Step { comment, ..Step::default() });
    let names: Vec<Reference> = name.into_iter().cloned().collect();
    let images = named(store, document.to_string().as_bytes(), &[layer.size], &names)?;
    images.into_iter().next().ok_or_else(|| ArchiveError::Missing("image".to_owned()))
}
