//! Networks: list, inspect, create, remove, prune. Connecting a running container is not done.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, empty, json_ok, json_with};
use super::filters::Filters;
use super::time::of_seconds;
use crate::network::{Attachment, DEFAULT, Definition, NetworkError, WITHOUT_BRIDGE, free_subnet};
use crate::state::{new_id, now};

const KNOWN: [&str; 8] = ["driver", "id", "label", "label!", "name", "scope", "type", "dangling"];

/// An id for a container's place on a network, the same whenever it is asked for.
#[must_use]
pub fn endpoint_id(attachment: &Attachment) -> String {
    let text = format!("{}@{}", attachment.container, attachment.network);
    crate::store::digest::Sha256::of(text.as_bytes()).trim_start_matches("sha256:").to_owned()
}

fn attachments(api: &Api) -> Result<Vec<Attachment>, Failure> {
    let containers = api.containers();
    Ok(api.networks().attachments(&|id| containers.is_looked_after(id))?)
}

fn told(network: &Definition, attachments: &[Attachment], names: &BTreeMap<String, String>) -> Value {
    let mut on_it = serde_json::Map::new();
    for one in attachments.iter().filter(|one| one.network == network.id) {
        let mac = one.mac.map(|byte| format!("{byte:02x}")).join(":");
        on_it.insert(
            one.container.clone(),
            json!({
                "Name": names.get(&one.container), "EndpointID": endpoint_id(one), "MacAddress": mac,
                "IPv4Address": one.address.to_string(), "IPv6Address": "",
            }),
        );
    }
    let mut config = json!({ "Subnet": network.subnet.to_string(), "Gateway": network.gateway.to_string() });
    if let Some(range) = network.range {
        super::system::set(&mut config, "IPRange", json!(range.to_string()));
    }
    let mut options = BTreeMap::from([("com.docker.network.bridge.name".to_owned(), network.bridge.clone())]);
    if let Some(mtu) = network.mtu {
        options.insert("com.docker.network.driver.mtu".to_owned(), mtu.to_string());
    }
    json!({
        "Name": network.name, "Id": network.id, "Created": of_seconds(Some(network.created)), "Scope": "local",
        "Driver": "bridge", "EnableIPv4": true, "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Options": {}, "Config": [config] }, "Internal": network.internal,
        "Attachable": false, "Ingress": false, "ConfigFrom": { "Network": "" }, "ConfigOnly": false,
        "Containers": on_it, "Options": options, "Labels": network.labels,
    })
}

fn without_bridge(name: &str, driver: &str, id: &str) -> Value {
    json!({
        "Name": name, "Id": id, "Created": of_seconds(Some(0)), "Scope": "local", "Driver": driver,
        "EnableIPv4": true, "EnableIPv6": false, "IPAM": { "Driver": "default", "Options": null, "Config": null },
        "Internal": false, "Attachable": false, "Ingress": false, "ConfigFrom": { "Network": "" },
        "ConfigOnly": false, "Containers": {}, "Options": {}, "Labels": {},
    })
}

fn all(api: &Api) -> Result<Vec<Value>, Failure> {
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
    let all = all(api)?;
    let text = |network: &Value, field: &str| {
        network.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let exact = all.iter().find(|one| text(one, "Name") == name || text(one, "Id") == name);
    match exact {
        Some(network) => json_ok(network),
        None => {
            let id = api.networks().find(name)?.id;
            json_ok(all.iter().find(|one| text(one, "Id") == id).unwrap_or(&Value::Null))
        }
    }
}

/// What a client wants of a new network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Wanted {
    name: String,
    driver: Option<String>,
    internal: bool,
    #[serde(rename = "EnableIPv6")]
    ipv6: Option<bool>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
    options: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    config: Option<Vec<Addresses>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Addresses {
    subnet: Option<String>,
    #[serde(rename = "IPRange")]
    range: Option<String>,
    gateway: Option<String>,
}

/// `networks/create`
pub fn create(api: &Api, wanted: &Wanted) -> Answer {
    if !crate::state::is_name(&wanted.name) {
        return Err(Failure::bad(format!("invalid network name: {:?}", wanted.name)));
    }
    match wanted.driver.as_deref() {
        None | Some("" | "default" | "bridge") => {}
        Some(driver) => return Err(Failure::missing(format!("plugin \"{driver}\" not found"))),
    }
    if wanted.ipv6 == Some(true) {
        return Err(Failure::bad("networks with IPv6 are not supported by this engine"));
    }
    fn parsed<T: std::str::FromStr>(what: &str, text: Option<&String>) -> Result<Option<T>, Failure> {
        let text = text.filter(|text| !text.is_empty());
        text.map(|text| text.parse().map_err(|_| Failure::bad(format!("invalid {what}: {text}")))).transpose()
    }
    let mut configs = wanted.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    let addresses = configs.next().cloned().unwrap_or_default();
    if configs.next().is_some() {
        return Err(Failure::bad("a network has one subnet here"));
    }
    let subnet = parsed("subnet", addresses.subnet.as_ref())?;
    let range = parsed("range", addresses.range.as_ref())?;
    let gateway = parsed("gateway", addresses.gateway.as_ref())?;
    let option = |name: &str| wanted.options.as_ref().and_then(|options| options.get(name));
    let mtu = parsed("mtu", option("com.docker.network.driver.mtu"))?;
    let id = new_id()?;
    let made = api.networks().create(&api.store()?, |others| {
        let taken: Vec<_> = others.iter().map(|one| one.within.unwrap_or(one.subnet)).collect();
        let subnet = subnet.or_else(|| free_subnet(&taken));
        let subnet = subnet.ok_or_else(|| NetworkError::Invalid("no subnet is free: give one".to_owned()))?;
        let mut network = Definition::new(&id, &wanted.name, subnet);
        if let Some(gateway) = gateway {
            if !network.subnet.contains(&gateway) {
                return Err(NetworkError::Invalid(format!("no matching subnet for gateway {gateway}")));
            }
            network.gateway = gateway;
        }
        network.range = range;
        network.internal = wanted.internal;
        network.mtu = mtu;
        network.labels = wanted.labels.clone().unwrap_or_default();
        network.created = now();
        if let Some(bridge) = option("com.docker.network.bridge.name") {
            network.bridge.clone_from(bridge);
        }
        Ok(network)
    })?;
    api.events.tell("network", "create", &made.id, &[("name", &made.name), ("type", "bridge")]);
    Ok(json_with(StatusCode::CREATED, &json!({ "Id": made.id, "Warning": "" })))
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
