//! `containers/create`: from a request to a record, an OCI configuration, and the request as it will be told again.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, json_with};
use crate::bundle::image::Defaults;
use crate::bundle::{Network, Options, Ulimit, Volume, spec};
use crate::network::ports::Proto;
use crate::network::{DEFAULT, Publish};
use crate::state::{Containers, Record, new_id, now};

/// As the kernel needs to start anything at all; Docker's number.
const LEAST_MEMORY: i64 = 6 << 20;

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
    hostname: Option<String>,
    user: Option<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether it has an input.
    pub open_stdin: bool,
    /// Whether its input ends with the first client's.
    pub stdin_once: bool,
    env: Option<Vec<String>>,
    cmd: Option<Words>,
    entrypoint: Option<Words>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    /// Seconds that `stop` waits.
    pub stop_timeout: Option<i64>,
    volumes: Option<BTreeMap<String, Value>>,
    exposed_ports: Option<BTreeMap<String, Value>>,
}

/// What of `HostConfig` has an effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Host {
    binds: Option<Vec<String>>,
    mounts: Option<Vec<Mount>>,
    tmpfs: Option<BTreeMap<String, String>>,
    /// `default`, `host`, `none`, `container:ID` or the name of a network.
    pub network_mode: String,
    port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
    publish_all_ports: bool,
    /// When it is started again.
    pub restart_policy: Restart,
    /// Whether it is removed at its end.
    pub auto_remove: bool,
    cap_add: Option<Vec<String>>,
    cap_drop: Option<Vec<String>>,
    privileged: bool,
    memory: i64,
    nano_cpus: i64,
    cpu_quota: i64,
    cpu_period: i64,
    pids_limit: Option<i64>,
    ulimits: Option<Vec<Limit>>,
    shm_size: i64,
    init: Option<bool>,
    readonly_rootfs: bool,
    /// Name servers.
    pub dns: Option<Vec<String>>,
    /// `NAME:ADDRESS` for `/etc/hosts`.
    pub extra_hosts: Option<Vec<String>>,
    /// Where its output goes.
    pub log_config: LogConfig,
    pid_mode: String,
    ipc_mode: String,
    #[serde(rename = "UTSMode")]
    uts_mode: String,
    userns_mode: String,
    devices: Option<Vec<Value>>,
    security_opt: Option<Vec<String>>,
    volumes_from: Option<Vec<String>>,
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
struct Mount {
    #[serde(rename = "Type")]
    kind: String,
    source: Option<String>,
    target: String,
    read_only: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_ip: Option<String>,
    host_port: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Limit {
    name: String,
    soft: i64,
    hard: i64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Words {
    fn into_vec(self) -> Vec<String> {
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

    /// An error for what would be accepted and then not be so.
    fn refuse_what_is_not_done(&self) -> Result<(), Failure> {
        let private = |mode: &str| matches!(mode, "" | "private" | "shareable");
        let not = |what: &str| Err(Failure::bad(format!("{what} is not supported by this engine")));
        match self {
            _ if !private(&self.pid_mode) => not("PidMode"),
            _ if !private(&self.ipc_mode) && self.ipc_mode != "none" => not("IpcMode"),
            _ if !self.uts_mode.is_empty() => not("UTSMode"),
            _ if !matches!(self.userns_mode.as_str(), "" | "host") => not("UsernsMode"),
            _ if self.devices.as_ref().is_some_and(|list| !list.is_empty()) => not("Devices"),
            _ if self.volumes_from.as_ref().is_some_and(|list| !list.is_empty()) => not("VolumesFrom"),
            _ if self.security_opt.iter().flatten().any(|one| !one.starts_with("no-new-privileges")) => {
                not("SecurityOpt other than no-new-privileges")
            }
            _ if !matches!(
                self.log_config.kind.as_str(),
                "" | "json-file" | "local" | "journald" | "none"
            ) =>
            {
                not(&format!("logging driver {}", self.log_config.kind))
            }
            _ => Ok(()),
        }
    }
}

/// `containers/create?name=…`
pub fn create(api: &Api, name: Option<&str>, mut body: Value) -> Answer {
    let mut take = |field: &str| body.as_object_mut().and_then(|body| body.remove(field)).unwrap_or_default();
    let (host_value, networking) = (take("HostConfig"), take("NetworkingConfig"));
    let mut config: Config = serde_json::from_value(body.clone())?;
    let host: Host =
        if host_value.is_null() { Host::default() } else { serde_json::from_value(host_value.clone())? };
    host.refuse_what_is_not_done()?;
    let endpoints: Option<BTreeMap<String, Option<Endpoint>>> =
        serde_json::from_value(networking.get("EndpointsConfig").cloned().unwrap_or_default())?;
    check(&config, &host)?;

    let store = api.store()?;
    let image = super::images::find(&store, &config.image)?;
    let parsed = store.config(&image)?;
    let defaults = parsed.defaults();
    if let Some(network) = host.bridge() {
        api.networks().find(network)?;
    }
    let id = new_id()?;
    let mut settings = Settings { endpoints: endpoints.unwrap_or_default(), ..Settings::default() };
    let volumes = volumes(api, &config, &host, &mut settings)?;
    let options = options(&mut config, &host, volumes)?;
    let spec = spec(&parsed, &options, &id)?;
    settings.config = merged(body, &config, &defaults, &id);
    settings.host = host_value;

    let mut labels = defaults.labels.unwrap_or_default();
    labels.extend(config.labels.clone().unwrap_or_default());
    let record = Record {
        id,
        name: name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.clone(),
        image_id: image.id.clone(),
        layers: store.layers(&parsed)?,
        command: spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default(),
        created: now(),
        tty: config.tty,
        init: host.init == Some(true),
        auto_remove: host.auto_remove,
        stop_signal: config.stop_signal.clone().filter(|text| !text.is_empty()).or(defaults.stop_signal),
        network: host.bridge().unwrap_or(&host.network_mode).to_owned(),
        labels,
    };
    let containers = api.containers();
    let (record, owner) = containers.create(&store, record, &spec)?;
    let dir = containers.dir(&record.id);
    store.write(&dir.join("docker.json"), &serde_json::to_vec(&settings)?)?;
    // Until its first start it is no container that ended unseen.
    fs::write(dir.join(crate::state::UNSTARTED), b"")?;
    drop(owner);
    super::inspect::tell(api, &record, "create", &[]);
    Ok(json_with(StatusCode::CREATED, &json!({ "Id": record.id, "Warnings": [] })))
}

fn check(config: &Config, host: &Host) -> Result<(), Failure> {
    if host.memory != 0 && host.memory < LEAST_MEMORY {
        return Err(Failure::bad("Minimum memory limit allowed is 6MB"));
    }
    let restart = host.restart_policy.name.as_str();
    if !matches!(restart, "" | "no" | "always" | "on-failure" | "unless-stopped") {
        return Err(Failure::bad(format!("invalid restart policy: unknown policy '{restart}'")));
    }
    if host.auto_remove && !matches!(restart, "" | "no") {
        return Err(Failure::bad("can't create 'AutoRemove' container with restart policy"));
    }
    if let Some(signal) = config.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        crate::cli::docker::signal::signal(signal)?;
    }
    host.publish(config).map(drop)
}

fn options(config: &mut Config, host: &Host, volumes: Vec<Volume>) -> Result<Options, Failure> {
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let mut command = config.cmd.clone().map(Words::into_vec).unwrap_or_default();
    let entrypoint = match config.entrypoint.clone().map(Words::into_vec) {
        // Docker's way to say "none" is one empty word.
        Some(words) if words.is_empty() => None,
        Some(mut words) => {
            let program = words.remove(0);
            words.append(&mut command);
            command = words;
            Some(program)
        }
        None => None,
    };
    let mut ulimits = Vec::new();
    for limit in host.ulimits.iter().flatten() {
        let number = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
        let name = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
        ulimits.push(Ulimit { name, soft: number(limit.soft), hard: number(limit.hard) });
    }
    #[expect(clippy::cast_precision_loss, reason = "a fraction of a processor")]
    let cpus = match (host.nano_cpus, host.cpu_quota, host.cpu_period) {
        (nano @ 1.., _, _) => Some(nano as f64 / 1e9),
        (_, quota @ 1.., 0) => Some(quota as f64 / 100_000.0),
        (_, quota @ 1.., period @ 1..) => Some(quota as f64 / period as f64),
        _ => None,
    };
    if cpus.is_some_and(|cpus| !(0.001..=10_000.0).contains(&cpus)) {
        return Err(Failure::bad("range of CPUs is from 0.01 to the number of processors"));
    }
    Ok(Options {
        command,
        entrypoint,
        // A name alone would be ours to fill in; the client has filled in what it wanted.
        env: config.env.iter().flatten().filter(|entry| entry.contains('=')).cloned().collect(),
        workdir: text(&config.working_dir),
        user: text(&config.user),
        hostname: text(&config.hostname),
        volumes,
        tmpfs: host.tmpfs.iter().flatten().map(|(path, options)| format!("{path}:{options}")).collect(),
        read_only: host.readonly_rootfs,
        network: match host.network_mode.as_str() {
            "host" => Network::Host,
            "none" => Network::None,
            _ => Network::Bridge,
        },
        cap_add: host.cap_add.clone().unwrap_or_default(),
        cap_drop: host.cap_drop.clone().unwrap_or_default(),
        privileged: host.privileged,
        memory: Some(host.memory).filter(|bytes| *bytes > 0),
        cpus,
        pids: host.pids_limit.filter(|limit| *limit > 0),
        ulimits,
        tty: config.tty,
        shm_size: Some(host.shm_size).filter(|bytes| *bytes > 0),
    })
}

/// What is to be mounted; volumes are made on the way.
fn volumes(api: &Api, config: &Config, host: &Host, settings: &mut Settings) -> Result<Vec<Volume>, Failure> {
    let mut list: Vec<Volume> = Vec::new();
    let mut add = |kind: &str, name: &str, source: PathBuf, target: &str, read_only: bool| {
        let driver = if kind == "volume" { "local" } else { "" };
        settings.mounts.push(json!({
            "Type": kind, "Name": name, "Source": source, "Destination": target, "Driver": driver, "Mode": "",
            "RW": !read_only, "Propagation": if kind == "bind" { "rprivate" } else { "" },
        }));
        list.push(Volume { source, target: target.into(), read_only });
    };
    for bind in host.binds.iter().flatten() {
        let bad = || Failure::bad(format!("invalid volume specification: '{bind}'"));
        let mut parts = bind.splitn(3, ':');
        let (source, target) = parts.next().zip(parts.next()).ok_or_else(bad)?;
        let options = parts.next().unwrap_or_default();
        let read_only = options.split(',').any(|option| option == "ro");
        if source.starts_with('/') {
            if !Path::new(source).exists() {
                fs::create_dir_all(source)?;
            }
            add("bind", "", source.into(), target, read_only);
        } else {
            let volume = super::volumes::ensure(api, source)?;
            add("volume", source, volume, target, read_only);
        }
    }
    let mut anonymous: Vec<String> = config.volumes.iter().flat_map(|all| all.keys().cloned()).collect();
    for mount in host.mounts.iter().flatten() {
        let source = mount.source.as_deref().unwrap_or_default();
        match mount.kind.as_str() {
            "bind" if !Path::new(source).exists() => {
                return Err(Failure::bad(format!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {source}"
                )));
            }
            "bind" => add("bind", "", source.into(), &mount.target, mount.read_only),
            "volume" if source.is_empty() => anonymous.push(mount.target.clone()),
            "volume" => {
                let volume = super::volumes::ensure(api, source)?;
                add("volume", source, volume, &mount.target, mount.read_only);
            }
            // A memory file system is an option of its own.
            "tmpfs" => {
                return Err(Failure::bad("mounts of type tmpfs: use HostConfig.Tmpfs (docker run --tmpfs)"));
            }
            other => {
                return Err(Failure::bad(format!("invalid mount config: mount type unknown: {other:?}")));
            }
        }
    }
    let mut names = Vec::new();
    for target in anonymous {
        let name = new_id()?;
        let volume = super::volumes::ensure(api, &name)?;
        add("volume", &name, volume, &target, false);
        names.push(name);
    }
    settings.anonymous = names;
    Ok(list)
}

/// `Config` as it is told again: the image fills in what the client left out.
fn merged(mut body: Value, config: &Config, defaults: &Defaults, id: &str) -> Value {
    let hostname = config.hostname.clone().filter(|name| !name.is_empty());
    let hostname = hostname.unwrap_or_else(|| id.chars().take(12).collect());
    let mut env: Vec<String> = config.env.clone().unwrap_or_default();
    for entry in defaults.env.iter().flatten() {
        let name = entry.split('=').next().unwrap_or_default();
        if !env.iter().any(|other| other.split('=').next() == Some(name)) {
            env.push(entry.clone());
        }
    }
    let own = config.entrypoint.clone().map(Words::into_vec).filter(|words| !words.is_empty());
    let cmd = match (config.cmd.clone().map(Words::into_vec).filter(|words| !words.is_empty()), &own) {
        (Some(cmd), _) => Some(cmd),
        (None, Some(_)) => None,
        (None, None) => defaults.cmd.clone(),
    };
    let own = own.filter(|words| words.first().is_some_and(|word| !word.is_empty()));
    let entrypoint = if config.entrypoint.is_some() { own } else { defaults.entrypoint.clone() };
    let or = |value: &Option<String>, default: &Option<String>| {
        value.clone().filter(|text| !text.is_empty()).or(default.clone()).unwrap_or_default()
    };
    let mut labels = defaults.labels.clone().unwrap_or_default();
    labels.extend(config.labels.clone().unwrap_or_default());
    for (name, value) in [
        ("Hostname", json!(hostname)),
        ("Env", json!(env)),
        ("Cmd", json!(cmd)),
        ("Entrypoint", json!(entrypoint)),
        ("WorkingDir", json!(or(&config.working_dir, &defaults.working_dir))),
        ("User", json!(or(&config.user, &defaults.user))),
        ("Labels", json!(labels)),
    ] {
        super::system::set(&mut body, name, value);
    }
    body
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
    fn what_is_not_done_is_refused() {
        for bad in [
            json!({ "PidMode": "host" }),
            json!({ "Devices": [{ "PathOnHost": "/dev/kvm" }] }),
            json!({ "SecurityOpt": ["seccomp=unconfined"] }),
            json!({ "LogConfig": { "Type": "gelf" } }),
        ] {
            assert!(host(bad.clone()).refuse_what_is_not_done().is_err(), "{bad}");
        }
        assert!(
            host(json!({ "IpcMode": "private", "LogConfig": { "Type": "", "Config": null } }))
                .refuse_what_is_not_done()
                .is_ok()
        );
    }

    #[test]
    fn an_entrypoint_takes_the_arguments_along() {
        let config = |value: Value| serde_json::from_value::<Config>(value).unwrap();
        let of = |value: Value| options(&mut config(value), &Host::default(), Vec::new()).unwrap();
        let both = of(json!({ "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["true"] }));
        assert_eq!(
            (both.entrypoint.as_deref(), both.command),
            (Some("/bin/sh"), vec!["-c".into(), "true".into()])
        );
        assert_eq!(of(json!({ "Entrypoint": [""], "Cmd": "ls" })).entrypoint.as_deref(), Some(""));
        assert!(of(json!({ "Env": ["PATH", "A=b"] })).env == ["A=b"]);
    }
}
