//! Numbers of members and clusters, made as etcd makes them, so that the same cluster has the same ones.
//!
//! Source: etcd 3.4, etcdserver/api/membership/member.go and cluster.go.

use std::net::ToSocketAddrs;

use hyper::Uri;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::proto::Member;

fn first_eight(text: &[u8]) -> u64 {
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, text);
    sum.as_ref().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// The number of a member, from its peer URLs and the cluster's token; one that is added later has the time too, in
/// seconds since 1970.
pub fn member_id(urls: &[String], token: &str, now: Option<u64>) -> u64 {
    let mut sorted = urls.to_vec();
    sorted.sort();
    let now = now.map(|now| now.to_string()).unwrap_or_default();
    first_eight(format!("{}{token}{now}", sorted.concat()).as_bytes())
}

/// The number of a cluster, from those of its first members.
pub fn cluster_id(members: &[Member]) -> u64 {
    let mut ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    ids.sort_unstable();
    first_eight(&ids.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<u8>>())
}

/// URLs without a slash at the end, if all of them say a scheme, a host and a port, and nothing else.
pub fn clean_urls(urls: &[String]) -> Option<Vec<String>> {
    let mut clean = Vec::new();
    for url in urls {
        let url = url.trim().trim_end_matches('/');
        let uri: Uri = url.parse().ok()?;
        let scheme =
            uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https" | "unix" | "unixs"))?;
        if !scheme.starts_with("unix") {
            uri.port_u16()?;
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || uri.host()?.is_empty() {
            return None;
        }
        clean.push(url.to_owned());
    }
    clean.sort();
    (!clean.is_empty()).then_some(clean)
}

/// Whether two sets of URLs mean the same places: names are looked up where the texts differ.
pub fn same_places(one: &[String], other: &[String]) -> bool {
    let places = |urls: &[String]| -> Vec<String> {
        let mut all: Vec<String> = urls.iter().map(|url| resolve(url)).collect();
        all.sort();
        all
    };
    let (mut a, mut b) = (one.to_vec(), other.to_vec());
    a.sort();
    b.sort();
    a == b || places(one) == places(other)
}

fn resolve(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return url.to_owned() };
    let Some(authority) = uri.authority() else { return url.to_owned() };
    let address = authority.as_str().to_socket_addrs().ok().and_then(|mut all| all.next());
    let place = address.map_or_else(|| authority.to_string(), |address| address.to_string());
    format!("{}://{place}", uri.scheme_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_etcds() {
        let urls = vec!["http://localhost:2380".to_owned()];
        let id = member_id(&urls, "etcd-cluster", None);
        assert_eq!(id, 0x8e9e_05c5_2164_694d);
        assert_eq!(cluster_id(&[Member { id, ..Member::default() }]), 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        let clean = |url: &str| clean_urls(&[url.to_owned()]);
        assert!(clean("http://10.0.0.1:2380").is_some());
        assert!(clean("https://[::1]:2380/").is_some());
        for bad in ["10.0.0.1:2380", "http://10.0.0.1", "ftp://a:1", "http://a:1/path", "http://:2380", ""] {
            assert!(clean(bad).is_none(), "{bad}");
        }
    }
}
