//! `docker save`: images into an archive.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::super::{CliError, Places};
use crate::archive::save::{archive, directory, select};
use crate::layer::compressed::gzip;
use crate::store::Store;
use crate::store::image::Image;

/// Save images into an archive, which docker load and every reader of OCI layouts take
#[derive(Debug, clap::Args)]
pub struct Save {
    /// The file, packed if its name ends in .gz, .tgz or .zst; a directory becomes an OCI layout
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Names or IDs; without a tag all tags of the repository
    #[arg(required = true)]
    image: Vec<String>,
}

impl Save {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let store = places.open_store()?;
        let images = select(&store, &self.image).map_err(CliError::Usage)?;
        match &self.output {
            Some(dir) if dir.is_dir() => directory(&store, &images, dir)?,
            Some(path) => to_file(&store, &images, path)?,
            None if io::stdout().is_terminal() => {
                let why = "cowardly refusing to save to a terminal. Use the -o flag or redirect";
                return Err(CliError::Usage(why.to_owned()));
            }
            None => archive(&store, &images, BufWriter::new(io::stdout().lock()))?,
        }
        Ok(0)
    }
}

/// Under another name first: what has the name is whole.
fn to_file(store: &Store, images: &[Image], path: &Path) -> Result<(), CliError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let failed = |error| CliError::Io("write the archive", error);
    let written = (|| {
        let file = BufWriter::new(File::create(&part).map_err(failed)?);
        let mut file = match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz" | "tgz") => {
                let mut packed = gzip(file);
                archive(store, images, &mut packed)?;
                packed.finish().map_err(failed)?
            }
            Some("zst") => {
                let mut packed = zstd::stream::write::Encoder::new(file, 0).map_err(failed)?;
                archive(store, images, &mut packed)?;
                packed.finish().map_err(failed)?
            }
            _ => {
                let mut file = file;
                archive(store, images, &mut file)?;
                file
            }
        };
        file.flush().map_err(failed)?;
        file.get_ref().sync_all().map_err(failed)?;
        std::fs::rename(&part, path).map_err(failed)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}
