//! `docker inspect`: all that is known of a container or an image, as JSON.

use serde_json::{Value, json};

use super::super::{CliError, Places, show};
use crate::state::{Container, StateError, Status};
use crate::store::description::describe;

/// Show what is known of containers and images, as JSON
#[derive(Debug, clap::Args)]
pub struct Inspect {
    /// Names or IDs of containers or images
    #[arg(required = true)]
    name: Vec<String>,
}

impl Inspect {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let containers = places.containers();
        let mut found = Vec::new();
        let mut status = 0;
        for name in &self.name {
            match containers.find(name) {
                Ok(container) => found.push(of_container(&container)),
                Err(StateError::Missing(_)) => match of_image(places, name)? {
                    Some(image) => found.push(image),
                    None => {
                        eprintln!("Error: No such object: {name}");
                        status = 1;
                    }
                },
                Err(error) => return Err(error.into()),
            }
        }
        show::line(&serde_json::to_string_pretty(&found).unwrap_or_default());
        Ok(status)
    }
}

fn of_container(container: &Container) -> Value {
    let (record, state) = (&container.record, &container.state);
    let running = container.status == Status::Running;
    json!({
        "Id": record.id,
        "Name": format!("/{}", record.name),
        "Created": record.created,
        "Path": record.command.first(),
        "Args": record.command.get(1..).unwrap_or_default(),
        "Image": record.image_id,
        "State": {
            "Status": container.status.word(),
            "Running": running,
            "Pid": if running { state.pid.unwrap_or(0) } else { 0 },
            "ExitCode": if let Status::Exited(code) = container.status { code } else { 0 },
            "StartedAt": state.started,
            "FinishedAt": state.finished,
        },
        "Config": { "Image": record.image, "Tty": record.tty, "Labels": record.labels },
        "HostConfig": { "AutoRemove": record.auto_remove, "NetworkMode": record.network },
        "Unit": state.unit,
    })
}

fn of_image(places: &Places, name: &str) -> Result<Option<Value>, CliError> {
    let store = places.open_store()?;
    let Some(image) = store.find_image(name)? else { return Ok(None) };
    Ok(Some(describe(&store, &image)?))
}
