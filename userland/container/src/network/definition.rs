//! What a network is.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::state::is_name;

/// The network of a container that asks for none in particular.
pub const DEFAULT: &str = "bridge";

/// The two that have no bridge: their names, drivers, and ids as constant as the default bridge's.
pub const WITHOUT_BRIDGE: [(&str, &str, &str); 2] = [
    ("host", "host", "686f737400000000000000000000000000000000000000000000000000000000"),
    ("none", "null", "6e6f6e6500000000000000000000000000000000000000000000000000000000"),
];

/// What the overlay agent says of this machine's share of the cluster's network.
const SUBNET_ENV: &str = "/run/flannel/subnet.env";

/// A network, as it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The bridge's name.
    pub bridge: String,
    /// Where its addresses are from.
    pub subnet: Ipv4Net,
    /// The bridge's own address: the way out.
    pub gateway: Ipv4Addr,
    /// Addresses given out are from here; none: from the whole subnet.
    #[serde(default)]
    pub range: Option<Ipv4Net>,
    /// A larger network that its subnet is a part of, reached without masquerade: the cluster's.
    #[serde(default)]
    pub within: Option<Ipv4Net>,
    /// Whether what leaves does so under the machine's address; if not, somebody else sees to it.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Whether there is no way out.
    #[serde(default)]
    pub internal: bool,
    /// Bytes; none: the kernel's own.
    #[serde(default)]
    pub mtu: Option<u32>,
    /// Labels that the user gave it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: u64,
}

/// A definition of before there was a choice.
fn yes() -> bool {
    true
}

impl Definition {
    /// A network of this subnet, with the first address as the bridge's.
    #[must_use]
    pub fn new(id: &str, name: &str, subnet: Ipv4Net) -> Self {
        let subnet = subnet.trunc();
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            bridge: format!("br-{}", id.get(..12).unwrap_or(id)),
            gateway: subnet.hosts().next().unwrap_or(subnet.network()),
            subnet,
            range: None,
            within: None,
            masquerade: true,
            internal: false,
            mtu: None,
            labels: BTreeMap::new(),
            created: 0,
        }
    }

    /// `bridge`, with the overlay's subnet where there is one, else Docker's.
    #[must_use]
    pub fn default_bridge() -> Self {
        Self::of_subnet_env(&fs::read_to_string(SUBNET_ENV).unwrap_or_default())
    }

    fn of_subnet_env(text: &str) -> Self {
        const DOCKERS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 17, 0, 0), 16);
        const ID: &str = "6272696467650000000000000000000000000000000000000000000000000000";
        let value =
            |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        let share: Option<Ipv4Net> = value("FLANNEL_SUBNET").and_then(|text| text.parse().ok());
        let mut network = Self::new(ID, DEFAULT, share.unwrap_or(DOCKERS));
        network.bridge = "docker0".to_owned();
        if let Some(share) = share {
            network.gateway = share.addr();
            network.within = value("FLANNEL_NETWORK").and_then(|text| text.parse().ok());
            // Then the overlay's agent does it itself.
            network.masquerade = value("FLANNEL_IPMASQ") != Some("true");
            network.mtu = value("FLANNEL_MTU").and_then(|text| text.parse().ok());
        }
        network
    }

    /// Whether its name can be that of a file and a word on a command line, and its bridge's that of a link.
    #[must_use]
    pub fn has_valid_names(&self) -> bool {
        const LONGEST_LINK: usize = 15;
        [&self.name, &self.bridge].into_iter().all(|name| is_name(name)) && self.bridge.len() <= LONGEST_LINK
    }

    /// Whether it has addresses in common with this subnet.
    #[must_use]
    pub fn overlaps(&self, subnet: Ipv4Net) -> bool {
        let all = self.within.unwrap_or(self.subnet);
        all.contains(&subnet.network()) || subnet.contains(&all.network())
    }
}

/// The first of Docker's pools that nobody uses: 172.17.0.0/16 to 172.31.0.0/16, then the /20 of
/// 192.168.0.0/16.
#[must_use]
pub fn free_subnet(taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let large = (17..32).map(|second| Ipv4Net::new_assert(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|third| Ipv4Net::new_assert(Ipv4Addr::new(192, 168, third * 16, 0), 20));
    let free = |pool: &Ipv4Net| {
        !taken.iter().any(|one| one.contains(&pool.network()) || pool.contains(&one.network()))
    };
    large.chain(small).find(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_bridge_is_dockers_without_an_overlay() {
        let network = Definition::of_subnet_env("");
        assert_eq!(
            (network.subnet.to_string(), network.gateway.to_string()),
            ("172.17.0.0/16".into(), "172.17.0.1".into())
        );
        assert_eq!(Definition::of_subnet_env("FLANNEL_SUBNET=rubbish\n").subnet, network.subnet);
    }

    #[test]
    fn the_default_bridge_is_the_machines_share_of_an_overlay() {
        let text = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        let network = Definition::of_subnet_env(text);
        assert_eq!(
            (network.subnet.to_string(), network.gateway.to_string()),
            ("10.5.52.0/24".into(), "10.5.52.1".into())
        );
        assert_eq!((network.within.unwrap().to_string(), network.mtu), ("10.5.0.0/16".into(), Some(1450)));
        assert!(network.overlaps("10.5.99.0/24".parse().unwrap()));
        assert!(!network.masquerade);
        assert!(Definition::of_subnet_env(&text.replace("true", "false")).masquerade);
    }

    #[test]
    fn pools_are_given_out_in_order_around_what_is_taken() {
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        assert_eq!(free_subnet(&[]), Some(net("172.17.0.0/16")));
        assert_eq!(free_subnet(&[net("172.17.0.0/16"), net("172.18.4.0/24")]), Some(net("172.19.0.0/16")));
        assert_eq!(free_subnet(&[net("172.16.0.0/12"), net("192.168.1.0/24")]), Some(net("192.168.16.0/20")));
        assert_eq!(free_subnet(&[net("0.0.0.0/0")]), None);
    }
}
