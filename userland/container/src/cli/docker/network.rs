//! `docker network`: the networks that containers are put on.

use std::collections::BTreeMap;

use clap::Subcommand;
use ipnet::Ipv4Net;

use super::super::{CliError, Places, show};
use super::each;
use crate::api::network_request::{Addresses, Ipam, Wanted};
use crate::api::{Api, networks};
use crate::network::{NetworkError, WITHOUT_BRIDGE};

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
        let address = Addresses {
            subnet: self.subnet.map(|subnet| subnet.to_string()),
            range: self.ip_range.map(|range| range.to_string()),
            gateway: self.gateway.map(|gateway| gateway.to_string()),
        };
        let config = address.subnet.is_some() || address.range.is_some() || address.gateway.is_some();
        let wanted = Wanted {
            name: self.network,
            driver: Some(self.driver),
            internal: self.internal,
            ipam: config.then(|| Ipam { config: Some(vec![address]) }),
            options: Some(pairs(&self.opt)),
            labels: Some(pairs(&self.label)),
            ..Wanted::default()
        };
        let made = networks::make(&Api::new(places.clone()), &wanted)
            .map_err(|failure| CliError::Usage(failure.message))?;
        show::line(&made.id);
        Ok(0)
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
    let api = Api::new(places.clone());
    let mut found = Vec::new();
    let status = each(names, |name| {
        found.push(networks::find(&api, name).map_err(|failure| CliError::Usage(failure.message))?);
        Ok(())
    });
    show::line(&serde_json::to_string_pretty(&found).unwrap_or_default());
    Ok(status)
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
