//! `docker images`: which images are here.

use super::super::{CliError, Places, show};
use crate::reference::Reference;

/// List images
#[derive(Debug, clap::Args)]
pub struct Images {
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Show the digests of manifests
    #[arg(long)]
    digests: bool,
    /// Only the images of this repository
    repository: Option<String>,
}

impl Images {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let store = places.open_store()?;
        let mut rows = Vec::new();
        if !self.quiet {
            let mut heads = vec!["REPOSITORY", "TAG", "IMAGE ID", "SIZE"];
            if self.digests {
                heads.insert(2, "DIGEST");
            }
            rows.push(heads.into_iter().map(str::to_owned).collect());
        }
        let only: Option<Reference> = self.repository.as_deref().map(str::parse).transpose()?;
        for image in store.images()? {
            // One without a name has no reference.
            let reference = image.reference.parse::<Reference>().ok();
            let none = || "<none>".to_owned();
            let repository = reference.as_ref().map_or_else(none, Reference::familiar_repository);
            if only.as_ref().is_some_and(|only| only.familiar_repository() != repository) {
                continue;
            }
            let mut row = vec![image.short_id().to_owned()];
            if !self.quiet {
                let tag = reference.filter(|one| one.digest().is_none()).map(|one| one.selector().to_owned());
                row = vec![
                    repository,
                    tag.unwrap_or_else(none),
                    image.short_id().to_owned(),
                    show::size(image.size),
                ];
                if self.digests {
                    row.insert(2, image.manifest.clone());
                }
            }
            rows.push(row);
        }
        show::table(&rows);
        Ok(0)
    }
}
