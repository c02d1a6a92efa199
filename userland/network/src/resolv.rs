//! The text of `resolv.conf`: resolv.conf(5).

use std::net::IpAddr;

/// Most search domains that are written; the rest would not be read.
const MOST_DOMAINS: usize = 6;

/// The file for these name servers and search domains, in order of preference; doubles are left out.
pub fn text<'a>(servers: impl Iterator<Item = IpAddr>, domains: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::from("# Written by systemd-networkd. Changes here are overwritten.\n");
    let mut seen = Vec::new();
    for server in servers {
        if !seen.contains(&server) {
            text.push_str(&format!("nameserver {server}\n"));
            seen.push(server);
        }
    }
    let mut names: Vec<&str> = Vec::new();
    for domain in domains {
        if !names.contains(&domain) && names.len() < MOST_DOMAINS {
            names.push(domain);
        }
    }
    if !names.is_empty() {
        text.push_str(&format!("search {}\n", names.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn servers_and_domains() {
        let servers = ["10.0.2.3", "2001:db8::1", "10.0.2.3"].map(|s| s.parse().unwrap());
        let text = super::text(servers.into_iter(), ["example.org", "example.org"].into_iter());
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["nameserver 10.0.2.3", "nameserver 2001:db8::1", "search example.org"]);
        assert_eq!(super::text([].into_iter(), [].into_iter()).lines().count(), 1);
    }
}
