//! Images of rkt: `docker://` references and App Container Images in files.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use clap::Subcommand;
use serde_json::Value;

use super::super::{CliError, Places, pull_and_tell, show};
use super::trust;
use crate::archive::aci;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::image::Image;

/// Work with images
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List images
    List,
    /// Remove images
    Rm {
        /// Names or IDs
        #[arg(required = true)]
        image: Vec<String>,
    },
    /// Print an image's manifest, as an App Container Image has it
    CatManifest {
        /// Name or ID
        image: String,
    },
    /// Clear away what no image and no pod needs
    Gc,
}

/// The image that is meant: one that is here, one of a registry, or one in a file.
pub(super) fn resolve(store: &Store, name: &str, insecure: bool) -> Result<Image, CliError> {
    if let Some(reference) = name.strip_prefix("docker://") {
        if let Some(image) = store.find_image(reference)? {
            return Ok(image);
        }
        return fetch(store, name, insecure);
    }
    let path = Path::new(name);
    if path.extension().is_some_and(|ending| ending == "aci") {
        return fetch(store, name, insecure);
    }
    let found = store.find_image(&own_id(name))?;
    found.map_or_else(|| fetch(store, name, insecure), Ok)
}

/// Fetches an image, whether or not it is here.
pub(super) fn fetch(store: &Store, name: &str, insecure: bool) -> Result<Image, CliError> {
    let path = name.strip_prefix("file://").unwrap_or(name);
    if Path::new(path).extension().is_some_and(|ending| ending == "aci") {
        let failed = |error| CliError::Io("read the image", error);
        let file = File::open(path).map_err(failed)?;
        let image = if insecure {
            aci::import(store, BufReader::new(file))?
        } else {
            // What was vouched for is what is taken, though the file may change meanwhile.
            let bytes = trust::vouched(Path::new(path))?;
            let image = aci::import(store, bytes.as_slice())?;
            trust::covers(&image, &bytes, Path::new(path)).inspect_err(|_| {
                let _ = forget(store, &image);
            })?;
            image
        };
        return Ok(image);
    }
    match name.split_once("://") {
        None => {}
        Some(("docker", _)) => {}
        Some((scheme, _)) => {
            return Err(CliError::Usage(format!(
                "{scheme}:// is not fetched; write docker://NAME, or FILE.aci"
            )));
        }
    }
    let reference: Reference = name.strip_prefix("docker://").unwrap_or(name).parse()?;
    Ok(pull_and_tell(store, &reference, true)?.image)
}

/// All names of an image, and so it, if nobody else needs it.
fn forget(store: &Store, image: &Image) -> Result<(), CliError> {
    for other in store.images()?.iter().filter(|other| other.id == image.id) {
        store.untag(other)?;
    }
    Ok(())
}

/// rkt writes `sha256-HEX` for an ID.
fn own_id(name: &str) -> String {
    name.strip_prefix("sha256-").unwrap_or(name).to_owned()
}

impl Verb {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let store = places.open_store()?;
        let find = |name: &str| -> Result<Image, CliError> {
            store.find_image(&own_id(name))?.ok_or_else(|| CliError::NoImage(name.to_owned()))
        };
        match self {
            Self::List => {
                let mut rows = vec![["ID", "NAME", "SIZE"].map(str::to_owned).to_vec()];
                for image in store.images()? {
                    let id = format!("sha256-{}", image.short_id());
                    rows.push(vec![id, image.reference.clone(), show::size(image.size)]);
                }
                show::table(&rows);
            }
            Self::Rm { image } => {
                for name in &image {
                    forget(&store, &find(name)?)?;
                    show::line(&format!("successfully removed {name}"));
                }
                store.clear(|| places.containers().images())?;
            }
            Self::CatManifest { image } => {
                let image = find(&image)?;
                let document = store.blob(&image.id)?;
                let document: Value =
                    document.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
                let reference: Reference = image.reference.parse()?;
                let manifest = aci::manifest(&reference, &document);
                show::line(&serde_json::to_string_pretty(&manifest).unwrap_or_default());
            }
            Self::Gc => {
                let cleared = store.clear(|| places.containers().images())?;
                show::line(&format!("removed {} layers and {} blobs", cleared.layers, cleared.blobs));
            }
        }
        Ok(0)
    }
}
