//! `docker network`: the networks that containers are put on.

use std::collections::BTreeMap;

use clap::Subcommand;
use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::super::{CliError, Places, show};
use super::each;
use crate::network::{Attachment, Definition, NetworkError, WITHOUT_BRIDGE, free_subnet};
use crate::state::{new_id, now};

/// Manage networks of containers
#[derive(Debug, clap::Args)]
pub struct Network {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List networks
    #[command(alias = "list")]
    Ls {
        /// Only IDs
        #[arg(short, long)]
        quiet: bool,
        /// Do not shorten
        #[arg(long)]
        no_trunc: bool,
    },
    Create(Create),
    /// Remove networks that no container is on
    #[command(alias = "remove")]
    Rm {
        /// Names or IDs
        #[arg(required = true)]
        network: Vec<String>,
    },
    /// Show what is known of networks, as JSON
    Inspect {
        /// Names or IDs
        #[arg(required = true)]
        network: Vec<String>,
    },
    /// Remove all networks that no container is on
    Prune {
        /// Do not ask; nobody is asked anyway
        #[arg(short, long)]
        force: bool,
    },
}

/// Create a network
#[derive(Debug, clap::Args)]
struct Create {
    /// Its name
    network: String,
    /// bridge is the only one
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Where its addresses are from, such as 172.28.0.0/16; none: a subnet that is free
    #[arg(long)]
    subnet: Option<Ipv4Net>,
    /// The machine's own address on it
    #[arg(long)]
    gateway: Option<std::net::Ipv4Addr>,
    /// Give out addresses from this part of the subnet only
    #[arg(long)]
    ip_range: Option<Ipv4Net>,
    /// No way out
    #[arg(long)]
    internal: bool,
    /// A label, as NAME=VALUE
    #[arg(long)]
    label: Vec<String>,
    /// com.docker.network.driver.mtu=BYTES and com.docker.network.bridge.name=NAME
    #[arg(short, long, value_name = "NAME=VALUE")]
    opt: Vec<String>,
}

impl Network {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        match self.verb {
            Verb::Ls { quiet, no_trunc } => list(places, quiet, no_trunc),
            Verb::Create(create) => create.run(places),
            Verb::Rm { network } => Ok(each(&network, |name| {
                let removed = places.networks().remove(name, &places.alive())?;
                show::line(&removed.name);
                Ok(())
            })),
            Verb::Inspect { network } => inspect(places, &network),
            Verb::Prune { force: _ } => prune(places),
        }
    }
}

fn list(places: &Places, quiet: bool, no_trunc: bool) -> Result<u8, CliError> {
    let id = |id: &str| if no_trunc { id.to_owned() } else { id.get(..12).unwrap_or(id).to_owned() };
    let bridges = places.networks().list()?;
    let without = WITHOUT_BRIDGE.map(|(name, driver, id)| (id.to_owned(), name, driver));
    let all = bridges.iter().map(|one| (one.id.clone(), one.name.as_str(), "bridge")).chain(without);
    let mut rows = Vec::new();
    if !quiet {
        rows.push(["NETWORK ID", "NAME", "DRIVER", "SCOPE"].map(str::to_owned).to_vec());
    }
    for (number, name, driver) in all {
        let rest = [name, driver, "local"].map(str::to_owned);
        let row = std::iter::once(id(&number)).chain(rest.into_iter().filter(|_| !quiet));
        rows.push(row.collect());
    }
    show::table(&rows);
    Ok(0)
}

impl Create {
    fn run(self, places: &Places) -> Result<u8, CliError> {
        if self.driver != "bridge" {
            return Err(CliError::Usage(format!("plugin {:?} not found: there is bridge", self.driver)));
        }
        let store = places.open_store()?;
        let id = new_id()?;
        let made = places.networks().create(&store, |others| self.definition(&id, others))?;
        show::line(&made.id);
        Ok(0)
    }

    fn definition(&self, id: &str, others: &[Definition]) -> Result<Definition, NetworkError> {
        let invalid = |text: String| Err(NetworkError::Invalid(text));
        let taken: Vec<Ipv4Net> = others.iter().map(|one| one.within.unwrap_or(one.subnet)).collect();
        let Some(subnet) = self.subnet.or_else(|| free_subnet(&taken)) else {
            return invalid("all predefined address pools have been fully subnetted".to_owned());
        };
        let mut new = Definition::new(id, &self.network, subnet);
        if let Some(gateway) = self.gateway {
            if !new.subnet.contains(&gateway) {
                return invalid(format!("gateway {gateway} is not in subnet {}", new.subnet));
            }
            new.gateway = gateway;
        }
        if let Some(range) = self.ip_range.filter(|range| !new.subnet.contains(range)) {
            return invalid(format!("ip-range {range} is not in subnet {}", new.subnet));
        }
        new.range = self.ip_range;
        new.internal = self.internal;
        new.created = now();
        new.labels = pairs(&self.label);
        for (name, value) in pairs(&self.opt) {
            match name.as_str() {
                "com.docker.network.driver.mtu" => match value.parse() {
                    Ok(mtu @ 68..=65_535) => new.mtu = Some(mtu),
                    _ => return invalid(format!("{name}: {value:?} is no MTU")),
                },
                "com.docker.network.bridge.name" => new.bridge = value,
                _ => return invalid(format!("{name} is not an option of bridge networks here")),
            }
        }
        Ok(new)
    }
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    texts
        .iter()
        .map(|text| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

fn inspect(places: &Places, names: &[String]) -> Result<u8, CliError> {
    let attachments = places.networks().attachments(&places.alive())?;
    let mut found = Vec::new();
    let status = each(names, |name| {
        let network = places.networks().find(name)?;
        found.push(of_network(&network, &attachments));
        Ok(())
    });
    show::line(&serde_json::to_string_pretty(&found).unwrap_or_default());
    Ok(status)
}

/// As Docker describes a network.
fn of_network(network: &Definition, attachments: &[Attachment]) -> Value {
    let on_it = attachments.iter().filter(|one| one.network == network.id);
    let containers: serde_json::Map<String, Value> = on_it
        .map(|one| {
            let mac: Vec<String> = one.mac.iter().map(|byte| format!("{byte:02x}")).collect();
            let told = json!({ "MacAddress": mac.join(":"), "IPv4Address": one.address.to_string() });
            (one.container.clone(), told)
        })
        .collect();
    let mut pool = json!({ "Subnet": network.subnet.to_string(), "Gateway": network.gateway.to_string() });
    if let (Some(range), Some(pool)) = (network.range, pool.as_object_mut()) {
        pool.insert("IPRange".into(), range.to_string().into());
    }
    json!({
        "Name": network.name,
        "Id": network.id,
        "Scope": "local",
        "Driver": "bridge",
        "EnableIPv4": true,
        "EnableIPv6": false,
        "IPAM": { "Driver": "default", "Config": [pool] },
        "Internal": network.internal,
        "Containers": containers,
        "Options": { "com.docker.network.bridge.name": network.bridge },
        "Labels": network.labels,
    })
}

fn prune(places: &Places) -> Result<u8, CliError> {
    let (networks, alive) = (places.networks(), places.alive());
    let mut removed = Vec::new();
    for network in networks.list()?.iter().filter(|one| one.name != crate::network::DEFAULT) {
        match networks.remove(&network.id, &alive) {
            Ok(gone) => removed.push(gone.name),
            Err(NetworkError::Busy { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if !removed.is_empty() {
        show::line(&format!("Deleted Networks:\n{}", removed.join("\n")));
    }
    Ok(0)
}
