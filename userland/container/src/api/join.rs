//! `networks/ID/connect` and `disconnect`: a container's place on a network, whether it runs or not.

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use std::os::fd::AsFd;

use super::Api;
use super::answer::{Answer, Failure, empty};
use super::settings::{Endpoint, Settings};
use super::system::set;
use crate::network::namespace::of_container;
use crate::network::{Definition, Request};
use crate::state::{Container, Status};

/// What a client wants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Wanted {
    container: String,
    endpoint_config: Option<Endpoint>,
    force: bool,
}

/// `networks/ID/connect`
pub fn connect(api: &Api, network: &str, wanted: Wanted) -> Answer {
    let network = find(api, network)?;
    let container = api.containers().find(&wanted.container)?;
    let mut settings = Settings::of(&api.containers(), &container.record);
    if settings.typed().1.bridge().is_none() {
        let mode = settings.typed().1.network_mode;
        let text = format!(
            "container {} is in the network \"{mode}\" and cannot be on others",
            container.record.name
        );
        return Err(Failure::new(StatusCode::FORBIDDEN, text));
    }
    let endpoint = wanted.endpoint_config.unwrap_or_default();
    if container.status == Status::Running {
        let asked = endpoint.clone().wanted(&network.id)?;
        let namespace = of_container(&api.containers(), &container.record.id)?;
        let request = Request {
            container: &container.record.id,
            network: &network.id,
            address: asked.address,
            aliases: asked.names(&container.record),
            publish: &[],
        };
        api.networks().connect(&request, namespace.as_fd(), &api.places.alive())?;
    }
    settings.endpoints.insert(network.name.clone(), Some(endpoint));
    keep(api, &container, &settings)?;
    tell(api, "connect", &network, &container);
    empty(StatusCode::OK)
}

/// `networks/ID/disconnect`
pub fn disconnect(api: &Api, network: &str, wanted: &Wanted) -> Answer {
    let network = find(api, network)?;
    let container = match api.containers().find(&wanted.container) {
        // Whoever is gone is on no network.
        Err(_) if wanted.force => return empty(StatusCode::OK),
        other => other?,
    };
    let id = &container.record.id;
    let mut settings = Settings::of(&api.containers(), &container.record);
    let first = settings.typed().1.bridge() == Some(network.name.as_str());
    let known = settings.endpoints.remove(&network.name).is_some();
    if container.status == Status::Running {
        let namespace = of_container(&api.containers(), id)?;
        api.networks().leave(id, &network, namespace.as_fd(), &api.places.alive())?;
    } else if !first && !known {
        let name = &network.name;
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            format!("container {id} is not connected to network {name}"),
        ));
    }
    if first {
        // The next start is on what is left.
        let next = settings.endpoints.keys().next().cloned().unwrap_or_else(|| "none".to_owned());
        set(&mut settings.host, "NetworkMode", json!(next));
    }
    keep(api, &container, &settings)?;
    tell(api, "disconnect", &network, &container);
    empty(StatusCode::OK)
}

fn find(api: &Api, name: &str) -> Result<Definition, Failure> {
    if crate::network::WITHOUT_BRIDGE.iter().any(|one| one.0 == name) {
        let text = format!("container cannot be connected to network {name}, nor disconnected from it");
        return Err(Failure::new(StatusCode::FORBIDDEN, text));
    }
    Ok(api.networks().find(name)?)
}

fn keep(api: &Api, container: &Container, settings: &Settings) -> Result<(), Failure> {
    settings.save(&api.store()?, &api.containers(), &container.record.id)
}

fn tell(api: &Api, action: &str, network: &Definition, container: &Container) {
    let attributes =
        [("name", network.name.as_str()), ("type", "bridge"), ("container", container.record.id.as_str())];
    api.events.tell("network", action, &network.id, &attributes);
}
