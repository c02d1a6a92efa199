//! `docker pull`: an image from a registry.

use super::super::{CliError, Places, pull_and_tell, show};
use crate::reference::Reference;

/// Pull an image from a registry
///
/// Registries are spoken to over TLS; plain HTTP is for loopback addresses and for what
/// "insecure-registries" in /etc/docker/daemon.json names. Credentials are read from ~/.docker/config.json.
#[derive(Debug, clap::Args)]
pub struct Pull {
    /// Only print the image's name
    #[arg(short, long)]
    quiet: bool,
    /// [HOST[:PORT]/]NAME[:TAG][@DIGEST]
    image: String,
}

impl Pull {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let reference: Reference = self.image.parse()?;
        let store = places.open_store()?;
        let written_tag = self.image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
        if !written_tag && !self.quiet {
            show::line("Using default tag: latest");
        }
        let pulled = pull_and_tell(&store, &reference, self.quiet)?;
        if !self.quiet {
            show::line(&format!("Digest: {}", pulled.image.manifest));
            let status = if pulled.new { "Downloaded newer image for" } else { "Image is up to date for" };
            show::line(&format!("Status: {status} {}", reference.familiar()));
        }
        show::line(&reference.to_string());
        Ok(0)
    }
}
