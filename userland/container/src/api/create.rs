//! `containers/create`: from a request to a record, an OCI configuration, and the request as it will be told again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hyper::StatusCode;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, json_with};
use super::settings::{Config, Endpoint, Host, Settings, Words};
use crate::bundle::image::{Defaults, Healthcheck};
use crate::bundle::limits::Limits;
use crate::bundle::{Device, Network, Options, Ulimit, Volume, spec};
use crate::state::{Owner, Record, new_id};

/// As the kernel needs to start anything at all; Docker's number.
const LEAST_MEMORY: i64 = 6 << 20;

/// `containers/create?name=…`
pub fn create(api: &Api, name: Option<&str>, body: Value) -> Answer {
    let made = make(api, name, body)?;
    drop(made.owner);
    Ok(json_with(StatusCode::CREATED, &json!({ "Id": made.record.id, "Warnings": [] })))
}

/// A container that was never started.
#[derive(Debug)]
pub struct Made {
    /// What lasts.
    pub record: Record,
    /// What was asked.
    pub settings: Settings,
    /// What is run.
    pub spec: Spec,
    /// Who looks after it.
    pub owner: Owner,
}

/// Makes a container of a request's body; its image must be here.
///
/// # Errors
/// When it asks for what is not there or makes no sense.
pub fn make(api: &Api, name: Option<&str>, mut body: Value) -> Result<Made, Failure> {
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
    let endpoints = endpoints.unwrap_or_default();
    for network in endpoints.keys().filter(|name| host.bridge().is_some() && *name != "default") {
        api.networks().find(network)?;
    }
    let id = new_id()?;
    let mut settings = Settings { endpoints, ..Settings::default() };
    let of_image: Vec<String> = defaults.volumes.iter().flat_map(|all| all.keys().cloned()).collect();
    let volumes = super::mounts::volumes(api, &config, &host, &of_image, &mut settings)?;
    let options = options(&mut config, &host, volumes)?;
    let spec = spec(&parsed, &options, &id)?;
    settings.config = merged(body, &config, &defaults, &id);
    settings.host = host_value;

    let mut labels = defaults.labels.unwrap_or_default();
    labels.extend(config.labels.clone().unwrap_or_default());
    let record = Record {
        name: name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.clone(),
        tty: config.tty,
        init: host.init == Some(true),
        auto_remove: host.auto_remove,
        stop_signal: config.stop_signal.clone().filter(|text| !text.is_empty()).or(defaults.stop_signal),
        network: host.bridge().unwrap_or(&host.network_mode).to_owned(),
        labels,
        ..Record::of_image(&store, &image, &parsed, id, &spec)?
    };
    let containers = api.containers();
    let (record, owner) = containers.create(&store, record, &spec)?;
    let dir = containers.dir(&record.id);
    settings.save(&store, &containers, &record.id)?;
    // Until its first start it is no container that ended unseen.
    fs::write(dir.join(crate::state::UNSTARTED), b"")?;
    super::inspect::tell(api, &record, "create", &[]);
    Ok(Made { record, settings, spec, owner })
}

fn check(config: &Config, host: &Host) -> Result<(), Failure> {
    check_host(host)?;
    if let Some(signal) = config.stop_signal.as_deref().filter(|signal| !signal.is_empty()) {
        crate::cli::docker::signal::signal(signal)?;
    }
    host.publish(config).map(drop)
}

/// What does not depend on the image.
///
/// # Errors
/// When limits or the restart policy make no sense.
pub(super) fn check_host(host: &Host) -> Result<(), Failure> {
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
    Ok(())
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
    Ok(Options {
        command,
        entrypoint,
        // A name alone would be ours to fill in; the client has filled in what it wanted.
        env: config.env.iter().flatten().filter(|entry| entry.contains('=')).cloned().collect(),
        workdir: text(&config.working_dir),
        user: text(&config.user),
        hostname: text(&config.hostname),
        volumes,
        tmpfs: super::mounts::memory(host),
        read_only: host.readonly_rootfs,
        network: match host.network_mode.as_str() {
            "host" => Network::Host,
            "none" => Network::None,
            _ => Network::Bridge,
        },
        cap_add: host.cap_add.clone().unwrap_or_default(),
        cap_drop: host.cap_drop.clone().unwrap_or_default(),
        privileged: host.privileged,
        ulimits,
        tty: config.tty,
        shm_size: Some(host.shm_size).filter(|bytes| *bytes > 0),
        namespaces: host.namespaces()?,
        groups: groups(host)?,
        sysctls: host.sysctls.clone().unwrap_or_default(),
        oom_score: Some(host.oom_score_adj).filter(|score| *score != 0),
        domainname: text(&config.domainname),
        unconfined: host.is_unconfined(),
        devices: host.devices.iter().flatten().map(device).collect::<Result<_, _>>()?,
        limits: limits(host)?,
    })
}

/// Further groups, by number: names are the image's, and nobody has looked into it yet.
fn groups(host: &Host) -> Result<Vec<u32>, Failure> {
    let number = |text: &String| {
        text.parse()
            .map_err(|_| Failure::bad(format!("GroupAdd {text:?}: give the group's number, not its name")))
    };
    host.group_add.iter().flatten().map(number).collect()
}

/// The limits of all its processes together.
///
/// # Errors
/// When there are no such processors, or the limits contradict each other.
pub(super) fn limits(host: &Host) -> Result<Limits, Failure> {
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
    let (memory, swap) = (host.memory, host.memory_swap);
    if swap > 0 && (memory == 0 || swap < memory) {
        return Err(Failure::bad("Minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    if memory > 0 && host.memory_reservation > memory {
        return Err(Failure::bad(
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ));
    }
    if host.blkio_weight != 0 && !(10..=1000).contains(&host.blkio_weight) {
        return Err(Failure::bad("Range of blkio weight is from 10 to 1000"));
    }
    let list = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Ok(Limits {
        memory: Some(memory).filter(|bytes| *bytes > 0),
        memory_and_swap: Some(swap).filter(|bytes| *bytes != 0),
        reservation: Some(host.memory_reservation).filter(|bytes| *bytes > 0),
        cpus,
        shares: Some(host.cpu_shares).filter(|shares| *shares > 0),
        processors: list(&host.cpuset_cpus),
        nodes: list(&host.cpuset_mems),
        disk_weight: Some(host.blkio_weight).filter(|weight| *weight > 0),
        pids: host.pids_limit.filter(|limit| *limit > 0),
    })
}

/// A device of the machine.
fn device(wanted: &super::settings::Device) -> Result<Device, Failure> {
    let source = Path::new(&wanted.path_on_host);
    let bad = |error: std::io::Error| {
        let path = source.display();
        Failure::bad(format!(
            "error gathering device information while adding custom device \"{path}\": {error}"
        ))
    };
    let target =
        if wanted.path_in_container.is_empty() { source } else { Path::new(&wanted.path_in_container) };
    Device::of(source, target).map_err(bad)
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
    // Without a test of its own a check has only other times than the image's.
    let health = Healthcheck::merged(config.healthcheck.clone(), defaults.healthcheck.clone());
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
        ("Healthcheck", json!(health)),
    ] {
        super::system::set(&mut body, name, value);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

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
