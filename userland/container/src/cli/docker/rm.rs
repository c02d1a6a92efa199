//! `docker rm`: removing containers and what they wrote.

use std::time::Duration;

use rustix::process::Signal;

use super::super::{CliError, Places, show};
use super::each;
use crate::api::settings::Settings;
use crate::api::volumes;
use crate::state::StateError;

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Rm {
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
    /// Remove their anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    /// Names or IDs
    #[arg(required = true)]
    container: Vec<String>,
}

impl Rm {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let containers = places.containers();
        Ok(each(&self.container, |name| {
            let container = containers.find(name)?;
            let settings = Settings::of(&containers, &container.record);
            if self.force {
                containers.end(&container, Signal::KILL, Duration::ZERO)?;
            }
            match containers.remove(&container) {
                // Its parent removed it at its end, as it was told to.
                Err(StateError::Missing(_)) if container.record.auto_remove => {}
                other => other?,
            }
            if self.volumes || container.record.auto_remove {
                volumes::remove_anonymous(places, &settings.anonymous);
            }
            show::line(name);
            Ok(())
        }))
    }
}
