//! What a client wants of a new network, and how a network is told.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Failure;
use super::time::of_seconds;
use crate::network::{Attachment, Definition, NetworkError, free_subnet};
use crate::state::now;

/// An option of bridge networks, and the two that have an effect.
const MTU: &str = "com.docker.network.driver.mtu";
const BRIDGE: &str = "com.docker.network.bridge.name";
/// IPv4 needs the least; no link can more.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;

/// An id for a container's place on a network, the same whenever it is asked for.
#[must_use]
pub fn endpoint_id(attachment: &Attachment) -> String {
    let text = format!("{}@{}", attachment.container, attachment.network);
    crate::store::digest::Sha256::of(text.as_bytes()).trim_start_matches("sha256:").to_owned()
}

/// A network with a bridge, and who is on it; `names` of containers by their ids.
#[must_use]
pub fn told(network: &Definition, attachments: &[Attachment], names: &BTreeMap<String, String>) -> Value {
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

/// What a client wants of a new network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Wanted {
    pub(crate) name: String,
    pub(crate) driver: Option<String>,
    pub(crate) internal: bool,
    #[serde(rename = "EnableIPv6")]
    pub(crate) ipv6: Option<bool>,
    #[serde(rename = "IPAM")]
    pub(crate) ipam: Option<Ipam>,
    pub(crate) options: Option<BTreeMap<String, String>>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Ipam {
    pub config: Option<Vec<Addresses>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Addresses {
    pub subnet: Option<String>,
    #[serde(rename = "IPRange")]
    pub range: Option<String>,
    pub gateway: Option<String>,
}

impl Wanted {
    /// The network that it asks for, beside these others.
    ///
    /// # Errors
    /// When it makes no sense, or no subnet is free.
    pub fn definition(&self, id: &str, others: &[Definition]) -> Result<Definition, NetworkError> {
        let invalid = |text: String| Err(NetworkError::Invalid(text));
        let mut configs = self.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
        let addresses = configs.next().cloned().unwrap_or_default();
        if configs.next().is_some() {
            return invalid("a network has one subnet here".to_owned());
        }
        let taken: Vec<_> = others.iter().map(|one| one.within.unwrap_or(one.subnet)).collect();
        let Some(subnet) = parsed("subnet", addresses.subnet.as_ref())?.or_else(|| free_subnet(&taken))
        else {
            return invalid(
                "all predefined address pools have been fully subnetted: give a subnet".to_owned(),
            );
        };
        let mut new = Definition::new(id, &self.name, subnet);
        if let Some(gateway) = parsed("gateway", addresses.gateway.as_ref())? {
            if !new.subnet.contains(&gateway) {
                return invalid(format!(
                    "no matching subnet for gateway {gateway}: it is not in subnet {}",
                    new.subnet
                ));
            }
            new.gateway = gateway;
        }
        let range: Option<Ipv4Net> = parsed("ip-range", addresses.range.as_ref())?;
        if let Some(range) = range.filter(|range| !new.subnet.contains(range)) {
            return invalid(format!("ip-range {range} is not in subnet {}", new.subnet));
        }
        new.range = range;
        new.internal = self.internal;
        new.labels = self.labels.clone().unwrap_or_default();
        new.created = now();
        for (name, value) in self.options.iter().flatten() {
            match name.as_str() {
                MTU => match value.parse() {
                    Ok(mtu) if MTUS.contains(&mtu) => new.mtu = Some(mtu),
                    _ => return invalid(format!("{name}: {value:?} is no MTU")),
                },
                BRIDGE => new.bridge.clone_from(value),
                _ => return invalid(format!("{name} is not an option of bridge networks here")),
            }
        }
        Ok(new)
    }

    /// An error if it asks for what no network here has.
    ///
    /// # Errors
    /// Then.
    pub fn check(&self) -> Result<(), Failure> {
        if !crate::state::is_name(&self.name) {
            return Err(Failure::bad(format!("invalid name of a network: {:?}", self.name)));
        }
        match self.driver.as_deref() {
            None | Some("" | "default" | "bridge") => {}
            Some(driver) => return Err(Failure::missing(format!("plugin \"{driver}\" not found"))),
        }
        match self.ipv6 {
            Some(true) => Err(Failure::bad("networks with IPv6 are not supported by this engine")),
            _ => Ok(()),
        }
    }
}

fn parsed<T: std::str::FromStr>(what: &str, text: Option<&String>) -> Result<Option<T>, NetworkError> {
    let text = text.filter(|text| !text.is_empty());
    let bad = |text: &String| NetworkError::Invalid(format!("invalid {what}: {text}"));
    text.map(|text| text.parse().map_err(|_| bad(text))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(config: &Value, options: &Value) -> Result<Definition, NetworkError> {
        let wanted = json!({ "Name": "back", "IPAM": { "Config": config }, "Options": options });
        let wanted: Wanted = serde_json::from_value(wanted).unwrap();
        wanted.definition(&"0".repeat(64), &[])
    }

    #[test]
    fn a_network_is_what_was_asked_for_or_refused() {
        let config = json!([{ "Subnet": "10.1.0.0/16", "IPRange": "10.1.9.0/24", "Gateway": "10.1.0.9" }]);
        let made = network(&config, &json!({ MTU: "1400", BRIDGE: "br0" })).unwrap();
        let told = told(&made, &[], &BTreeMap::new());
        assert_eq!(told["IPAM"]["Config"], config);
        assert_eq!(told["Options"], json!({ MTU: "1400", BRIDGE: "br0" }));
        assert_eq!(network(&json!([]), &json!({})).unwrap().subnet.to_string(), "172.17.0.0/16");
        for bad in [
            json!([{ "Subnet": "10.1.0.0" }]),
            json!([{ "Subnet": "10.1.0.0/16" }, { "Subnet": "10.2.0.0/16" }]),
            json!([{ "Subnet": "10.1.0.0/16", "IPRange": "10.2.0.0/24" }]),
            json!([{ "Subnet": "10.1.0.0/24", "IPRange": "10.1.0.0/16" }]),
            json!([{ "Subnet": "10.1.0.0/16", "Gateway": "10.2.0.1" }]),
        ] {
            assert!(network(&bad, &json!({})).is_err(), "{bad}");
        }
        for bad in
            [json!({ MTU: "67" }), json!({ MTU: "65536" }), json!({ MTU: "x" }), json!({ "colour": "red" })]
        {
            assert!(network(&json!([]), &bad).is_err(), "{bad}");
        }
    }
}
