//! `docker load`: images from an archive.

use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::super::{CliError, Places, show};
use crate::archive::load::load;
use crate::archive::source::Source;
use crate::reference::Reference;

/// Load images from an archive of docker save, an OCI archive, or the directory of an OCI layout
#[derive(Debug, clap::Args)]
pub struct Load {
    /// The archive, plain or packed with gzip or zstd, or the directory; standard input if none is given
    #[arg(short, long)]
    input: Option<PathBuf>,
    /// Tell nothing
    #[arg(short, long)]
    quiet: bool,
}

impl Load {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let store = places.open_store()?;
        let source = match self.input.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => Source::open(&store, path)?,
            None => Source::read(&store, BufReader::new(std::io::stdin().lock()))?,
        };
        for image in load(&store, &source)? {
            let line = match image.reference.parse::<Reference>() {
                Ok(name) => format!("Loaded image: {}", name.familiar()),
                Err(_) => format!("Loaded image ID: {}", image.id),
            };
            if !self.quiet {
                show::line(&line);
            }
        }
        Ok(0)
    }
}
