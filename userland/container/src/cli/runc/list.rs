//! `runc list`: the containers of the state directory.

use serde_json::Value;

use super::containers::Status;
use super::{Error, World, state};
use crate::cli::show;

/// List containers
#[derive(Debug, clap::Args)]
pub struct List {
    /// table or json
    #[arg(short, long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
    /// Only the IDs
    #[arg(short, long)]
    quiet: bool,
}

impl List {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let records = world.containers.list();
        if self.quiet {
            records.iter().for_each(|record| show::line(&record.id));
        } else if self.format == "json" {
            let values: Vec<Value> =
                records.iter().map(|record| state::value(record, world.containers.status(record))).collect();
            show::line(&Value::from(values).to_string());
        } else {
            let mut rows =
                vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned).to_vec()];
            for record in &records {
                let status = world.containers.status(record);
                let pid = record.pid.filter(|_| status != Status::Stopped).unwrap_or(0);
                rows.push(vec![
                    record.id.clone(),
                    pid.to_string(),
                    status.word().to_owned(),
                    record.bundle.display().to_string(),
                    record.created.clone(),
                    if record.owner == 0 { "root".to_owned() } else { format!("#{}", record.owner) },
                ]);
            }
            show::table(&rows);
        }
        Ok(0)
    }
}
