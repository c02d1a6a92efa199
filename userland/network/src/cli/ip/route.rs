//! `ip route`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RoutePreference,
    RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::words::{self, Words, complete, unknown, wrong};
use super::{Context, Failure};
use netlink::link::Prefix;

const HELP: &str = "\
Usage: ip route [ show ] [ dev DEVICE ] [ table { TABLE | all } ] [ proto PROTOCOL ]
       ip route get ADDRESS
       ip route { add | replace | append | delete } [ TYPE ] { PREFIX | default } [ via ADDRESS ]
                [ dev DEVICE ] [ src ADDRESS ] [ metric METRIC ] [ table TABLE ]
                [ proto PROTOCOL ] [ scope SCOPE ] [ mtu BYTES ] [ onlink ]
TYPE := { unicast | local | blackhole | unreachable | prohibit | throw }
";

const PROTOCOLS: [(RouteProtocol, &str); 8] = [
    (RouteProtocol::IcmpRedirect, "redirect"),
    (RouteProtocol::Kernel, "kernel"),
    (RouteProtocol::Boot, "boot"),
    (RouteProtocol::Static, "static"),
    (RouteProtocol::Ra, "ra"),
    (RouteProtocol::Dhcp, "dhcp"),
    (RouteProtocol::Bird, "bird"),
    (RouteProtocol::Bgp, "bgp"),
];
const TYPES: [(RouteType, &str); 9] = [
    (RouteType::Unicast, "unicast"),
    (RouteType::Local, "local"),
    (RouteType::Broadcast, "broadcast"),
    (RouteType::Anycast, "anycast"),
    (RouteType::Multicast, "multicast"),
    (RouteType::BlackHole, "blackhole"),
    (RouteType::Unreachable, "unreachable"),
    (RouteType::Prohibit, "prohibit"),
    (RouteType::Throw, "throw"),
];
const SCOPES: [(RouteScope, &str); 5] = [
    (RouteScope::Universe, "global"),
    (RouteScope::Site, "site"),
    (RouteScope::Link, "link"),
    (RouteScope::Host, "host"),
    (RouteScope::NoWhere, "nowhere"),
];
const TABLES: [(u32, &str); 3] = [(255, "local"), (254, "main"), (253, "default")];
const MAIN: u32 = 254;
/// Clock ticks of the kernel's answers.
const TICKS: u32 = 100;

pub fn run(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let Some(verb) = words.next() else { return show(context, words) };
    let verbs = ["show", "list", "lst", "get", "add", "append", "replace", "change", "delete", "help"];
    match complete(verb, &verbs) {
        Some("show" | "list" | "lst") => show(context, words),
        Some("get") => get(context, words),
        Some("add") => change(context, words, Some(NLM_F_CREATE | NLM_F_EXCL)),
        Some("append") => change(context, words, Some(NLM_F_CREATE | NLM_F_APPEND)),
        Some("replace") => change(context, words, Some(NLM_F_CREATE | NLM_F_REPLACE)),
        Some("change") => change(context, words, Some(NLM_F_REPLACE)),
        Some("delete") => change(context, words, None),
        Some("help") => Ok(write!(context.out, "{HELP}")?),
        _ => Err(unknown(verb, "route")),
    }
}

fn name_of<T: PartialEq + Copy>(table: &[(T, &str)], value: T, number: impl ToString) -> String {
    table.iter().find(|(v, _)| *v == value).map_or_else(|| number.to_string(), |(_, name)| (*name).into())
}

fn value_of<T: Copy + From<u8>>(table: &[(T, &str)], word: &str, what: &str) -> Result<T, Failure> {
    let named = table.iter().find(|(_, name)| *name == word).map(|(value, _)| *value);
    named.or_else(|| word.parse::<u8>().ok().map(T::from)).ok_or_else(|| wrong(word, what))
}

/// What an attribute list says, as far as it is shown.
#[derive(Default)]
struct Seen {
    to: Option<RouteAddress>,
    via: Option<String>,
    device: Option<u32>,
    source: Option<RouteAddress>,
    metric: Option<u32>,
    table: u32,
    uid: Option<u32>,
    expires: Option<u32>,
    mtu: Option<u32>,
    preference: Option<RoutePreference>,
}

fn see(message: &RouteMessage) -> Seen {
    let mut seen = Seen { table: message.header.table.into(), ..Seen::default() };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => seen.to = Some(address.clone()),
            RouteAttribute::Gateway(address) => seen.via = address_text(address),
            RouteAttribute::Via(RouteVia::Inet6(address)) => seen.via = Some(format!("inet6 {address}")),
            RouteAttribute::Oif(index) => seen.device = Some(*index),
            RouteAttribute::PrefSource(address) => seen.source = Some(address.clone()),
            RouteAttribute::Priority(n) => seen.metric = Some(*n),
            RouteAttribute::Table(n) => seen.table = *n,
            RouteAttribute::Uid(n) => seen.uid = Some(*n),
            RouteAttribute::CacheInfo(info) => seen.expires = Some(info.expires).filter(|&n| n != 0),
            RouteAttribute::Metrics(metrics) => {
                seen.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(n) => Some(*n),
                    _ => None,
                });
            }
            RouteAttribute::Preference(preference) => seen.preference = Some(*preference),
            _ => {}
        }
    }
    seen
}

fn address_text(address: &RouteAddress) -> Option<String> {
    match address {
        RouteAddress::Inet(a) => Some(a.to_string()),
        RouteAddress::Inet6(a) => Some(a.to_string()),
        _ => None,
    }
}

fn show(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let (mut device, mut table, mut protocol) = (None, Some(MAIN), None);
    while let Some(word) = words.next() {
        match word {
            "dev" => device = Some(context.index(words.value("dev")?)?),
            "table" => {
                table = match words.value("table")? {
                    "all" => None,
                    word => Some(parse_table(word)?),
                }
            }
            "proto" | "protocol" => {
                protocol = Some(value_of(&PROTOCOLS, words.value("proto")?, "invalid protocol")?);
            }
            other => return Err(wrong(other, "only dev, table and proto are understood")),
        }
    }
    let names = context.names()?;
    let mut request = RouteMessage::default();
    // As iproute2: IPv4 unless IPv6 is asked for; of every table both.
    request.header.address_family = match (context.family, table) {
        (AddressFamily::Unspec, Some(_)) => AddressFamily::Inet,
        (family, _) => family,
    };
    for answer in context.netlink.dump(RouteNetlinkMessage::GetRoute(request))? {
        let RouteNetlinkMessage::NewRoute(message) = answer else { continue };
        let seen = see(&message);
        let header = &message.header;
        let known = matches!(header.address_family, AddressFamily::Inet | AddressFamily::Inet6);
        if !known
            || header.flags.contains(RouteFlags::Cloned)
            || table.is_some_and(|table| table != seen.table)
            || device.is_some_and(|device| seen.device != Some(device))
            || protocol.is_some_and(|protocol| protocol != header.protocol)
        {
            continue;
        }
        let shown_table = Some(seen.table).filter(|&t| table.is_none() && t != MAIN);
        writeln!(context.out, "{}", line(&message, &seen, &names, shown_table, device.is_none()))?;
    }
    Ok(())
}

fn line(
    message: &RouteMessage,
    seen: &Seen,
    names: &BTreeMap<u32, String>,
    table: Option<u32>,
    with_device: bool,
) -> String {
    let header = &message.header;
    let whole = if header.address_family == AddressFamily::Inet { 32 } else { 128 };
    let mut line = String::new();
    if header.kind != RouteType::Unicast {
        line.push_str(&format!("{} ", name_of(&TYPES, header.kind, u8::from(header.kind))));
    }
    match seen.to.as_ref().and_then(address_text) {
        Some(to) if header.destination_prefix_length == whole => line.push_str(&to),
        Some(to) => line.push_str(&format!("{to}/{}", header.destination_prefix_length)),
        None if header.destination_prefix_length == 0 => line.push_str("default"),
        None => line.push_str(&format!("0/{}", header.destination_prefix_length)),
    }
    line.push(' ');
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!("{word} {value} "));
        }
    };
    let device_name = |index: u32| names.get(&index).cloned().unwrap_or_else(|| format!("if{index}"));
    add("via", seen.via.clone());
    add("dev", seen.device.filter(|_| with_device).map(device_name));
    add("table", table.map(|table| name_of(&TABLES, table, table)));
    if !header.flags.contains(RouteFlags::Cloned) {
        let protocol = Some(header.protocol).filter(|&p| p != RouteProtocol::Boot);
        add("proto", protocol.map(|p| name_of(&PROTOCOLS, p, u8::from(p))));
        let scope = Some(header.scope).filter(|&s| s != RouteScope::Universe);
        add("scope", scope.map(|s| name_of(&SCOPES, s, u8::from(s))));
    }
    add("src", seen.source.as_ref().and_then(address_text));
    add("metric", seen.metric.map(|n| n.to_string()));
    for (flag, name) in
        [(RouteFlags::Dead, "dead"), (RouteFlags::Onlink, "onlink"), (RouteFlags::Linkdown, "linkdown")]
    {
        if header.flags.contains(flag) {
            line.push_str(&format!("{name} "));
        }
    }
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!("{word} {value} "));
        }
    };
    add("uid", seen.uid.map(|n| n.to_string()));
    if header.flags.contains(RouteFlags::Cloned) {
        return format!("{line}\n    cache ");
    }
    add("expires", seen.expires.map(|n| format!("{}sec", n / TICKS)));
    add("mtu", seen.mtu.map(|n| n.to_string()));
    let preference = match seen.preference {
        Some(RoutePreference::Low) => Some("low"),
        Some(RoutePreference::Medium) => Some("medium"),
        Some(RoutePreference::High) => Some("high"),
        _ => None,
    };
    add("pref", preference.map(str::to_owned));
    for hop in message.attributes.iter().filter_map(next_hops).flatten() {
        let via = hop.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => address_text(address),
            _ => None,
        });
        let via = via.map(|via| format!("via {via} ")).unwrap_or_default();
        let (device, weight) = (device_name(hop.interface_index), u16::from(hop.hops) + 1);
        line.push_str(&format!("\n\tnexthop {via}dev {device} weight {weight} "));
    }
    line
}

fn next_hops(attribute: &RouteAttribute) -> Option<&Vec<netlink_packet_route::route::RouteNextHop>> {
    match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    }
}

fn parse_table(word: &str) -> Result<u32, Failure> {
    let named = TABLES.iter().find(|(_, name)| *name == word).map(|(table, _)| *table);
    named.or_else(|| word.parse().ok()).ok_or_else(|| wrong(word, "\"table\" value is invalid"))
}

fn get(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let mut word = words.value("get")?;
    if word == "to" {
        word = words.value("to")?;
    }
    let to = words::prefix(word)?;
    let names = context.names()?;
    let mut request = RouteMessage::default();
    set_family(&mut request, to.address);
    request.header.destination_prefix_length = to.length;
    request.header.flags = RouteFlags::LookupTable;
    request.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.address)));
    for answer in context.netlink.get(RouteNetlinkMessage::GetRoute(request))? {
        if let RouteNetlinkMessage::NewRoute(message) = answer {
            let seen = see(&message);
            let table = Some(seen.table).filter(|&table| table != MAIN && table != 0);
            // iproute2 tells of no table here unless it is another than main.
            let text = line(&message, &seen, &names, table.filter(|_| false), true);
            writeln!(context.out, "{text}")?;
        }
    }
    Ok(())
}

fn set_family(message: &mut RouteMessage, like: IpAddr) {
    message.header.address_family = if like.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
}

/// Adds with these flags; without, deletes.
fn change(context: &mut Context<'_>, words: &mut Words<'_>, add: Option<u16>) -> Result<(), Failure> {
    let mut message = RouteMessage::default();
    let (mut to, mut gateway, mut device, mut scope) = (None, None, None, None);
    let mut table = MAIN;
    let mut kind = None;
    if add.is_some() {
        message.header.protocol = RouteProtocol::Boot;
    }
    while let Some(word) = words.next() {
        match word {
            "via" => gateway = Some(words.address("via")?),
            "dev" => device = Some(context.index(words.value("dev")?)?),
            "src" => {
                let source = words.address("src")?;
                message.attributes.push(RouteAttribute::PrefSource(RouteAddress::from(source)));
            }
            "metric" | "priority" | "preference" => {
                message.attributes.push(RouteAttribute::Priority(words.number("metric")?));
            }
            "table" => table = parse_table(words.value("table")?)?,
            "proto" | "protocol" => {
                message.header.protocol = value_of(&PROTOCOLS, words.value("proto")?, "invalid protocol")?;
            }
            "scope" => scope = Some(value_of(&SCOPES, words.value("scope")?, "invalid scope")?),
            "mtu" => {
                message
                    .attributes
                    .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(words.number("mtu")?)]));
            }
            "onlink" => message.header.flags |= RouteFlags::Onlink,
            "to" => to = Some(words.value("to")?),
            word if to.is_none() && kind.is_none() && TYPES.iter().any(|(_, name)| *name == word) => {
                kind = TYPES.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind);
            }
            word if to.is_none() => to = Some(word),
            other => return Err(wrong(other, "not a setting of a route")),
        }
    }
    let to = to.ok_or_else(|| Failure::Usage("a route needs where it leads: PREFIX or default".into()))?;
    let to: Option<Prefix> = if to == "default" { None } else { Some(words::prefix(to)?) };
    let like = to.map(|to| to.address).or(gateway);
    match like {
        Some(address) => set_family(&mut message, address),
        None if context.family == AddressFamily::Inet6 => {
            message.header.address_family = AddressFamily::Inet6
        }
        None => message.header.address_family = AddressFamily::Inet,
    }
    if let Some(to) = to.filter(|to| to.length > 0) {
        message.header.destination_prefix_length = to.length;
        message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.address)));
    }
    if let Some(gateway) = gateway {
        message.attributes.push(RouteAttribute::Gateway(RouteAddress::from(gateway)));
    }
    message.attributes.extend(device.map(RouteAttribute::Oif));
    message.attributes.push(RouteAttribute::Table(table));
    message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.header.kind = match (kind, add) {
        (Some(kind), _) => kind,
        (None, Some(_)) => RouteType::Unicast,
        (None, None) => RouteType::Unspec,
    };
    let plain = matches!(message.header.kind, RouteType::Unicast | RouteType::Unspec);
    message.header.scope = match (scope, add) {
        (Some(scope), _) => scope,
        (None, None) => RouteScope::NoWhere,
        (None, Some(_)) if message.header.kind == RouteType::Local => RouteScope::Host,
        (None, Some(_)) if plain && gateway.is_none() && like.is_none_or(|a| a.is_ipv4()) => RouteScope::Link,
        (None, Some(_)) => RouteScope::Universe,
    };
    match add {
        Some(flags) => context.netlink.change(RouteNetlinkMessage::NewRoute(message), flags)?,
        None => context.netlink.change(RouteNetlinkMessage::DelRoute(message), 0)?,
    }
    Ok(())
}
