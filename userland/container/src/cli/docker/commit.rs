//! `docker commit`: an image of what a container changed.

use serde_json::{Value, json};

use super::super::{CliError, Places, show};
use crate::archive::changes::{Step, apply};
use crate::archive::commit::commit;
use crate::reference::Reference;

/// Make an image of a container's changes
#[derive(Debug, clap::Args)]
pub struct Commit {
    /// Who made it
    #[arg(short, long, default_value = "")]
    author: String,
    /// A line of a Dockerfile, such as 'CMD ["sh"]'
    #[arg(short, long)]
    change: Vec<String>,
    /// A remark
    #[arg(short, long, default_value = "")]
    message: String,
    /// Name or ID; one that runs goes on, so let it be at rest
    container: String,
    /// [HOST[:PORT]/]NAME[:TAG]
    image: Option<String>,
}

impl Commit {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let name: Option<Reference> = self.image.as_deref().map(str::parse).transpose()?;
        let containers = places.containers();
        let record = containers.find(&self.container)?.record;
        let store = places.open_store()?;
        let document = store.blob(&record.image_id)?;
        let document: Value =
            document.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let mut config =
            document.get("config").filter(|config| config.is_object()).cloned().unwrap_or(json!({}));
        apply(&mut config, self.change.iter().map(String::as_str))?;
        let by = record.command.join(" ");
        let step = Step { author: &self.author, by: &by, comment: &self.message };
        let upper = containers.upper(&record.id);
        let image = commit(&store, &record.image_id, &upper, config, &step, name.as_ref())?;
        show::line(&image.id);
        Ok(0)
    }
}
