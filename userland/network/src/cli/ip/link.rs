//! `ip link`.

use std::collections::BTreeMap;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
    Prop, State,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::words::{Words, complete, unknown, wrong};
use super::{Context, Failure};
use crate::network_file::parse_mac;

const HELP: &str = "\
Usage: ip link [ show ] [ dev DEVICE ] [ up ] [ type KIND ] [ master DEVICE ]
       ip link set DEVICE [ up | down ] [ mtu BYTES ] [ address MAC ] [ name NAME ]
                          [ master DEVICE | nomaster ] [ txqueuelen PACKETS ]
       ip link add NAME type { dummy | bridge | veth [ peer name NAME ] }
       ip link add link DEVICE name NAME type vlan id ID
       ip link delete DEVICE
";

pub fn run(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let Some(verb) = words.next() else { return show(context, words) };
    match complete(verb, &["show", "list", "lst", "set", "add", "delete", "help"]) {
        Some("show" | "list" | "lst") => show(context, words),
        Some("set") => set(context, words),
        Some("add") => add(context, words),
        Some("delete") => delete(context, words),
        Some("help") => Ok(write!(context.out, "{HELP}")?),
        _ => Err(unknown(verb, "link")),
    }
}

fn show(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let (mut device, mut up, mut kind, mut master) = (None, false, None, None);
    while let Some(word) = words.next() {
        match word {
            "up" => up = true,
            "type" => kind = Some(words.value("type")?),
            "master" => master = Some(context.index(words.value("master")?)?),
            "dev" => device = Some(context.shown_index(words.value("dev")?)?),
            name => device = Some(context.shown_index(name)?),
        }
    }
    let messages = dump(context)?;
    let names = names(&messages);
    for message in &messages {
        let link = netlink::link::Link::of(message);
        let wanted = device.is_none_or(|index| index == message.header.index)
            && (!up || message.header.flags.contains(LinkFlags::Up))
            && kind.is_none_or(|kind| link.as_ref().and_then(|l| l.kind.as_deref()) == Some(kind))
            && master.is_none_or(|index| link.as_ref().and_then(|l| l.controller) == Some(index));
        if !wanted {
            continue;
        }
        let text = if context.brief {
            let mac = find(message, |a| match a {
                LinkAttribute::Address(mac) => Some(hex(mac)),
                _ => None,
            });
            let mac = mac.unwrap_or_default();
            format!("{} {mac} <{}> \n", brief_head(message, &names), flags(message, &names))
        } else {
            format!("{}\n{}\n", head(message, &names, true), second_line(message))
        };
        if context.oneline && !context.brief {
            writeln!(context.out, "{}", text.trim_end_matches('\n').replace('\n', "\\"))?;
        } else {
            write!(context.out, "{text}")?;
        }
    }
    Ok(())
}

/// Every link as the kernel tells of it.
pub fn dump(context: &mut Context<'_>) -> Result<Vec<LinkMessage>, Failure> {
    let answers = context.netlink.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Some(message),
            _ => None,
        })
        .collect())
}

/// The names of the links by index, and whether they are up.
pub type Names = BTreeMap<u32, (String, bool)>;

/// The names of these links.
pub fn names(messages: &[LinkMessage]) -> Names {
    let up = |message: &LinkMessage| message.header.flags.contains(LinkFlags::Up);
    messages.iter().map(|message| (message.header.index, (name(message), up(message)))).collect()
}

fn find<T>(message: &LinkMessage, pick: impl Fn(&LinkAttribute) -> Option<T>) -> Option<T> {
    message.attributes.iter().find_map(pick)
}

fn name(message: &LinkMessage) -> String {
    let name = find(message, |a| match a {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    name.unwrap_or_else(|| "?".into())
}

/// `eth0@if3`: a link and what it stands on, which may be in another network namespace.
fn full_name(message: &LinkMessage, names: &Names) -> String {
    let name = name(message);
    match (lower_index(message), lower(message, names)) {
        (None, _) => name,
        (Some(0), _) => format!("{name}@NONE"),
        (_, Some((lower, _))) => format!("{name}@{lower}"),
        (Some(index), None) => format!("{name}@if{index}"),
    }
}

fn lower_index(message: &LinkMessage) -> Option<u32> {
    find(message, |a| if let LinkAttribute::Link(index) = a { Some(*index) } else { None })
}

/// The link that this one stands on, if it is in this network namespace.
fn lower<'a>(message: &LinkMessage, names: &'a Names) -> Option<&'a (String, bool)> {
    names.get(&lower_index(message)?).filter(|_| namespace_id(message).is_none())
}

fn namespace_id(message: &LinkMessage) -> Option<i32> {
    find(message, |a| match a {
        LinkAttribute::LinkNetNsId(id) => Some(*id),
        _ => None,
    })
}

fn state(message: &LinkMessage) -> &'static str {
    let state = find(message, |a| match a {
        LinkAttribute::OperState(state) => Some(*state),
        _ => None,
    });
    match state {
        Some(State::NotPresent) => "NOTPRESENT",
        Some(State::Down) => "DOWN",
        Some(State::LowerLayerDown) => "LOWERLAYERDOWN",
        Some(State::Testing) => "TESTING",
        Some(State::Dormant) => "DORMANT",
        Some(State::Up) => "UP",
        _ => "UNKNOWN",
    }
}

/// The first columns of a brief line.
pub fn brief_head(message: &LinkMessage, names: &Names) -> String {
    format!("{:<16} {:<14}", full_name(message, names), state(message))
}

/// The first line of a link; `ip link` also tells of the mode.
pub fn head(message: &LinkMessage, names: &Names, with_mode: bool) -> String {
    let mut line =
        format!("{}: {}: <{}>", message.header.index, full_name(message, names), flags(message, names));
    let mut add = |word: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" {word} {value}"));
        }
    };
    let number = |pick: fn(&LinkAttribute) -> Option<u32>| find(message, pick);
    add(
        "mtu",
        number(|a| if let LinkAttribute::Mtu(n) = a { Some(*n) } else { None }).map(|n| n.to_string()),
    );
    let qdisc = find(message, |a| if let LinkAttribute::Qdisc(q) = a { Some(q.clone()) } else { None });
    add("qdisc", qdisc);
    let master = number(|a| if let LinkAttribute::Controller(n) = a { Some(*n) } else { None });
    add("master", master.map(|n| names.get(&n).map_or_else(|| format!("if{n}"), |(name, _)| name.clone())));
    add("state", Some(state(message).into()));
    if with_mode {
        add("mode", Some("DEFAULT".into()));
    }
    let group = number(|a| if let LinkAttribute::Group(n) = a { Some(*n) } else { None }).unwrap_or(0);
    add("group", Some(if group == 0 { "default".into() } else { group.to_string() }));
    let queue = number(|a| if let LinkAttribute::TxQueueLen(n) = a { Some(*n) } else { None });
    add("qlen", queue.filter(|&n| n != 0).map(|n| n.to_string()));
    line
}

/// The line of the link-layer address.
pub fn second_line(message: &LinkMessage) -> String {
    let layer = match message.header.link_layer_type {
        LinkLayerType::Ether => "ether".to_owned(),
        LinkLayerType::Loopback => "loopback".to_owned(),
        LinkLayerType::None => "none".to_owned(),
        LinkLayerType::Tunnel => "ipip".to_owned(),
        LinkLayerType::Tunnel6 => "tunnel6".to_owned(),
        LinkLayerType::Sit => "sit".to_owned(),
        LinkLayerType::Infiniband => "infiniband".to_owned(),
        other => format!("[{}]", u16::from(other)),
    };
    let mut line = format!("    link/{layer} ");
    let (mut address, mut broadcast, mut permanent, mut others) = (None, None, None, Vec::new());
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => address = Some(hex(bytes)),
            LinkAttribute::Broadcast(bytes) => broadcast = Some(hex(bytes)),
            LinkAttribute::PermAddress(bytes) => permanent = Some(hex(bytes)),
            LinkAttribute::PropList(props) => others.extend(props.iter().filter_map(|prop| match prop {
                Prop::AltIfName(name) => Some(name.clone()),
                _ => None,
            })),
            _ => {}
        }
    }
    line.push_str(address.as_deref().unwrap_or_default());
    let joint = if message.header.flags.contains(LinkFlags::Pointopoint) { "peer" } else { "brd" };
    if let Some(broadcast) = broadcast {
        line.push_str(&format!(" {joint} {broadcast}"));
    }
    if let Some(permanent) = permanent.filter(|p| Some(p) != address.as_ref()) {
        line.push_str(&format!(" permaddr {permanent}"));
    }
    if let Some(id) = namespace_id(message) {
        line.push_str(&format!(" link-netnsid {id}"));
    }
    for other in others {
        line.push_str(&format!("\n    altname {other}"));
    }
    line
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// The flags in the order in which iproute2 names them.
fn flags(message: &LinkMessage, names: &Names) -> String {
    let flags = message.header.flags;
    let table = [
        (LinkFlags::Loopback, "LOOPBACK"),
        (LinkFlags::Broadcast, "BROADCAST"),
        (LinkFlags::Pointopoint, "POINTOPOINT"),
        (LinkFlags::Multicast, "MULTICAST"),
        (LinkFlags::Noarp, "NOARP"),
        (LinkFlags::Allmulti, "ALLMULTI"),
        (LinkFlags::Promisc, "PROMISC"),
        (LinkFlags::Controller, "MASTER"),
        (LinkFlags::Port, "SLAVE"),
        (LinkFlags::Debug, "DEBUG"),
        (LinkFlags::Dynamic, "DYNAMIC"),
        (LinkFlags::Automedia, "AUTOMEDIA"),
        (LinkFlags::Portsel, "PORTSEL"),
        (LinkFlags::Notrailers, "NOTRAILERS"),
        (LinkFlags::Up, "UP"),
        (LinkFlags::LowerUp, "LOWER_UP"),
        (LinkFlags::Dormant, "DORMANT"),
        (LinkFlags::Echo, "ECHO"),
    ];
    let dark = flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::Running);
    let named = table.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name);
    let lower_is_down = lower(message, names).is_some_and(|(_, up)| !up);
    let last = lower_is_down.then_some("M-DOWN");
    dark.then_some("NO-CARRIER").into_iter().chain(named).chain(last).collect::<Vec<_>>().join(",")
}

fn set(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let mut message = LinkMessage::default();
    let mut device = None;
    while let Some(word) = words.next() {
        match word {
            "up" | "down" => {
                message.header.change_mask |= LinkFlags::Up;
                message.header.flags.set(LinkFlags::Up, word == "up");
            }
            "mtu" => message.attributes.push(LinkAttribute::Mtu(words.number("mtu")?)),
            "txqueuelen" | "txqlen" | "qlen" => {
                message.attributes.push(LinkAttribute::TxQueueLen(words.number("txqueuelen")?));
            }
            "address" => {
                let word = words.value("address")?;
                let mac = parse_mac(word).ok_or_else(|| wrong(word, "Invalid address"))?;
                message.attributes.push(LinkAttribute::Address(mac));
            }
            "name" => message.attributes.push(LinkAttribute::IfName(words.value("name")?.into())),
            "master" => {
                let index = context.index(words.value("master")?)?;
                message.attributes.push(LinkAttribute::Controller(index));
            }
            "nomaster" => message.attributes.push(LinkAttribute::Controller(0)),
            "dev" => device = Some(words.value("dev")?),
            name if device.is_none() => device = Some(name),
            other => return Err(wrong(other, "not a setting of a link")),
        }
    }
    let device = device
        .ok_or_else(|| Failure::Usage("Not enough information: \"dev\" argument is required.".into()))?;
    message.header.index = context.index(device)?;
    Ok(context.netlink.change(RouteNetlinkMessage::SetLink(message), 0)?)
}

fn add(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let mut message = LinkMessage::default();
    let mut name = None;
    while let Some(word) = words.next() {
        match word {
            "name" | "dev" => name = Some(words.value("name")?),
            "link" => {
                let index = context.index(words.value("link")?)?;
                message.attributes.push(LinkAttribute::Link(index));
            }
            "mtu" => message.attributes.push(LinkAttribute::Mtu(words.number("mtu")?)),
            "type" => message.attributes.push(LinkAttribute::LinkInfo(kind(words)?)),
            bare if name.is_none() => name = Some(bare),
            other => return Err(wrong(other, "not a setting of a new link")),
        }
    }
    let name = name.ok_or_else(|| Failure::Usage("Not enough information: \"name\" is required.".into()))?;
    message.attributes.push(LinkAttribute::IfName(name.into()));
    Ok(context.netlink.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)?)
}

fn kind(words: &mut Words<'_>) -> Result<Vec<LinkInfo>, Failure> {
    Ok(match words.value("type")? {
        "dummy" => vec![LinkInfo::Kind(InfoKind::Dummy)],
        "bridge" => vec![LinkInfo::Kind(InfoKind::Bridge)],
        "vlan" => {
            let id = match words.next() {
                Some("id") => words.number("id")?,
                _ => return Err(Failure::Usage("a vlan needs its id: type vlan id ID".into())),
            };
            vec![LinkInfo::Kind(InfoKind::Vlan), LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)]))]
        }
        "veth" => {
            let mut info = vec![LinkInfo::Kind(InfoKind::Veth)];
            if let Some(word) = words.next() {
                let peer = match (word, words.next(), words.next()) {
                    ("peer", Some("name"), Some(peer)) => peer,
                    _ => return Err(Failure::Usage("a veth's other end: type veth peer name NAME".into())),
                };
                let mut message = LinkMessage::default();
                message.header.interface_family = AddressFamily::Unspec;
                message.attributes.push(LinkAttribute::IfName(peer.into()));
                info.push(LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(message))));
            }
            info
        }
        other => return Err(wrong(other, "type must be dummy, bridge, veth or vlan")),
    })
}

fn delete(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let mut device = words.value("delete")?;
    if device == "dev" {
        device = words.value("dev")?;
    }
    let mut message = LinkMessage::default();
    message.header.index = context.index(device)?;
    Ok(context.netlink.change(RouteNetlinkMessage::DelLink(message), 0)?)
}
