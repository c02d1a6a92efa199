//! From a stream to a layer that waits for its name in the store.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use super::{Expected, LayerError, Limits, Unpacked, unpack};
use crate::store::{Staging, Store};

/// The recipe is small; what counts is that it costs no time.
const RECIPE_LEVEL: i32 = 3;

/// Unpacks a layer into the unfinished part of the store, along with its recipe.
///
/// # Errors
/// When it is not the expected one or cannot be written. Nothing of it is kept then.
pub fn take(
    store: &Store,
    input: impl Read,
    expected: &Expected,
    limits: Limits,
) -> Result<(Staging, Unpacked), LayerError> {
    let staging = store.stage()?;
    let unpacked = into(&staging, input, expected, limits)?;
    Ok((staging, unpacked))
}

/// As [`take`], into a place that is there already.
///
/// # Errors
/// When it is not the expected one or cannot be written.
pub fn into(
    staging: &Staging,
    input: impl Read,
    expected: &Expected,
    limits: Limits,
) -> Result<Unpacked, LayerError> {
    let failed = |path: &Path, source: io::Error| LayerError::Staging { path: path.to_owned(), source };
    let (fs, recipe) = (staging.fs(), staging.recipe());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(&fs, flags, Mode::empty()).map_err(|error| failed(&fs, error.into()))?;
    let file = File::create_new(&recipe).map_err(|error| failed(&recipe, error))?;
    let mut packed =
        zstd::stream::write::Encoder::new(file, RECIPE_LEVEL).map_err(|error| failed(&recipe, error))?;
    let unpacked = unpack(input, expected, limits, dir, Some(&mut packed))?;
    packed.finish().map_err(|error| failed(&recipe, error))?;
    if !unpacked.recipe {
        fs::remove_file(&recipe).map_err(|error| failed(&recipe, error))?;
    }
    Ok(unpacked)
}
