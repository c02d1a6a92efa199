//! `docker rmi`: taking names of images away, and with the last one the image.

use super::super::{CliError, Places, show};
use super::each;
use crate::reference::Reference;

/// Remove images
#[derive(Debug, clap::Args)]
pub struct Rmi {
    /// Also if containers were made from it (they keep their layers)
    #[arg(short, long)]
    force: bool,
    /// Names or IDs
    #[arg(required = true)]
    image: Vec<String>,
}

impl Rmi {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let store = places.open_store()?;
        let containers = places.containers();
        let all = containers.list()?;
        let status = each(&self.image, |name| {
            let image = store.find_image(name)?.ok_or_else(|| CliError::NoImage(name.to_owned()))?;
            let last = store.images()?.iter().filter(|other| other.id == image.id).count() == 1;
            let user = all.iter().find(|container| container.record.image_id == image.id);
            if let Some(user) = user.filter(|_| last && !self.force) {
                let id = user.record.short_id();
                return Err(CliError::Usage(format!(
                    "conflict: unable to remove {name}: container {id} is using it; remove the container or use -f"
                )));
            }
            store.untag(&image)?;
            let shown =
                image.reference.parse::<Reference>().map_or(image.reference.clone(), |name| name.familiar());
            show::line(&format!("Untagged: {shown}"));
            if last {
                show::line(&format!("Deleted: {}", image.id));
            }
            Ok(())
        });
        store.clear(|| containers.images())?;
        Ok(status)
    }
}
