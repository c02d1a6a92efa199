//! A container on a network: its address there, and the ports that lead to it.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{Definition, NetworkError, Published, Request};

/// A running container on a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The container's id.
    pub container: String,
    /// The network's id.
    pub network: String,
    /// Its address, with the length of the subnet.
    pub address: Ipv4Net,
    /// Its way out; none on an internal network.
    pub gateway: Option<Ipv4Addr>,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// The machine's end of its cable.
    pub link: String,
    /// The container's end of it.
    #[serde(default = "first_inner")]
    pub inner: String,
    /// Names that it is known by on the network.
    pub aliases: Vec<String>,
    /// Ports of the machine that lead to it.
    pub published: Vec<Published>,
}

impl Attachment {
    /// Gives a container an address that none of the others has.
    pub(super) fn new(
        network: &Definition,
        request: &Request<'_>,
        others: &[Self],
        published: Vec<Published>,
    ) -> Result<Self, NetworkError> {
        let on_it = others.iter().filter(|one| one.network == network.id);
        if on_it.clone().any(|one| one.container == request.container) {
            let name = &network.name;
            return Err(NetworkError::Invalid(format!("container is on network {name} already")));
        }
        let mut taken: BTreeSet<Ipv4Addr> = on_it.map(|one| one.address.addr()).collect();
        taken.insert(network.gateway);
        let address = match request.address {
            Some(wanted) if !network.subnet.contains(&wanted) => {
                let subnet = network.subnet;
                return Err(NetworkError::Invalid(format!("{wanted} is not in {subnet}")));
            }
            Some(wanted) if taken.contains(&wanted) => {
                return Err(NetworkError::Invalid("Address already in use".to_owned()));
            }
            Some(wanted) => wanted,
            None => first_free(network, &taken)?,
        };
        for one in &published {
            one.refuse_twice(others.iter().flat_map(|other| &other.published))?;
        }
        let [a, b, c, d] = address.octets();
        Ok(Self {
            container: request.container.to_owned(),
            network: network.id.clone(),
            address: Ipv4Net::new(address, network.subnet.prefix_len()).unwrap_or(network.subnet),
            gateway: (!network.internal).then_some(network.gateway),
            // Locally administered, and as unique as the address.
            mac: [0x02, 0x42, a, b, c, d],
            link: format!("veth{}", link_number(&network.id, address)),
            inner: free_inner(request.container, others),
            aliases: request.aliases.clone(),
            published,
        })
    }

    /// The name of its file.
    pub(super) fn file_name(&self) -> String {
        format!("{}@{}.json", self.container, self.network.get(..12).unwrap_or(&self.network))
    }
}

/// Addresses are given out from the lowest; network and broadcast address are nobody's.
fn first_free(network: &Definition, taken: &BTreeSet<Ipv4Addr>) -> Result<Ipv4Addr, NetworkError> {
    let range = network.range.unwrap_or(network.subnet);
    let (lowest, highest) = (network.subnet.network(), network.subnet.broadcast());
    let usable = |one: &Ipv4Addr| !taken.contains(one) && *one != lowest && *one != highest;
    let all = u32::from(range.network())..=u32::from(range.broadcast());
    all.map(Ipv4Addr::from)
        .find(usable)
        .ok_or_else(|| NetworkError::Full { name: network.name.clone(), subnet: range })
}

/// What the container's first cable ends in.
fn first_inner() -> String {
    "eth0".to_owned()
}

/// The first of `eth0`, `eth1` and so on that none of the container's other cables ends in.
fn free_inner(container: &str, others: &[Attachment]) -> String {
    let taken = |name: &String| others.iter().any(|one| one.container == container && one.inner == *name);
    (0..=others.len())
        .map(|number| format!("eth{number}"))
        .find(|name| !taken(name))
        .unwrap_or_else(first_inner)
}

/// Eight digits that no other attachment of the machine has: of the network, and of the address on it.
fn link_number(network: &str, address: Ipv4Addr) -> String {
    let [_, _, c, d] = address.octets();
    format!("{}{c:02x}{d:02x}", network.get(..4).unwrap_or("0000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnet: &str) -> Definition {
        Definition::new("0123456789abcdef", "net", subnet.parse().unwrap())
    }

    fn attach(network: &Definition, others: &mut Vec<Attachment>) -> Result<String, NetworkError> {
        let container =
            (0..).map(|n| format!("c{n}")).find(|c| others.iter().all(|one| one.container != *c)).unwrap();
        let request =
            Request { container: &container, network: "net", address: None, aliases: vec![], publish: &[] };
        let new = Attachment::new(network, &request, others, vec![])?;
        others.push(new.clone());
        Ok(new.address.to_string())
    }

    #[test]
    fn addresses_are_given_out_until_none_is_left_and_come_back() {
        let (network, mut all) = (network("10.1.0.0/29"), Vec::new());
        for expected in ["10.1.0.2/29", "10.1.0.3/29", "10.1.0.4/29", "10.1.0.5/29", "10.1.0.6/29"] {
            assert_eq!(attach(&network, &mut all).unwrap(), expected);
        }
        assert!(matches!(attach(&network, &mut all), Err(NetworkError::Full { .. })));
        all.remove(1);
        assert_eq!(attach(&network, &mut all).unwrap(), "10.1.0.3/29");
    }

    #[test]
    fn an_address_that_is_asked_for_is_given_if_it_is_free() {
        let network = network("10.1.0.0/24");
        let ask = |address: &str| {
            let address = Some(address.parse().unwrap());
            let request = Request { container: "c", network: "net", address, aliases: vec![], publish: &[] };
            Attachment::new(&network, &request, &[], vec![])
        };
        assert_eq!(ask("10.1.0.77").unwrap().mac, [2, 0x42, 10, 1, 0, 77]);
        assert!(ask("10.1.0.1").is_err(), "the gateway's");
        assert!(ask("10.2.0.1").is_err(), "another network's");
    }

    #[test]
    fn names_of_links_fit_the_kernel() {
        let (network, mut all) = (network("172.17.0.0/16"), Vec::new());
        attach(&network, &mut all).unwrap();
        assert_eq!(all[0].link, "veth01230002");
        assert!(all[0].link.len() < 16);
    }
}
