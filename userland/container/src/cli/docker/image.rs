//! `docker image`: the verbs about images, under their longer names, and `prune`.

use clap::Subcommand;

use super::super::{CliError, Places, show};
use super::{each, history, images, import, load, pull, push, rmi, save, tag};
use crate::reference::Reference;
use crate::store::description::describe;

/// Manage images
#[derive(Debug, clap::Args)]
pub struct Group {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(alias = "list")]
    Ls(images::Images),
    Pull(pull::Pull),
    Push(push::Push),
    Tag(tag::Tag),
    History(history::History),
    #[command(alias = "remove")]
    Rm(rmi::Rmi),
    Load(load::Load),
    Save(save::Save),
    Import(import::Import),
    /// Show what is known of images, as JSON
    Inspect {
        /// Names or IDs
        #[arg(required = true)]
        image: Vec<String>,
    },
    Prune(Prune),
}

/// Clear away what no image needs, and with -a the images that no container needs
#[derive(Debug, clap::Args)]
struct Prune {
    /// All images that no container was made from
    #[arg(short, long)]
    all: bool,
    /// Do not ask; nobody is asked anyway
    #[arg(short, long)]
    force: bool,
}

impl Group {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        match self.verb {
            Verb::Ls(verb) => verb.run(places),
            Verb::Pull(verb) => verb.run(places),
            Verb::Push(verb) => verb.run(places),
            Verb::Tag(verb) => verb.run(places),
            Verb::History(verb) => verb.run(places),
            Verb::Rm(verb) => verb.run(places),
            Verb::Load(verb) => verb.run(places),
            Verb::Save(verb) => verb.run(places),
            Verb::Import(verb) => verb.run(places),
            Verb::Inspect { image } => inspect(places, &image),
            Verb::Prune(verb) => verb.run(places),
        }
    }
}

fn inspect(places: &Places, names: &[String]) -> Result<u8, CliError> {
    let store = places.open_store()?;
    let mut found = Vec::new();
    let status = each(names, |name| {
        let image = store.find_image(name)?.ok_or_else(|| CliError::NoImage(name.to_owned()))?;
        found.push(describe(&store, &image)?);
        Ok(())
    });
    show::line(&serde_json::to_string_pretty(&found).unwrap_or_default());
    Ok(status)
}

impl Prune {
    fn run(self, places: &Places) -> Result<u8, CliError> {
        let (store, containers) = (places.open_store()?, places.containers());
        let used = containers.images();
        for image in store.images()?.iter().filter(|image| self.all && !used.contains(&image.id)) {
            store.untag(image)?;
            let name = image.reference.parse::<Reference>();
            show::line(&format!(
                "Untagged: {}",
                name.map_or(image.reference.clone(), |name| name.familiar())
            ));
        }
        let cleared = store.clear(|| containers.images())?;
        show::line(&format!("Removed {} layers and {} blobs", cleared.layers, cleared.blobs));
        Ok(0)
    }
}
