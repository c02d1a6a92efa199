//! Discovery by DNS: the SRV records of a domain name the first members, or the endpoints of clients.
//!
//! `_etcd-server-ssl._tcp.DOMAIN` and `_etcd-server._tcp.DOMAIN` are for members, `_etcd-client…` for clients; with a
//! service name, `-NAME` follows the service.
//!
//! Source: etcd 3.4, pkg/srv/srv.go and Documentation/op-guide/clustering.md; RFC 2782.

use std::net::SocketAddr;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

/// A place that a record names.
struct Target {
    host: String,
    port: u16,
}

fn label(service: &str, name: Option<&str>) -> String {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("{service}-{name}"),
        None => service.to_owned(),
    }
}

/// The records of a service, most wanted first.
async fn look_up(service: &str, domain: &str) -> Result<Vec<Target>, String> {
    let query = format!("_{service}._tcp.{}.", domain.trim_end_matches('.'));
    let says = |error: &dyn std::fmt::Display| format!("lookup {query}: {error}");
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
    let answer = resolver.map_err(|error| says(&error))?.srv_lookup(query.as_str()).await;
    let answer = answer.map_err(|error| says(&error))?;
    let mut all: Vec<_> = answer
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some((srv.priority, std::cmp::Reverse(srv.weight), srv)),
            _ => None,
        })
        .collect();
    all.sort_by_key(|(priority, weight, _)| (*priority, *weight));
    let all = all.into_iter().map(|(.., srv)| Target {
        host: srv.target.to_utf8().trim_end_matches('.').to_owned(),
        port: srv.port,
    });
    Ok(all.collect())
}

async fn address(place: &str) -> Result<SocketAddr, String> {
    let mut found =
        tokio::net::lookup_host(place).await.map_err(|error| format!("lookup {place}: {error}"))?;
    found.next().ok_or_else(|| format!("lookup {place}: no such host"))
}

/// One of this member's own peer URLs, and where it leads.
struct Own {
    url: String,
    address: SocketAddr,
}

/// `NAME=URL` for each record of one service: the member that is us has our name, the others are numbered.
async fn cluster_of(
    scheme: &str,
    service: &str,
    domain: &str,
    name: &str,
    own: &[Own],
) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut number = 0;
    let mut fault = Ok(());
    for target in look_up(service, domain).await? {
        let place = format!("{}:{}", target.host, target.port);
        let address = match address(&place).await {
            Ok(address) => address,
            Err(error) => {
                fault = Err(error);
                continue;
            }
        };
        let url = format!("{scheme}://{place}");
        match own.iter().find(|own| own.address == address) {
            Some(mine) if !mine.url.starts_with(&format!("{scheme}://")) => {
                fault = Err(format!(
                    "bootstrap at {url} from DNS for {service} has scheme mismatch with expected peer {}",
                    mine.url
                ));
            }
            Some(_) => parts.push(format!("{name}={url}")),
            None => {
                parts.push(format!("{number}={url}"));
                number += 1;
            }
        }
    }
    if parts.is_empty() { fault.map(|()| parts) } else { Ok(parts) }
}

/// The first members of the cluster of a domain, as `--initial-cluster` names them.
///
/// # Errors
/// In etcd's words, where there are no records, or none of them can be used.
pub async fn cluster(
    domain: &str,
    service_name: Option<&str>,
    name: &str,
    urls: &[String],
) -> Result<String, String> {
    let mut own = Vec::new();
    for url in urls {
        let place = url.split_once("://").map_or(url.as_str(), |(_, place)| place);
        own.push(Own { url: url.clone(), address: address(place).await? });
    }
    let mut all = Vec::new();
    let mut fault = None;
    for (scheme, service) in [("https", "etcd-server-ssl"), ("http", "etcd-server")] {
        let service = label(service, service_name);
        match cluster_of(scheme, &service, domain, name, &own).await {
            Ok(parts) => all.extend(parts),
            Err(error) => {
                let text = format!("error querying DNS SRV records for _{service} {error}");
                fault.get_or_insert(text);
            }
        }
    }
    match fault {
        Some(fault) if all.is_empty() => Err(fault),
        _ => Ok(all.join(",")),
    }
}

/// The endpoints that a domain's records name for clients.
///
/// # Errors
/// Where there are none.
pub async fn endpoints(domain: &str, service_name: Option<&str>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    let mut fault = String::new();
    for (scheme, service) in [("https", "etcd-client-ssl"), ("http", "etcd-client")] {
        let service = label(service, service_name);
        match look_up(&service, domain).await {
            Ok(found) => {
                all.extend(found.iter().map(|target| format!("{scheme}://{}:{}", target.host, target.port)));
            }
            Err(error) => fault = error,
        }
    }
    if all.is_empty() {
        Err(format!("error querying DNS SRV records for _etcd-client {fault}"))
    } else {
        Ok(all)
    }
}
