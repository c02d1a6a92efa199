//! `docker logs`: where a container's output went.

use super::super::{CliError, Places, show};

/// Tell where the output of a container is: the journal
#[derive(Debug, clap::Args)]
pub struct Logs {
    /// Follow (give it to journalctl)
    #[arg(short, long)]
    follow: bool,
    /// Name or ID
    container: String,
}

impl Logs {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let container = places.containers().find(&self.container)?;
        let follow = if self.follow { " -f" } else { "" };
        let which = match &container.state.unit {
            Some(unit) if unit != "sshd.service" => format!("-u {unit}"),
            _ => format!("-t {}", container.record.name),
        };
        show::line(&format!("its output is in the journal: journalctl{follow} {which}"));
        Ok(0)
    }
}
