//! `docker load`: images from an archive.

use super::super::{CliError, Places};

/// Load images from an archive (not there yet)
#[derive(Debug, clap::Args)]
pub struct Load {
    /// The archive; standard input if none is given
    #[arg(short, long)]
    input: Option<std::path::PathBuf>,
}

impl Load {
    pub(super) fn run(self, _places: &Places) -> Result<u8, CliError> {
        let _ = self.input;
        Err(CliError::Usage(
            "docker load: not there yet; push the image to a registry and pull it".to_owned(),
        ))
    }
}
