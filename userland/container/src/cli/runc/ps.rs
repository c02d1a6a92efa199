//! `runc ps`: the processes of a container.

use std::process::Command;

use super::{Error, World, during};
use crate::cli::show;

/// Print the processes of a container
#[derive(Debug, clap::Args)]
pub struct Ps {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// The container's ID
    id: String,
    /// Options of ps
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Ps {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let record = world.containers.load(&self.id)?;
        let mut pids = record.cgroup.processes();
        if record.cgroup.paths().is_empty() {
            pids.extend(record.process().and(record.pid));
        }
        if self.format == "json" {
            show::line(&serde_json::json!(pids).to_string());
            return Ok(0);
        }
        let options = if self.options.is_empty() { vec!["-ef".to_owned()] } else { self.options };
        let output = during("ps", Command::new("ps").args(options).output())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        let Some(column) = head.split_whitespace().position(|name| name == "PID") else {
            return Err(Error::Usage("ps prints no column PID with these options".to_owned()));
        };
        show::line(head);
        for line in lines {
            let pid = line.split_whitespace().nth(column).and_then(|field| field.parse::<u32>().ok());
            if pid.is_some_and(|pid| pids.contains(&pid)) {
                show::line(line);
            }
        }
        Ok(0)
    }
}
