//! Which registries may be spoken to without TLS.
//!
//! Loopback addresses, as with Docker, and what `insecure-registries` in `/etc/docker/daemon.json` names:
//! `HOST`, `HOST:PORT`, `ADDRESS:PORT` or a network as `10.0.0.0/8`. No other key of that file has a
//! meaning here. Certificates that TLS shall trust beside the system's are read from
//! `/etc/docker/certs.d/HOST:PORT/*.crt`.

use std::net::IpAddr;
use std::path::Path;

/// Where the administrator says what to trust.
pub const DAEMON_JSON: &str = "/etc/docker/daemon.json";

const FILE_LIMIT: u64 = 1 << 20;

/// The registries that may be spoken to in the clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    insecure: Vec<String>,
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
        }
        let daemon: Daemon = serde_json::from_str(if text.trim().is_empty() { "{}" } else { text })?;
        Ok(Self { insecure: daemon.insecure })
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

/// The host in `HOST[:PORT]`, without the brackets of an IPv6 address.
#[must_use]
pub fn host_of(endpoint: &str) -> &str {
    if let Some(rest) = endpoint.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match endpoint.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => endpoint,
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
