//! `docker ps`: which containers there are.

use super::super::{CliError, Places, show};
use crate::state::{Container, Status, now};

/// List containers
#[derive(Debug, clap::Args)]
pub struct Ps {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten
    #[arg(long)]
    no_trunc: bool,
}

impl Ps {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let mut rows = Vec::new();
        if !self.quiet {
            let heads = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
            rows.push(heads.map(str::to_owned).to_vec());
        }
        for container in places.containers().list()? {
            if self.all || container.status == Status::Running {
                rows.push(self.row(&container));
            }
        }
        show::table(&rows);
        Ok(0)
    }

    fn row(&self, container: &Container) -> Vec<String> {
        let record = &container.record;
        let id = if self.no_trunc { record.id.clone() } else { record.short_id().to_owned() };
        if self.quiet {
            return vec![id];
        }
        let width = if self.no_trunc { usize::MAX / 4 } else { 20 };
        let command = format!("\"{}\"", show::short(&record.command.join(" "), width));
        let ago = |time: u64| show::span(now().saturating_sub(time));
        let status = match container.status {
            Status::Created => "Created".to_owned(),
            Status::Running => format!("Up {}", ago(container.state.started.unwrap_or(record.created))),
            Status::Exited(code) => match container.state.finished {
                Some(finished) => format!("Exited ({code}) {} ago", ago(finished)),
                None => format!("Exited ({code})"),
            },
        };
        let created = format!("{} ago", ago(record.created));
        vec![id, record.image.clone(), command, created, status, String::new(), record.name.clone()]
    }
}
