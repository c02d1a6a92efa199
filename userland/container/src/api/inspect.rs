//! Containers told: as a list has them, and all of one.

use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, json_ok};
use super::settings::Settings;
use super::supervisor::health::{self, Health};
use super::system::set;
use super::time::{NEVER, of_seconds};
use crate::cli::show;
use crate::network::Attachment;
use crate::state::{Container, Record, Status, now};

/// Tells of something that happened to a container.
pub fn tell(api: &Api, record: &Record, action: &str, more: &[(&str, &str)]) {
    tell_by(&api.events, record, action, more);
}

/// The same without a server.
pub fn tell_by(events: &super::Events, record: &Record, action: &str, more: &[(&str, &str)]) {
    let mut attributes: Vec<(&str, &str)> =
        record.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    attributes.extend([("name", record.name.as_str()), ("image", record.image.as_str())]);
    attributes.extend(more);
    events.tell("container", action, &record.id, &attributes);
}

/// The word for where a container is in its life.
#[must_use]
pub fn word(container: &Container) -> &'static str {
    match container.status {
        Status::Running if super::lifecycle::is_paused(container) => "paused",
        Status::Exited(_) if container.state.restarting => "restarting",
        status => status.word(),
    }
}

/// The same in a sentence, as `ps` shows it.
fn sentence(container: &Container, word: &str, health: Option<&Health>) -> String {
    let ago = |time: Option<u64>| show::span(now().saturating_sub(time.unwrap_or(container.record.created)));
    match (container.status, word) {
        (Status::Created, _) => "Created".to_owned(),
        (Status::Running, "paused") => format!("Up {} (Paused)", ago(container.state.started)),
        (Status::Running, _) => format!("Up {}{}", ago(container.state.started), in_words(health)),
        (Status::Exited(code), "restarting") => {
            format!("Restarting ({code}) {} ago", ago(container.state.finished))
        }
        (Status::Exited(code), _) => format!("Exited ({code}) {} ago", ago(container.state.finished)),
    }
}

fn in_words(health: Option<&Health>) -> String {
    match health.map(|health| health.status.as_str()) {
        None => String::new(),
        Some("starting") => " (health: starting)".to_owned(),
        Some(word) => format!(" ({word})"),
    }
}

/// What is known of a running container's health.
#[must_use]
pub fn health(api: &Api, container: &Container) -> Option<Health> {
    let running = container.status == Status::Running;
    running.then(|| health::of(&api.containers(), &container.record.id)).flatten()
}

/// The networks that a container is on now.
fn attachments(api: &Api, id: &str) -> Vec<Attachment> {
    let containers = api.containers();
    let all = api.networks().attachments(&|id| containers.is_looked_after(id)).unwrap_or_default();
    all.into_iter().filter(|one| one.container == id).collect()
}

/// An endpoint of a container on a network, as Docker tells it.
fn endpoint(attachment: &Attachment) -> Value {
    let [a, b, c, d, e, f] = attachment.mac;
    json!({
        "IPAMConfig": null, "Links": null, "Aliases": attachment.aliases, "NetworkID": attachment.network,
        "EndpointID": super::network_request::endpoint_id(attachment),
        "Gateway": attachment.gateway.map_or_else(String::new, |gateway| gateway.to_string()),
        "IPAddress": attachment.address.addr().to_string(), "IPPrefixLen": attachment.address.prefix_len(),
        "IPv6Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "MacAddress": format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"),
        "DriverOpts": null, "DNSNames": attachment.aliases, "GwPriority": 0,
    })
}

/// Endpoints by network's name; of a container that does not run, with nothing in them.
fn endpoints(api: &Api, container: &Container, attached: &[Attachment]) -> Value {
    let mut all = serde_json::Map::new();
    let networks = api.networks().list().unwrap_or_default();
    for attachment in attached {
        let name = networks.iter().find(|one| one.id == attachment.network).map(|one| one.name.clone());
        all.insert(name.unwrap_or_else(|| attachment.network.clone()), endpoint(attachment));
    }
    let name = container.record.network.as_str();
    if attached.is_empty() && !name.is_empty() && !name.starts_with("container:") {
        let id = networks.iter().find(|one| one.name == name).map(|one| one.id.clone());
        all.insert(
            name.to_owned(),
            json!({
                "IPAMConfig": null, "Links": null, "Aliases": null, "NetworkID": id.unwrap_or_default(),
                "EndpointID": "", "Gateway": "", "IPAddress": "", "IPPrefixLen": 0, "IPv6Gateway": "",
                "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "MacAddress": "", "DriverOpts": null,
                "DNSNames": null, "GwPriority": 0,
            }),
        );
    }
    Value::Object(all)
}

/// One container, as a list has it.
///
/// # Errors
/// When what is known of it cannot be read.
pub fn summary(api: &Api, container: &Container) -> Result<Value, Failure> {
    let record = &container.record;
    let settings = Settings::of(&api.containers(), record);
    let attached = attachments(api, &record.id);
    let word = word(container);
    let mut ports = Vec::new();
    for one in attached.iter().flat_map(|attachment| &attachment.published) {
        ports.push(json!({
            "IP": one.address.to_string(), "PrivatePort": one.inner, "PublicPort": one.port,
            "Type": one.protocol.name(),
        }));
    }
    for exposed in
        settings.config.get("ExposedPorts").and_then(Value::as_object).into_iter().flat_map(|all| all.keys())
    {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        let port: u16 = port.parse().unwrap_or(0);
        let known = |one: &Value| {
            one.get("PrivatePort") == Some(&json!(port)) && one.get("Type") == Some(&json!(protocol))
        };
        if container.status == Status::Running && !ports.iter().any(known) {
            ports.push(json!({ "PrivatePort": port, "Type": protocol }));
        }
    }
    Ok(json!({
        "Id": record.id, "Names": [format!("/{}", record.name)], "Image": record.image, "ImageID": record.image_id,
        "Command": record.command.join(" "), "Created": record.created, "Ports": ports, "Labels": record.labels,
        "State": word, "Status": sentence(container, word, health(api, container).as_ref()),
        "HostConfig": { "NetworkMode": settings.host.get("NetworkMode").cloned().unwrap_or(json!(record.network)) },
        "NetworkSettings": { "Networks": endpoints(api, container, &attached) }, "Mounts": settings.mounts,
    }))
}

/// `containers/ID/json`
pub fn inspect(api: &Api, name: &str, size: bool) -> Answer {
    let containers = api.containers();
    let container = containers.find(name)?;
    let (record, state) = (&container.record, &container.state);
    let settings = Settings::of(&containers, record);
    let attached = attachments(api, &record.id);
    let word = word(&container);
    let running = container.status == Status::Running;
    let dir = containers.dir(&record.id);
    let file = |name: &str| {
        let path = dir.join(name);
        if path.exists() { path.display().to_string() } else { String::new() }
    };
    let execs: Vec<String> = super::exec::of_container(api, &record.id);
    let mut value = json!({
        "Id": record.id, "Created": of_seconds(Some(record.created)), "Path": record.command.first(),
        "Args": record.command.get(1..).unwrap_or_default(),
        "State": {
            "Status": word, "Running": running || word == "restarting", "Paused": word == "paused",
            "Restarting": word == "restarting", "OOMKilled": false, "Dead": false,
            "Pid": if running { state.pid.unwrap_or(0) } else { 0 },
            "ExitCode": if let Status::Exited(code) = container.status { code } else { 0 },
            "Error": state.error, "StartedAt": of_seconds(state.started), "FinishedAt": of_seconds(state.finished),
        },
        "Image": record.image_id, "ResolvConfPath": file("resolv.conf"), "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"), "LogPath": file(&format!("{}-json.log", record.id)),
        "Name": format!("/{}", record.name), "RestartCount": state.restarts, "Driver": "overlay2",
        "Platform": "linux", "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "",
        "ExecIDs": if execs.is_empty() { Value::Null } else { json!(execs) },
        "HostConfig": host(&settings, record),
        "GraphDriver": { "Name": "overlay2", "Data": {
            "UpperDir": dir.join("upper"), "WorkDir": dir.join("work"), "MergedDir": dir.join("rootfs"),
            "LowerDir": record.layers.iter().rev().map(|layer| layer.display().to_string()).collect::<Vec<_>>().join(":"),
        }},
        "Mounts": settings.mounts, "Config": config(&settings, record),
        "NetworkSettings": network_settings(api, &container, &attached),
        "Unit": state.unit,
    });
    if let (Some(health), Some(state)) = (health::of(&containers, &record.id), value.get_mut("State")) {
        set(state, "Health", serde_json::to_value(health)?);
    }
    if size {
        set(&mut value, "SizeRw", json!(crate::store::size_of(&dir.join("upper"))));
        set(&mut value, "SizeRootFs", json!(crate::store::size_of(&dir.join("upper"))));
    }
    if state.started.is_none() {
        set(&mut value, "Driver", json!("overlay2"));
        if let Some(state) = value.get_mut("State") {
            set(state, "StartedAt", json!(NEVER));
        }
    }
    json_ok(&value)
}

fn network_settings(api: &Api, container: &Container, attached: &[Attachment]) -> Value {
    let mut ports = serde_json::Map::new();
    for one in attached.iter().flat_map(|attachment| &attachment.published) {
        let list = ports.entry(format!("{}/{}", one.inner, one.protocol.name())).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(json!({ "HostIp": one.address.to_string(), "HostPort": one.port.to_string() }));
        }
    }
    let endpoints = endpoints(api, container, attached);
    let first = attached.first().map(endpoint).unwrap_or_default();
    let of_first = |name: &str, none: Value| first.get(name).cloned().unwrap_or(none);
    json!({
        "Bridge": "", "SandboxID": container.record.id, "SandboxKey": "", "Ports": ports, "HairpinMode": false,
        "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null, "EndpointID": of_first("EndpointID", json!("")),
        "Gateway": of_first("Gateway", json!("")), "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0,
        "IPAddress": of_first("IPAddress", json!("")), "IPPrefixLen": of_first("IPPrefixLen", json!(0)),
        "IPv6Gateway": "", "MacAddress": of_first("MacAddress", json!("")), "Networks": endpoints,
    })
}

/// `Config` with every field that clients take for granted.
fn config(settings: &Settings, record: &Record) -> Value {
    let mut value = json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": [], "Cmd": null,
        "Image": record.image, "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {},
    });
    overlay(&mut value, &settings.config);
    value
}

/// `HostConfig`, the same.
fn host(settings: &Settings, record: &Record) -> Value {
    let mut value = json!({
        "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": record.network, "PortBindings": {}, "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null,
        "CapDrop": null, "CgroupnsMode": "private", "Dns": [], "DnsOptions": [], "DnsSearch": [], "ExtraHosts": null,
        "GroupAdd": null, "IpcMode": "private", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "",
        "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "",
        "UsernsMode": "", "ShmSize": 67_108_864, "Runtime": "runc", "Isolation": "", "MaskedPaths": [],
        "ReadonlyPaths": [],
    });
    let limits = json!({
        "CpuShares": 0, "Memory": 0,
        "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0, "BlkioWeightDevice": [], "BlkioDeviceReadBps": [],
        "BlkioDeviceWriteBps": [], "BlkioDeviceReadIOps": [], "BlkioDeviceWriteIOps": [], "CpuPeriod": 0,
        "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "",
        "Devices": [], "DeviceCgroupRules": null, "DeviceRequests": null, "MemoryReservation": 0, "MemorySwap": 0,
         "Ulimits": [], "CpuCount": 0,
        "CpuPercent": 0, "IOMaximumIOps": 0, "IOMaximumBandwidth": 0,
    });
    overlay(&mut value, &limits);
    overlay(&mut value, &settings.host);
    for (path, empty, default) in [
        ("/LogConfig/Type", "", "json-file"),
        ("/NetworkMode", "", "bridge"),
        ("/NetworkMode", "default", "bridge"),
        ("/RestartPolicy/Name", "", "no"),
        ("/IpcMode", "", "private"),
        ("/CgroupnsMode", "", "private"),
        ("/Runtime", "", "runc"),
    ] {
        if let Some(field) = value.pointer_mut(path)
            && field == empty
        {
            *field = json!(default);
        }
    }
    value
}

/// What was said wins over what is usual; `null` says nothing.
fn overlay(value: &mut Value, said: &Value) {
    for (name, field) in said.as_object().into_iter().flatten() {
        if !field.is_null() {
            set(value, name, field.clone());
        }
    }
}
