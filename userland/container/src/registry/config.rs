//! Which registries may be spoken to without TLS.
//!
//! Loopback addresses, as with Docker, and what `insecure-registries` in `/etc/docker/daemon.json` names:
//! `HOST`, `HOST:PORT`, `ADDRESS:PORT` or a network as `10.0.0.0/8`. `registry-mirrors` names, as URLs, who is
//! asked before Docker Hub; one of `http` is spoken to without TLS. No other key of that file has a meaning
//! here. Certificates that TLS shall trust beside the system's are read from
//! `/etc/docker/certs.d/HOST:PORT/*.crt`.

use std::net::IpAddr;
use std::path::Path;

use http_client::host_of;

use crate::reference::Reference;

/// Where the administrator says what to trust.
pub const DAEMON_JSON: &str = "/etc/docker/daemon.json";

const FILE_LIMIT: u64 = 1 << 20;

/// The registries that may be spoken to in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    insecure: Vec<String>,
    mirrors: Vec<String>,
}

/// The configuration is there but cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}; correct or remove it")]
pub struct BadConfig {
    path: String,
    why: String,
}

impl Trust {
    /// What the file says; nothing if it does not exist.
    ///
    /// # Errors
    /// When it cannot be read or is not JSON.
    pub fn load(path: &Path) -> Result<Self, BadConfig> {
        let bad = |why: String| BadConfig { path: path.display().to_string(), why };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(bad(error.to_string())),
            Ok(meta) if meta.len() > FILE_LIMIT => return Err(bad("larger than 1 MiB".to_owned())),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        Self::parse(&text).map_err(|error| bad(error.to_string()))
    }

    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(serde::Deserialize)]
        struct Daemon {
            #[serde(rename = "insecure-registries", default)]
            insecure: Vec<String>,
            #[serde(rename = "registry-mirrors", default)]
            mirrors: Vec<String>,
        }
        let daemon: Daemon = serde_json::from_str(if text.trim().is_empty() { "{}" } else { text })?;
        let mut trust = Self { insecure: daemon.insecure, mirrors: Vec::new() };
        for url in daemon.mirrors {
            let bare = url.trim_end_matches('/');
            let (secure, host) = match (bare.strip_prefix("https://"), bare.strip_prefix("http://")) {
                (Some(host), _) => (true, host),
                (None, Some(host)) => (false, host),
                // Another scheme shows by its slashes.
                (None, None) => (true, bare),
            };
            if host.is_empty() || host.contains(['/', '@', '?', ' ']) {
                let why = format!("registry-mirrors: {url:?} is not http[s]://HOST[:PORT]");
                return Err(serde::de::Error::custom(why));
            }
            if !secure {
                trust.insecure.push(host.to_owned());
            }
            trust.mirrors.push(host.to_owned());
        }
        Ok(trust)
    }

    /// Who is to be asked before the registry of this reference, as `HOST[:PORT]`.
    #[must_use]
    pub fn mirrors(&self, reference: &Reference) -> &[String] {
        if reference.is_docker_hub() { &self.mirrors } else { &[] }
    }

    /// Whether this `HOST[:PORT]` may be spoken to without TLS.
    #[must_use]
    pub fn allows_plain_http(&self, endpoint: &str) -> bool {
        let host = host_of(endpoint);
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        self.insecure.iter().any(|entry| {
            entry == endpoint || entry == host || address.is_some_and(|address| network_holds(entry, address))
        })
    }
}

fn network_holds(network: &str, address: IpAddr) -> bool {
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let (base, address, bits) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u128::from(u32::from(base)), u128::from(u32::from(address)), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => (u128::from(base), u128::from(address), 128),
        _ => return false,
    };
    match bits - length.min(bits) {
        _ if length > bits => false,
        128 => true,
        free => base >> free == address >> free,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_what_is_named_go_without_tls() {
        let trust = Trust::parse(
            r#"{"insecure-registries": ["10.0.2.2:5000", "registry.lan", "192.168.0.0/16", "fd00::/8"], "log-level": "info"}"#,
        )
        .unwrap();
        for yes in [
            "127.0.0.1:5000",
            "localhost",
            "[::1]:5000",
            "10.0.2.2:5000",
            "registry.lan:80",
            "192.168.7.9",
            "[fd00::1]:5000",
        ] {
            assert!(trust.allows_plain_http(yes), "{yes}");
        }
        for no in [
            "10.0.2.2:5001",
            "10.0.2.2",
            "docker.io",
            "192.169.0.1",
            "[fe80::1]",
            "127.0.0.1.evil.example",
            "localhost.evil:80",
        ] {
            assert!(!trust.allows_plain_http(no), "{no}");
        }
    }

    #[test]
    fn mirrors_are_for_docker_hub_alone() {
        let trust =
            Trust::parse(r#"{"registry-mirrors": ["https://m.example/", "http://10.0.2.2:5000"]}"#).unwrap();
        assert_eq!(trust.mirrors(&"busybox".parse().unwrap()), ["m.example", "10.0.2.2:5000"]);
        assert!(trust.mirrors(&"quay.io/a/b".parse().unwrap()).is_empty());
        assert!(trust.allows_plain_http("10.0.2.2:5000") && !trust.allows_plain_http("m.example"));
        for bad in ["ftp://m", "https://me@m", "https://m/prefix", ""] {
            assert!(Trust::parse(&format!(r#"{{"registry-mirrors": [{bad:?}]}}"#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        assert_eq!(Trust::load(&path).unwrap(), Trust::default());
        std::fs::write(&path, "{").unwrap();
        assert!(Trust::load(&path).unwrap_err().to_string().contains("daemon.json"));
        std::fs::write(&path, r#"{"insecure-registries": 7}"#).unwrap();
        assert!(Trust::load(&path).is_err());
    }

    #[test]
    fn a_network_of_all_addresses_and_a_bad_length() {
        assert!(network_holds("::/0", "::1".parse().unwrap()));
        assert!(network_holds("0.0.0.0/0", "1.2.3.4".parse().unwrap()));
        assert!(!network_holds("0.0.0.0/33", "1.2.3.4".parse().unwrap()));
    }
}
