//! The table that networks and the containers on them ask for. Pure.
//!
//! Ports lead to containers before routing decides, for packets from outside and for those of the
//! machine itself. What a bridge lets in is what belongs to a connection from inside, was led there, or
//! comes from the network it is a part of. What leaves for elsewhere does so under the machine's address.
//! The chains only ever refuse what would come in uninvited: an operator's own table, which may refuse
//! more, is always asked as well.

use nftables::{Chain, Element, Family, Field, Hook, Policy, Rule, Set, Table};

use super::{Attachment, Definition};

/// The family of the table.
pub const FAMILY: Family = Family::Inet;
/// Its name.
pub const TABLE: &str = "corten-containers";

const ANY_ADDRESS: &str = "ports";
const ONE_ADDRESS: &str = "address-ports";

/// The table for these networks.
#[must_use]
pub fn table(networks: &[Definition], attachments: &[Attachment]) -> Table {
    let mut forward = Chain::filter("forward", Hook::Forward, 0, Policy::Accept);
    let mut leaving = Chain::source_nat("leaving");
    let mut arriving = Chain::filter("arriving", Hook::Prerouting, BEFORE_TRACKING, Policy::Accept);
    for network in networks {
        forward = allowed(network).into_iter().fold(forward, Chain::rule);
        leaving = masqueraded(network).into_iter().fold(leaving, Chain::rule);
        // The bridge routes packets for 127.0.0.0/8, so that the machine's own reach its ports; a
        // container's must not reach what listens there.
        arriving = arriving.rule(Rule::new().input(&network.bridge).destination(loopback()).discard());
    }
    let (any, one) = published(attachments);
    let key = [Field::Protocol, Field::Port];
    let value = [Field::Ipv4Address, Field::Port];
    Table::new(FAMILY, TABLE)
        .set(Set::map(ANY_ADDRESS, &key, &value).elements(any))
        .set(Set::map(ONE_ADDRESS, &[Field::Ipv4Address, Field::Protocol, Field::Port], &value).elements(one))
        .chain(arriving)
        .chain(redirected("ports-from-outside", Hook::Prerouting))
        .chain(redirected("ports-from-here", Hook::Output))
        .chain(forward)
        .chain(leaving)
}

/// Sooner than connection tracking (`raw`).
const BEFORE_TRACKING: i32 = -300;

fn redirected(name: &str, hook: Hook) -> Chain {
    Chain::destination_nat(name, hook)
        .rule(Rule::new().redirect_by_address_ipv4(ONE_ADDRESS))
        .rule(Rule::new().destination_local().redirect_by_port_ipv4(ANY_ADDRESS))
}

/// What may come in by a bridge, and for an internal network also go out.
fn allowed(network: &Definition) -> Vec<Rule> {
    let bridge = network.bridge.as_str();
    let mut rules = vec![
        Rule::new().input(bridge).output(bridge).accept(),
        Rule::new().output(bridge).established().accept(),
        Rule::new().output(bridge).redirected().accept(),
    ];
    if let Some(within) = network.within {
        rules.push(Rule::new().source(within.into()).output(bridge).accept());
    }
    if network.internal {
        rules.push(Rule::new().input(bridge).discard());
    }
    rules.push(Rule::new().output(bridge).discard());
    rules
}

fn masqueraded(network: &Definition) -> Vec<Rule> {
    let bridge = network.bridge.as_str();
    let subnet = ipnet::IpNet::from(network.subnet);
    // A container that comes back to the bridge by a published port has to see the answers there; and
    // so has the machine, when it asks from 127.0.0.1.
    let mut rules = vec![
        Rule::new().source(subnet).output(bridge).redirected().masquerade(),
        Rule::new().source(loopback()).output(bridge).masquerade(),
    ];
    if !network.internal && network.masquerade {
        let mut out = Rule::new().source(subnet).output_not(bridge);
        if let Some(within) = network.within {
            out = out.destination_not(within.into());
        }
        rules.push(out.masquerade());
    }
    rules
}

/// The elements of both maps: for all addresses of the machine, and for one.
fn published(attachments: &[Attachment]) -> (Vec<Element>, Vec<Element>) {
    let (mut any, mut one) = (Vec::new(), Vec::new());
    for attachment in attachments {
        for port in &attachment.published {
            let key = if port.address.is_unspecified() {
                Element::new()
            } else {
                Element::new().ipv4(port.address)
            };
            let element = key
                .protocol(port.protocol.of_rules())
                .port(port.port)
                .leads_to()
                .ipv4(attachment.address.addr())
                .port(port.inner);
            if port.address.is_unspecified() { any.push(element) } else { one.push(element) }
        }
    }
    (any, one)
}

fn loopback() -> ipnet::IpNet {
    ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8).into()
}
