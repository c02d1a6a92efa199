//! `docker push`: an image to a registry.

use super::super::{CliError, Places, show};
use crate::push::{Progress, push};
use crate::reference::Reference;

/// Push an image to a registry
///
/// What the registry has already is not sent. Credentials are read from ~/.docker/config.json.
#[derive(Debug, clap::Args)]
pub struct Push {
    /// Only print the image's name
    #[arg(short, long)]
    quiet: bool,
    /// All tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// [HOST[:PORT]/]NAME[:TAG]
    image: String,
}

impl Push {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let reference: Reference = self.image.parse()?;
        let store = places.open_store()?;
        let mut images = Vec::new();
        for image in store.images()? {
            let Ok(name) = image.reference.parse::<Reference>() else { continue };
            let same = name.familiar_repository() == reference.familiar_repository();
            if name == reference || (self.all_tags && same && name.digest().is_none()) {
                images.push((name, image));
            }
        }
        if images.is_empty() {
            return Err(CliError::NoImage(reference.familiar()));
        }
        for (name, image) in images {
            let pushed = push(&store, &image, &name, None, &mut |progress| {
                if let Some(line) = describe(&progress).filter(|_| !self.quiet) {
                    show::line(&line);
                }
            })?;
            if self.quiet {
                show::line(&name.to_string());
            } else {
                let tag = name.tag().unwrap_or("latest");
                show::line(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size));
            }
        }
        Ok(0)
    }
}

/// A line for what is worth one.
fn describe(progress: &Progress) -> Option<String> {
    match progress {
        Progress::Asking(repository) => Some(format!("The push refers to repository [{repository}]")),
        Progress::Preparing(_) | Progress::Pushing { .. } => None,
        Progress::Exists(layer) => Some(format!("{layer}: Layer already exists")),
        Progress::Mounted { layer, from } => Some(format!("{layer}: Mounted from {from}")),
        Progress::Pushed(layer) => Some(format!("{layer}: Pushed")),
    }
}
