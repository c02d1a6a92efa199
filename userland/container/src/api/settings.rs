//! What a client asked of a container, as it is kept: in JSON as it is told again, and in types as it is used.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::Failure;
use crate::bundle::image::Healthcheck;
use crate::network::etc_files::Names;
use crate::network::namespace::{self, Wanted};
use crate::network::ports::Proto;
use crate::network::{DEFAULT, Publish};
use crate::state::{Containers, Record};
use crate::store::Store;

/// What a client asked for, kept beside the record as `docker.json` and told again by `inspect`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `Config`, with what the image says where the client said nothing.
    pub config: Value,
    /// `HostConfig`.
    pub host: Value,
    /// `NetworkingConfig.EndpointsConfig`.
    pub endpoints: BTreeMap<String, Option<Endpoint>>,
    /// Mounts, as `inspect` shows them.
    pub mounts: Vec<Value>,
    /// Volumes that have no name of the user's, and go with the container.
    pub anonymous: Vec<String>,
}

/// What a container asks of one network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Endpoint {
    /// Names on that network.
    pub aliases: Option<Vec<String>>,
    /// The address it wants.
    #[serde(rename = "IPAMConfig")]
    pub ipam: Option<Ipam>,
}

impl Endpoint {
    /// What it asks of the network of this name.
    ///
    /// # Errors
    /// When the address is none.
    pub fn wanted(self, network: &str) -> Result<namespace::Endpoint, Failure> {
        let address = self.ipam.and_then(|ipam| ipam.ipv4).filter(|text| !text.is_empty());
        let bad = |text: &String| Failure::bad(format!("invalid IPv4 address: {text}"));
        Ok(namespace::Endpoint {
            network: network.to_owned(),
            aliases: self.aliases.unwrap_or_default(),
            address: address.map(|text| text.parse().map_err(|_| bad(&text))).transpose()?,
        })
    }
}

/// Addresses of an endpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// The address it wants.
    #[serde(rename = "IPv4Address")]
    pub ipv4: Option<String>,
}

/// What of `Config` has an effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// The image.
    pub image: String,
    pub(super) hostname: Option<String>,
    pub(super) domainname: Option<String>,
    pub(super) user: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether it has an input.
    pub open_stdin: bool,
    /// Whether its input ends with the first client's.
    pub stdin_once: bool,
    pub(super) env: Option<Vec<String>>,
    pub(super) cmd: Option<Words>,
    pub(super) entrypoint: Option<Words>,
    pub(super) working_dir: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) stop_signal: Option<String>,
    /// Seconds that `stop` waits.
    pub stop_timeout: Option<i64>,
    pub(super) volumes: Option<BTreeMap<String, Value>>,
    /// What makes it healthy.
    pub healthcheck: Option<Healthcheck>,
    exposed_ports: Option<BTreeMap<String, Value>>,
}

/// What of `HostConfig` has an effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Host {
    pub(super) binds: Option<Vec<String>>,
    pub(super) mounts: Option<Vec<Mount>>,
    pub(super) tmpfs: Option<BTreeMap<String, String>>,
    /// `default`, `host`, `none`, `container:ID` or the name of a network.
    pub network_mode: String,
    port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    publish_all_ports: bool,
    /// When it is started again.
    pub restart_policy: Restart,
    /// Whether it is removed at its end.
    pub auto_remove: bool,
    pub(super) cap_add: Option<Vec<String>>,
    pub(super) cap_drop: Option<Vec<String>>,
    pub(super) privileged: bool,
    pub(super) memory: i64,
    pub(super) nano_cpus: i64,
    pub(super) cpu_quota: i64,
    pub(super) cpu_period: i64,
    pub(super) pids_limit: Option<i64>,
    pub(super) memory_swap: i64,
    pub(super) memory_reservation: i64,
    pub(super) cpu_shares: u64,
    pub(super) cpuset_cpus: String,
    pub(super) cpuset_mems: String,
    pub(super) blkio_weight: u16,
    pub(super) oom_score_adj: i32,
    pub(super) group_add: Option<Vec<String>>,
    pub(super) sysctls: Option<BTreeMap<String, String>>,
    pub(super) ulimits: Option<Vec<Limit>>,
    pub(super) shm_size: i64,
    pub(super) init: Option<bool>,
    pub(super) readonly_rootfs: bool,
    /// Name servers.
    pub dns: Option<Vec<String>>,
    dns_search: Option<Vec<String>>,
    dns_options: Option<Vec<String>>,
    /// `NAME:ADDRESS` for `/etc/hosts`.
    pub extra_hosts: Option<Vec<String>>,
    /// Where its output goes.
    pub log_config: LogConfig,
    pub(super) pid_mode: String,
    pub(super) ipc_mode: String,
    #[serde(rename = "UTSMode")]
    pub(super) uts_mode: String,
    pub(super) userns_mode: String,
    pub(super) cgroupns_mode: String,
    pub(super) runtime: Option<String>,
    pub(super) cgroup_parent: String,
    pub(super) volume_driver: String,
    pub(super) links: Option<Vec<String>>,
    pub(super) storage_opt: Option<BTreeMap<String, String>>,
    pub(super) device_requests: Option<Vec<Value>>,
    pub(super) device_cgroup_rules: Option<Vec<String>>,
    pub(super) devices: Option<Vec<Device>>,
    pub(super) security_opt: Option<Vec<String>>,
    pub(super) volumes_from: Option<Vec<String>>,
}

/// When a container is started again.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Restart {
    /// `no`, `always`, `on-failure` or `unless-stopped`.
    pub name: String,
    /// How often after a failure; 0: without end.
    pub maximum_retry_count: u32,
}

/// Where a container's output goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// `json-file`, `journald` or `none`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `max-size` and `max-file`.
    pub config: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Mount {
    #[serde(rename = "Type")]
    pub kind: String,
    pub source: Option<String>,
    pub target: String,
    pub read_only: bool,
    pub tmpfs_options: Option<TmpfsOptions>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct TmpfsOptions {
    pub size_bytes: i64,
    pub mode: u32,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Device {
    pub path_on_host: String,
    pub path_in_container: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_ip: Option<String>,
    host_port: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Limit {
    pub name: String,
    pub soft: i64,
    pub hard: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(word) => vec![word],
            Self::Many(words) => words,
        }
    }
}

impl Settings {
    /// Those of a container; one that was not made here has what can be told from its record.
    #[must_use]
    pub fn of(containers: &Containers, record: &Record) -> Self {
        let path = containers.dir(&record.id).join("docker.json");
        let read = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        read.unwrap_or_else(|| Self {
            config: json!({
                "Hostname": record.short_id(), "Image": record.image, "Tty": record.tty, "Labels": record.labels,
                "Cmd": record.command, "Env": [],
            }),
            host: json!({ "AutoRemove": record.auto_remove, "NetworkMode": record.network }),
            ..Self::default()
        })
    }

    /// Keeps them beside the record.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn save(&self, store: &Store, containers: &Containers, id: &str) -> Result<(), Failure> {
        let path = containers.dir(id).join("docker.json");
        Ok(store.write(&path, &serde_json::to_vec(self)?)?)
    }

    /// What the container asks of networks: first the one that its mode names.
    ///
    /// # Errors
    /// When an address or a port is none.
    pub fn network(&self) -> Result<Wanted, Failure> {
        let (config, host) = self.typed();
        if let Some(other) = host.network_mode.strip_prefix("container:") {
            return Ok(Wanted::Shared(other.to_owned()));
        }
        let Some(first) = host.bridge() else { return Ok(Wanted::Nothing) };
        let others = self.endpoints.iter().filter(|(name, _)| name.as_str() != first && *name != "default");
        let own = self.endpoints.get_key_value(first).map(|(_, endpoint)| endpoint.clone());
        let all = std::iter::once((first, own.flatten()))
            .chain(others.map(|(name, endpoint)| (name.as_str(), endpoint.clone())));
        let endpoints = all.map(|(name, endpoint)| endpoint.unwrap_or_default().wanted(name));
        Ok(Wanted::On { endpoints: endpoints.collect::<Result<_, _>>()?, publish: host.publish(&config)? })
    }

    /// `Config` in types; what cannot be read is as if it had not been said.
    #[must_use]
    pub fn typed(&self) -> (Config, Host) {
        let config = serde_json::from_value(self.config.clone()).unwrap_or_default();
        (config, serde_json::from_value(self.host.clone()).unwrap_or_default())
    }
}

impl Host {
    /// The network that it is on, if that has a bridge.
    #[must_use]
    pub fn bridge(&self) -> Option<&str> {
        match self.network_mode.as_str() {
            "" | "default" | DEFAULT => Some(DEFAULT),
            "none" | "host" => None,
            other if other.starts_with("container:") => None,
            other => Some(other),
        }
    }

    /// What it is told of names.
    #[must_use]
    pub fn names(&self) -> Names {
        Names {
            servers: self.dns.clone().unwrap_or_default(),
            search: self.dns_search.clone().unwrap_or_default(),
            options: self.dns_options.clone().unwrap_or_default(),
            hosts: self.extra_hosts.clone().unwrap_or_default(),
        }
    }

    /// Whether system calls are not filtered.
    pub(super) fn is_unconfined(&self) -> bool {
        self.security_opt.iter().flatten().any(|one| one.replace(':', "=") == "seccomp=unconfined")
    }

    /// The ports of the machine that lead to it.
    ///
    /// # Errors
    /// When one is none.
    pub fn publish(&self, config: &Config) -> Result<Vec<Publish>, Failure> {
        let mut list = Vec::new();
        for (inner, bindings) in self.port_bindings.iter().flatten() {
            for binding in bindings.iter().flatten() {
                let address = binding.host_ip.clone().filter(|ip| !ip.is_empty() && ip != "::");
                let port = binding.host_port.as_deref().unwrap_or_default();
                let bad = |what: &str| Failure::bad(format!("invalid port specification: {what:?}"));
                let text = match address {
                    Some(address) => format!("{address}:{port}:{inner}"),
                    None if port.is_empty() => inner.clone(),
                    None => format!("{port}:{inner}"),
                };
                list.extend(Publish::parse(&text).map_err(|_| bad(&text))?);
            }
        }
        if self.publish_all_ports {
            for exposed in config.exposed_ports.iter().flat_map(BTreeMap::keys) {
                let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
                if let (Ok(inner), Some(protocol)) = (port.parse(), Proto::parse(protocol))
                    && !list.iter().any(|one| one.inner == inner && one.protocol == protocol)
                {
                    list.push(Publish { address: Ipv4Addr::UNSPECIFIED, port: 0, inner, protocol });
                }
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(value: Value) -> Host {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn ports_of_every_form() {
        let host = host(json!({ "PublishAllPorts": true, "PortBindings": {
            "80/tcp": [{ "HostIp": "", "HostPort": "8080" }, { "HostIp": "127.0.0.1", "HostPort": "" }],
            "53/udp": null,
        }}));
        let config: Config =
            serde_json::from_value(json!({ "ExposedPorts": { "53/udp": {}, "80/tcp": {} } })).unwrap();
        let list = host.publish(&config).unwrap();
        let told: Vec<_> = list
            .iter()
            .map(|one| (one.address.to_string(), one.port, one.inner, one.protocol.name()))
            .collect();
        let any = "0.0.0.0".to_owned();
        assert_eq!(
            told,
            [(any.clone(), 8080, 80, "tcp"), ("127.0.0.1".into(), 0, 80, "tcp"), (any, 0, 53, "udp")]
        );
    }

    #[test]
    fn the_network_of_its_mode_comes_first() {
        let settings = Settings {
            host: json!({ "NetworkMode": "front", "PortBindings": { "80/tcp": [{ "HostPort": "8080" }] } }),
            endpoints: serde_json::from_value(json!({
                "back": { "Aliases": ["db"], "IPAMConfig": { "IPv4Address": "10.0.0.7" } }, "front": null,
            }))
            .unwrap(),
            ..Settings::default()
        };
        let Wanted::On { endpoints, publish } = settings.network().unwrap() else { panic!() };
        let names: Vec<_> = endpoints.iter().map(|one| one.network.as_str()).collect();
        assert_eq!((names, publish.len()), (vec!["front", "back"], 1));
        assert_eq!(endpoints[1].address, Some(Ipv4Addr::new(10, 0, 0, 7)));
        let of = |mode: &str| {
            let host = json!({ "NetworkMode": mode });
            Settings { host, ..Settings::default() }.network().unwrap()
        };
        assert_eq!((of("host"), of("none")), (Wanted::Nothing, Wanted::Nothing));
        assert_eq!(of("container:x"), Wanted::Shared("x".to_owned()));
    }
}
