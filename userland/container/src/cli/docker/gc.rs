//! `docker gc`: clearing away what a power cut or a kill left. Run at boot by `docker.service`.

use super::super::{CliError, Places, show};

/// Clear away what a power cut left: torn downloads, containers that were to be removed, unused layers
///
/// Touches nothing that is in use, and no container that was to be kept.
#[derive(Debug, clap::Args)]
pub struct Gc;

impl Gc {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let containers = places.containers();
        let store = places.open_store()?;
        let removed = containers.clear()?;
        let cleared = store.clear(|| containers.images())?;
        show::line(&format!(
            "removed {removed} containers, {} torn downloads, {} blobs, {} layers",
            cleared.torn, cleared.blobs, cleared.layers
        ));
        Ok(0)
    }
}
