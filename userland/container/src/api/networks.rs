//! Networks: list, inspect, create, remove, prune; connecting containers and disconnecting them.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, empty, json_ok, json_with};
use super::filters::Filters;
use super::network_request::{Wanted, told};
use super::time::of_seconds;
use crate::network::{Attachment, DEFAULT, Definition, NetworkError, WITHOUT_BRIDGE};
use crate::state::new_id;

const KNOWN: [&str; 8] = ["driver", "id", "label", "label!", "name", "scope", "type", "dangling"];

fn attachments(api: &Api) -> Result<Vec<Attachment>, Failure> {
    let containers = api.containers();
    Ok(api.networks().attachments(&|id| containers.is_looked_after(id))?)
}

fn without_bridge(name: &str, driver: &str, id: &str) -> Value {
    json!({
        "Name": name, "Id": id, "Created": of_seconds(Some(0)), "Scope": "local", "Driver": driver,
        "EnableIPv4": true, "EnableIPv6": false, "IPAM": { "Driver": "default", "Options": null, "Config": null },
        "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": { "Network": "" },
        "ConfigOnly": false, "Containers": {}, "Options": {}, "Labels": {},
    })
}

/// All networks with who is on them.
///
/// # Errors
/// When they cannot be read.
pub fn all(api: &Api) -> Result<Vec<Value>, Failure> {
    let attachments = attachments(api)?;
    let containers = api.containers().list()?.into_iter();
    let names = containers.map(|one| (one.record.id, one.record.name)).collect();
    let bridges = api.networks().list()?;
    let mut all: Vec<Value> = bridges.iter().map(|network| told(network, &attachments, &names)).collect();
    all.extend(WITHOUT_BRIDGE.map(|(name, driver, id)| without_bridge(name, driver, id)));
    Ok(all)
}

/// `networks`
pub fn list(api: &Api, filters: Option<&str>) -> Answer {
    let filters = Filters::read(filters, &KNOWN)?;
    let predefined = [DEFAULT, "host", "none"];
    let mut list = all(api)?;
    list.retain(|network| {
        let text = |name: &str| network.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = if predefined.contains(&text("Name")) { "builtin" } else { "custom" };
        let used = network.get("Containers").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
        filters.any("name", |name| text("Name").contains(name))
            && filters.any("id", |id| text("Id").starts_with(id))
            && filters.any("driver", |driver| text("Driver") == driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |wanted| wanted == kind)
            && filters.switch("dangling").is_none_or(|wanted| wanted == (kind == "custom" && !used))
            && filters.labels(&super::images::labels_of(network))
    });
    json_ok(&Value::Array(list))
}

/// `networks/ID`
pub fn inspect(api: &Api, name: &str) -> Answer {
    json_ok(&find(api, name)?)
}

/// The network of this name, id, or beginning of an id, as it is told.
///
/// # Errors
/// When there is none.
pub fn find(api: &Api, name: &str) -> Result<Value, Failure> {
    let all = all(api)?;
    let text = |network: &Value, field: &str| {
        network.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let exact = all.iter().find(|one| text(one, "Name") == name || text(one, "Id") == name);
    match exact {
        Some(network) => Ok(network.clone()),
        None => {
            let id = api.networks().find(name)?.id;
            Ok(all.iter().find(|one| text(one, "Id") == id).cloned().unwrap_or_default())
        }
    }
}

/// `networks/create`
pub fn create(api: &Api, wanted: &Wanted) -> Answer {
    let made = make(api, wanted)?;
    Ok(json_with(StatusCode::CREATED, &json!({ "Id": made.id, "Warning": "" })))
}

/// Makes a network.
///
/// # Errors
/// When it makes no sense, or its name or subnet is taken.
pub fn make(api: &Api, wanted: &Wanted) -> Result<Definition, Failure> {
    wanted.check()?;
    let id = new_id()?;
    let made = api.networks().create(&api.store()?, |others| wanted.definition(&id, others))?;
    api.events.tell("network", "create", &made.id, &[("name", &made.name), ("type", "bridge")]);
    Ok(made)
}

/// `DELETE networks/ID`
pub fn remove(api: &Api, name: &str) -> Answer {
    if WITHOUT_BRIDGE.iter().any(|(known, _, id)| *known == name || *id == name) {
        return Err(NetworkError::Predefined(name.to_owned()).into());
    }
    let containers = api.containers();
    let gone = api.networks().remove(name, &|id| containers.is_looked_after(id))?;
    api.events.tell("network", "destroy", &gone.id, &[("name", &gone.name), ("type", "bridge")]);
    empty(StatusCode::NO_CONTENT)
}

/// `networks/prune`: those that no container is on, running or not.
pub fn prune(api: &Api, filters: Option<&str>) -> Answer {
    let filters = Filters::read(filters, &["label", "label!", "until"])?;
    let used: Vec<String> = api.containers().list()?.into_iter().map(|one| one.record.network).collect();
    let containers = api.containers();
    let mut gone = Vec::new();
    for network in api.networks().list()? {
        let kept = network.name == DEFAULT || used.contains(&network.name) || used.contains(&network.id);
        if !kept
            && filters.labels(&network.labels)
            && api.networks().remove(&network.id, &|id| containers.is_looked_after(id)).is_ok()
        {
            gone.push(network.name);
        }
    }
    json_ok(&json!({ "NetworksDeleted": gone }))
}
