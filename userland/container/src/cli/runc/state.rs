//! `runc state`: what the specification says of a container, as JSON.

use serde_json::{Value, json};

use super::containers::{Record, Status};
use super::{Error, World, during};
use crate::cli::show;

/// Print the state of a container
#[derive(Debug, clap::Args)]
pub struct State {
    /// The container's ID
    id: String,
}

impl State {
    pub(super) fn run(self, world: &World) -> Result<u8, Error> {
        let record = world.containers.load(&self.id)?;
        let value = value(&record, world.containers.status(&record));
        let text = during("state", serde_json::to_string_pretty(&value).map_err(std::io::Error::from))?;
        show::line(&text);
        Ok(0)
    }
}

/// The specification's fields and those that runc adds.
pub(super) fn value(record: &Record, status: Status) -> Value {
    let mut value = json!(record.state(status));
    if let Some(fields) = value.as_object_mut() {
        // Engines read a number here, 0 for none.
        fields.insert("pid".to_owned(), json!(record.pid.filter(|_| status != Status::Stopped).unwrap_or(0)));
        fields.insert("rootfs".to_owned(), json!(record.rootfs));
        fields.insert("created".to_owned(), json!(record.created));
        fields.insert(
            "owner".to_owned(),
            json!(if record.owner == 0 { String::new() } else { record.owner.to_string() }),
        );
    }
    value
}
