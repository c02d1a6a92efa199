//! `ip address`.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::words::{self, Words, complete, unknown, wrong};
use super::{Context, Failure, link};
use netlink::link::Prefix;

const HELP: &str = "\
Usage: ip address [ show ] [ dev DEVICE ] [ up ] [ scope SCOPE ]
       ip address { add | replace } ADDRESS[/LENGTH] dev DEVICE [ brd { ADDRESS | + } ]
                  [ label LABEL ] [ scope SCOPE ] [ metric METRIC ]
                  [ valid_lft SECONDS ] [ preferred_lft SECONDS ]
       ip address delete ADDRESS[/LENGTH] dev DEVICE
       ip address flush dev DEVICE
";

pub fn run(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let Some(verb) = words.next() else { return show(context, words) };
    match complete(verb, &["show", "list", "lst", "add", "replace", "delete", "flush", "help"]) {
        Some("show" | "list" | "lst") => show(context, words),
        Some("add") => change(context, words, Change::Add(NLM_F_CREATE | NLM_F_EXCL)),
        Some("replace") => change(context, words, Change::Add(NLM_F_CREATE | NLM_F_REPLACE)),
        Some("delete") => change(context, words, Change::Delete),
        Some("flush") => flush(context, words),
        Some("help") => Ok(write!(context.out, "{HELP}")?),
        _ => Err(unknown(verb, "address")),
    }
}

fn dump(context: &mut Context<'_>) -> Result<Vec<AddressMessage>, Failure> {
    let mut request = AddressMessage::default();
    request.header.family = context.family;
    let answers = context.netlink.dump(RouteNetlinkMessage::GetAddress(request))?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => Some(message),
            _ => None,
        })
        .collect())
}

fn show(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let (mut device, mut up, mut wanted_scope) = (None, false, None);
    while let Some(word) = words.next() {
        match word {
            "up" => up = true,
            "scope" => wanted_scope = Some(parse_scope(words.value("scope")?)?),
            "dev" => device = Some(context.shown_index(words.value("dev")?)?),
            name => device = Some(context.shown_index(name)?),
        }
    }
    let links = link::dump(context)?;
    let names = link::names(&links);
    let addresses = dump(context)?;
    let filtered = context.family != AddressFamily::Unspec || wanted_scope.is_some();
    for message in &links {
        let index = message.header.index;
        let own: Vec<&AddressMessage> = addresses
            .iter()
            .filter(|a| a.header.index == index && wanted_scope.is_none_or(|scope| scope == a.header.scope))
            .collect();
        if device.is_some_and(|wanted| wanted != index)
            || (up && !message.header.flags.contains(LinkFlags::Up))
            || (filtered && own.is_empty())
        {
            continue;
        }
        if context.brief {
            let mut line = link::brief_head(message, &names);
            own.iter().for_each(|address| line.push_str(&format!(" {}", short(address))));
            writeln!(context.out, "{line} ")?;
        } else if context.oneline {
            let name = names.get(&index).map_or("?", |(name, _)| name);
            for address in own {
                let text = long(address).replace('\n', "\\");
                writeln!(context.out, "{index}: {name}{text}")?;
            }
        } else {
            write_link(context, message, &links)?;
            for address in own {
                writeln!(context.out, "{}", long(address))?;
            }
        }
    }
    Ok(())
}

fn write_link(
    context: &mut Context<'_>,
    message: &LinkMessage,
    links: &[LinkMessage],
) -> Result<(), Failure> {
    writeln!(context.out, "{}", link::head(message, &link::names(links), false))?;
    if context.family == AddressFamily::Unspec {
        writeln!(context.out, "{}", link::second_line(message))?;
    }
    Ok(())
}

/// The address itself, and the peer's if there is one.
fn local(message: &AddressMessage) -> Option<(std::net::IpAddr, Option<std::net::IpAddr>)> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(a) => local = Some(*a),
            AddressAttribute::Address(a) => address = Some(*a),
            _ => {}
        }
    }
    let own = local.or(address)?;
    Some((own, address.filter(|a| *a != own)))
}

fn short(message: &AddressMessage) -> String {
    match local(message) {
        Some((own, Some(peer))) => format!("{own} peer {peer}/{}", message.header.prefix_len),
        Some((own, None)) => format!("{own}/{}", message.header.prefix_len),
        None => String::new(),
    }
}

/// The two lines of an address, without a closing line break.
fn long(message: &AddressMessage) -> String {
    let inet6 = message.header.family == AddressFamily::Inet6;
    let mut line = format!("    {} {}", if inet6 { "inet6" } else { "inet" }, short(message));
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    let (mut label, mut life, mut broadcast, mut metric) = (None, None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Label(text) => label = Some(text.clone()),
            AddressAttribute::CacheInfo(info) => life = Some(*info),
            AddressAttribute::Broadcast(address) => broadcast = Some(*address),
            AddressAttribute::RoutePriority(n) => metric = Some(*n).filter(|&n| n != 0),
            _ => {}
        }
    }
    if let Some(metric) = metric {
        line.push_str(&format!(" metric {metric}"));
    }
    if let Some(broadcast) = broadcast {
        line.push_str(&format!(" brd {broadcast}"));
    }
    line.push_str(&format!(" scope {} ", scope(message.header.scope)));
    let table = [
        (AddressFlags::Secondary, if inet6 { "temporary" } else { "secondary" }),
        (AddressFlags::Nodad, "nodad"),
        (AddressFlags::Optimistic, "optimistic"),
        (AddressFlags::Dadfailed, "dadfailed"),
        (AddressFlags::Homeaddress, "home"),
        (AddressFlags::Deprecated, "deprecated"),
        (AddressFlags::Tentative, "tentative"),
        (AddressFlags::Permanent, "dynamic"),
        (AddressFlags::Managetempaddr, "mngtmpaddr"),
        (AddressFlags::Noprefixroute, "noprefixroute"),
        (AddressFlags::Mcautojoin, "autojoin"),
        (AddressFlags::StablePrivacy, "stable-privacy"),
    ];
    for (flag, name) in table {
        // What is not permanent is called dynamic.
        if flags.contains(flag) != (flag == AddressFlags::Permanent) {
            line.push_str(&format!("{name} "));
        }
    }
    line.push_str(label.as_deref().unwrap_or_default());
    if let Some(life) = life {
        let (valid, preferred) = (seconds(life.ifa_valid), seconds(life.ifa_preferred));
        line.push_str(&format!("\n       valid_lft {valid} preferred_lft {preferred}"));
    }
    line
}

fn seconds(n: u32) -> String {
    if n == u32::MAX { "forever".into() } else { format!("{n}sec") }
}

fn scope(scope: AddressScope) -> String {
    match scope {
        AddressScope::Universe => "global".into(),
        AddressScope::Site => "site".into(),
        AddressScope::Link => "link".into(),
        AddressScope::Host => "host".into(),
        AddressScope::Nowhere => "nowhere".into(),
        other => u8::from(other).to_string(),
    }
}

fn parse_scope(word: &str) -> Result<AddressScope, Failure> {
    Ok(match word {
        "global" => AddressScope::Universe,
        "site" => AddressScope::Site,
        "link" => AddressScope::Link,
        "host" => AddressScope::Host,
        _ => return Err(wrong(word, "invalid scope value")),
    })
}

enum Change {
    Add(u16),
    Delete,
}

fn change(context: &mut Context<'_>, words: &mut Words<'_>, change: Change) -> Result<(), Failure> {
    let mut message = AddressMessage::default();
    let (mut address, mut device, mut broadcast_of_prefix) = (None, None, false);
    let mut life: Option<CacheInfo> = None;
    while let Some(word) = words.next() {
        let mut endless = CacheInfo::default();
        (endless.ifa_valid, endless.ifa_preferred) = (u32::MAX, u32::MAX);
        match word {
            "dev" => device = Some(words.value("dev")?),
            "brd" | "broadcast" => match words.value("brd")? {
                "+" => broadcast_of_prefix = true,
                word => {
                    let address = word.parse().map_err(|_| wrong(word, "invalid broadcast address"))?;
                    message.attributes.push(AddressAttribute::Broadcast(address));
                }
            },
            "label" => message.attributes.push(AddressAttribute::Label(words.value("label")?.into())),
            "scope" => message.header.scope = parse_scope(words.value("scope")?)?,
            "metric" | "priority" => {
                message.attributes.push(AddressAttribute::RoutePriority(words.number("metric")?));
            }
            "valid_lft" => life.get_or_insert(endless).ifa_valid = lifetime(words)?,
            "preferred_lft" => life.get_or_insert(endless).ifa_preferred = lifetime(words)?,
            "local" => address = Some(words::prefix(words.value("local")?)?),
            word if address.is_none() => address = Some(words::prefix(word)?),
            other => return Err(wrong(other, "not a setting of an address")),
        }
    }
    let missing = |what| Failure::Usage(format!("Not enough information: \"{what}\" argument is required."));
    let prefix: Prefix = address.ok_or_else(|| missing("local"))?;
    message.header.index = context.index(device.ok_or_else(|| missing("dev"))?)?;
    message.header.family = if prefix.address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix.length;
    if prefix.address.is_loopback() && prefix.address.is_ipv4() {
        message.header.scope = AddressScope::Host;
    }
    message.attributes.push(AddressAttribute::Local(prefix.address));
    message.attributes.push(AddressAttribute::Address(prefix.address));
    if let (true, Some(broadcast)) = (broadcast_of_prefix, prefix.broadcast()) {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    if let Some(life) = life {
        message.attributes.push(AddressAttribute::CacheInfo(life));
    }
    match change {
        Change::Add(flags) => context.netlink.change(RouteNetlinkMessage::NewAddress(message), flags)?,
        Change::Delete => context.netlink.change(RouteNetlinkMessage::DelAddress(message), 0)?,
    }
    Ok(())
}

fn lifetime(words: &mut Words<'_>) -> Result<u32, Failure> {
    match words.value("a lifetime")? {
        "forever" => Ok(u32::MAX),
        word => word.trim_end_matches("sec").parse().map_err(|_| wrong(word, "invalid lifetime")),
    }
}

fn flush(context: &mut Context<'_>, words: &mut Words<'_>) -> Result<(), Failure> {
    let mut device = words.value("flush")?;
    if device == "dev" {
        device = words.value("dev")?;
    }
    let index = context.index(device)?;
    for message in dump(context)?.into_iter().filter(|message| message.header.index == index) {
        match context.netlink.change(RouteNetlinkMessage::DelAddress(message), 0) {
            // Secondary addresses may go along with their primary.
            Err(e) if e.errno() == Some(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error()) => {}
            done => done?,
        }
    }
    Ok(())
}
