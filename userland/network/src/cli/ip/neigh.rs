//! `ip neighbour`.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::words::{Words, complete, unknown, wrong};
use super::{Context, Failure};
use crate::network_file::parse_mac;

const HELP: &str = "\
Usage: ip neighbour [ show ] [ dev DEVICE ]
       ip neighbour { add | replace } ADDRESS lladdr MAC dev DEVICE [ nud STATE ]
       ip neighbour delete ADDRESS dev DEVICE
";

const STATES: [(NeighbourState, &str); 9] = [
    (NeighbourState::None, "NONE"),
    (NeighbourState::Incomplete, "INCOMPLETE"),
    (NeighbourState::Reachable, "REACHABLE"),
    (NeighbourState::Stale, "STALE"),
    (NeighbourState::Delay, "DELAY"),
    (NeighbourState::Probe, "PROBE"),
    (NeighbourState::Failed, "FAILED"),
    (NeighbourState::Noarp, "NOARP"),
    (NeighbourState::Permanent, "PERMANENT"),
];

pub fn run(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let Some(verb) = words.next() else { return show(context, words) };
    match complete(verb, &["show", "list", "lst", "add", "replace", "delete", "help"]) {
        Some("show" | "list" | "lst") => show(context, words),
        Some("add") => change(context, words, Some(NLM_F_CREATE | NLM_F_EXCL)),
        Some("replace") => change(context, words, Some(NLM_F_CREATE | NLM_F_REPLACE)),
        Some("delete") => change(context, words, None),
        Some("help") => Ok(write!(context.out, "{HELP}")?),
        _ => Err(unknown(verb, "neighbour")),
    }
}

fn show(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let mut device = None;
    while let Some(word) = words.next() {
        match word {
            "dev" => device = Some(context.shown_index(words.value("dev")?)?),
            other => return Err(wrong(other, "only dev DEVICE is understood")),
        }
    }
    let names = context.names()?;
    let mut request = NeighbourMessage::default();
    request.header.family = context.family;
    for answer in context.netlink.dump(RouteNetlinkMessage::GetNeighbour(request))? {
        let RouteNetlinkMessage::NewNeighbour(message) = answer else { continue };
        let header = &message.header;
        if device.is_some_and(|index| index != header.ifindex)
            || header.state == NeighbourState::Noarp
            || header.state == NeighbourState::None
            || header.family == AddressFamily::Bridge
        {
            continue;
        }
        let (mut address, mut mac) = (String::new(), None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => address = a.to_string(),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => address = a.to_string(),
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = Some(bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"));
                }
                _ => {}
            }
        }
        let mut line = format!("{address} ");
        if device.is_none() {
            let name = names.get(&header.ifindex).map_or("?", String::as_str);
            line.push_str(&format!("dev {name} "));
        }
        if let Some(mac) = mac {
            line.push_str(&format!("lladdr {mac} "));
        }
        if header.flags.contains(NeighbourFlags::Router) {
            line.push_str("router ");
        }
        if header.flags.contains(NeighbourFlags::Proxy) {
            line.push_str("proxy ");
        }
        let state = STATES.iter().find(|(state, _)| *state == header.state).map_or("?", |(_, name)| name);
        writeln!(context.out, "{line}{state} ")?;
    }
    Ok(())
}

/// Adds with these flags; without, deletes.
fn change(context: &mut Context<'_>, words: &mut Words<'_>, add: Option<u16>) -> Result<(), Failure> {
    let mut message = NeighbourMessage::default();
    message.header.state = NeighbourState::Permanent;
    let mut address = None;
    while let Some(word) = words.next() {
        match word {
            "dev" => message.header.ifindex = context.index(words.value("dev")?)?,
            "lladdr" => {
                let word = words.value("lladdr")?;
                let mac = parse_mac(word).ok_or_else(|| wrong(word, "Invalid address"))?;
                message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac));
            }
            "nud" => {
                let word = words.value("nud")?;
                let state = STATES.iter().find(|(_, name)| name.eq_ignore_ascii_case(word));
                message.header.state = state.ok_or_else(|| wrong(word, "nud state is bad"))?.0;
            }
            "to" => address = Some(words.address("to")?),
            word if address.is_none() => {
                address = Some(word.parse().map_err(|_| wrong(word, "an address is expected"))?);
            }
            other => return Err(wrong(other, "not a setting of a neighbour")),
        }
    }
    let address: std::net::IpAddr = match address {
        Some(address) if message.header.ifindex != 0 => address,
        _ => return Err(Failure::Usage("Device and destination are required arguments.".into())),
    };
    let (family, to) = match address {
        std::net::IpAddr::V4(a) => (AddressFamily::Inet, NeighbourAddress::Inet(a)),
        std::net::IpAddr::V6(a) => (AddressFamily::Inet6, NeighbourAddress::Inet6(a)),
    };
    message.header.family = family;
    message.attributes.push(NeighbourAttribute::Destination(to));
    match add {
        Some(flags) => context.netlink.change(RouteNetlinkMessage::NewNeighbour(message), flags)?,
        None => context.netlink.change(RouteNetlinkMessage::DelNeighbour(message), 0)?,
    }
    Ok(())
}
