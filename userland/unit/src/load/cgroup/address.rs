//! IPAddressAllow=, SocketBindAllow= and their kin.

use std::net::IpAddr;

use super::{Draft, Outcome, Taken};
use crate::settings::{AddressPrefix, SocketBind};

const TCP: i32 = 6;
const UDP: i32 = 17;
const INET: i32 = 2;
const INET6: i32 = 10;

pub(super) fn set(draft: &mut Draft<'_>, key: &str, value: &str) -> Outcome {
    let text = draft.context.resolve(value)?;
    let cgroup = &mut draft.cgroup;
    match key {
        "IPAddressAllow" => addresses(&mut cgroup.ip_allow, &text)?,
        "IPAddressDeny" => addresses(&mut cgroup.ip_deny, &text)?,
        "IPIngressFilterPath" => path(&mut cgroup.ip_ingress_filters, &text)?,
        "IPEgressFilterPath" => path(&mut cgroup.ip_egress_filters, &text)?,
        "SocketBindAllow" | "SocketBindDeny" => {
            let list = match key {
                "SocketBindAllow" => &mut cgroup.socket_bind_allow,
                _ => &mut cgroup.socket_bind_deny,
            };
            if text.is_empty() {
                list.clear();
                return Ok(Taken::Yes);
            }
            list.push(
                socket_bind(&text).ok_or_else(|| format!("\"{text}\" is not [FAMILY:][PROTOCOL:]PORTS"))?,
            );
        }
        _ => return Ok(Taken::Unknown),
    }
    Ok(Taken::Yes)
}

fn path(list: &mut Vec<String>, text: &str) -> Result<(), String> {
    if text.is_empty() {
        list.clear();
    } else if !text.starts_with('/') {
        return Err(format!("\"{text}\" is not an absolute path"));
    } else if !list.iter().any(|known| known == text) {
        list.push(text.into());
    }
    Ok(())
}

/// Adds prefixes; one that another covers goes.
fn addresses(list: &mut Vec<AddressPrefix>, text: &str) -> Result<(), String> {
    if text.is_empty() {
        list.clear();
        return Ok(());
    }
    let mut bad = Vec::new();
    for word in text.split_whitespace() {
        let words: &[&str] = match word {
            "any" => &["0.0.0.0/0", "::/0"],
            "localhost" => &["127.0.0.0/8", "::1/128"],
            "link-local" => &["169.254.0.0/16", "fe80::/64"],
            "multicast" => &["224.0.0.0/4", "ff00::/8"],
            _ => &[word],
        };
        for word in words {
            match prefix(word) {
                Some(prefix) => list.push(prefix),
                None => bad.push(*word),
            }
        }
    }
    let all = std::mem::take(list);
    for (at, one) in all.iter().enumerate() {
        let covered = |other: &AddressPrefix| {
            other.length < one.length
                && AddressPrefix::new(one.address, other.length)
                    .is_some_and(|wide| wide.address == other.address)
                && one.address.is_ipv4() == other.address.is_ipv4()
        };
        let again = all.iter().take(at).any(|other| other == one);
        if !again && !all.iter().any(covered) {
            list.push(*one);
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(format!("not addresses: {}", bad.join(" "))) }
}

fn prefix(text: &str) -> Option<AddressPrefix> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    AddressPrefix::new(address, length.unwrap_or(whole))
}

fn socket_bind(text: &str) -> Option<SocketBind> {
    let mut bind = SocketBind::default();
    for part in text.split(':') {
        match part {
            "any" => {}
            "ipv4" => bind.family = INET,
            "ipv6" => bind.family = INET6,
            "tcp" => bind.protocol = TCP,
            "udp" => bind.protocol = UDP,
            ports => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
                bind.first = Some(first).filter(|port| *port > 0)?;
                bind.ports = last.checked_sub(first)?.checked_add(1)?;
            }
        }
    }
    Some(bind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_cut_and_covered_ones_go() {
        let mut list = Vec::new();
        addresses(&mut list, "10.1.2.3/8 10.0.0.1 localhost 10.1.2.3/8").unwrap();
        let text: Vec<String> = list.iter().map(|one| format!("{}/{}", one.address, one.length)).collect();
        assert_eq!(text, ["10.0.0.0/8", "127.0.0.0/8", "::1/128"]);
        assert!(addresses(&mut list, "10.0.0.0/33").is_err() && addresses(&mut list, "x").is_err());
        addresses(&mut list, "any").unwrap();
        assert_eq!(list.len(), 2);
        addresses(&mut list, "").unwrap();
        assert!(list.is_empty());
    }

    #[test]
    fn ports_and_protocols() {
        assert_eq!(socket_bind("any"), Some(SocketBind::default()));
        let want = SocketBind { family: INET6, protocol: UDP, ports: 11, first: 10 };
        assert_eq!(socket_bind("ipv6:udp:10-20"), Some(want));
        assert_eq!((socket_bind("0"), socket_bind("20-10"), socket_bind("x")), (None, None, None));
    }
}
