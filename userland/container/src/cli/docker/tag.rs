//! `docker tag`: another name for an image.

use super::super::{CliError, Places};
use crate::reference::Reference;
use crate::store::image::Image;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub struct Tag {
    /// Name or ID of the image
    source: String,
    /// [HOST[:PORT]/]NAME[:TAG]
    target: String,
}

impl Tag {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let store = places.open_store()?;
        let image = store.find_image(&self.source)?.ok_or_else(|| CliError::NoImage(self.source.clone()))?;
        let reference: Reference = self.target.parse()?;
        if reference.digest().is_some() {
            return Err(CliError::Usage("a tag cannot have a digest".to_owned()));
        }
        store.tag(&Image { reference: reference.to_string(), ..image })?;
        Ok(0)
    }
}
