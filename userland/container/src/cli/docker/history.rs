//! `docker history`: the steps that made an image, the newest first.

use super::super::{CliError, Places, show};
use crate::state::now;
use crate::store::history::steps;

/// Show the steps that made an image
#[derive(Debug, clap::Args)]
pub struct History {
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
    /// Name or ID
    image: String,
}

impl History {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let store = places.open_store()?;
        let image = store.find_image(&self.image)?.ok_or_else(|| CliError::NoImage(self.image.clone()))?;
        let id = if self.no_trunc { image.id.as_str() } else { image.short_id() };
        let mut rows = Vec::new();
        if !self.quiet {
            rows.push(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"].map(str::to_owned).to_vec());
        }
        for (at, step) in steps(&store, &image)?.iter().enumerate() {
            let name = if at == 0 { id } else { "<missing>" }.to_owned();
            if self.quiet {
                rows.push(vec![name]);
                continue;
            }
            let width = if self.no_trunc { usize::MAX / 2 } else { 45 };
            let age = now().saturating_sub(u64::try_from(step.created).unwrap_or(0));
            rows.push(vec![
                name,
                format!("{} ago", show::span(age)),
                show::short(&step.by, width),
                show::size(step.size),
                show::short(&step.comment, width),
            ]);
        }
        show::table(&rows);
        Ok(0)
    }
}
