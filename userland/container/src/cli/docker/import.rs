//! `docker import`: an image from a root file system.

use std::fs::File;
use std::io::{BufRead, BufReader};

use super::super::{CliError, Places, show};
use crate::archive::import::import;
use crate::reference::Reference;

/// Make an image of a root file system in a tar archive, plain or packed
#[derive(Debug, clap::Args)]
pub struct Import {
    /// A line of a Dockerfile, such as 'CMD ["sh"]'
    #[arg(short, long)]
    change: Vec<String>,
    /// A remark
    #[arg(short, long, default_value = "")]
    message: String,
    /// The archive, or - for standard input
    file: String,
    /// [HOST[:PORT]/]NAME[:TAG]
    image: Option<String>,
}

impl Import {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let name: Option<Reference> = self.image.as_deref().map(str::parse).transpose()?;
        let store = places.open_store()?;
        let input: Box<dyn BufRead> = match self.file.as_str() {
            "-" => Box::new(BufReader::new(std::io::stdin().lock())),
            path => {
                let file = File::open(path).map_err(|error| CliError::Io("open the archive", error))?;
                Box::new(BufReader::new(file))
            }
        };
        let changes = self.change.iter().map(String::as_str);
        let image = import(&store, input, name.as_ref(), &self.message, changes)?;
        show::line(&image.id);
        Ok(0)
    }
}
