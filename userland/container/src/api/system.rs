//! What the server is, and what the machine has: ping, version, info, disk usage.

use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::answer::{Answer, Content, Failure, json_ok};
use super::{Api, OLDEST, VERSION};
use crate::state::Status;

/// What every answer says about the server.
pub fn sign(response: &mut Response<Content>) {
    let headers = response.headers_mut();
    headers.insert("api-version", HeaderValue::from_static(VERSION));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert(
        "server",
        HeaderValue::from_static(concat!("Corten/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
}

/// `_ping`
pub fn ping(method: &Method) -> Answer {
    let content = if method == Method::HEAD { None } else { Some("OK".into()) };
    let kind = "text/plain; charset=utf-8";
    let mut response = super::answer::typed(StatusCode::OK, kind, Content::Whole(content));
    let headers = response.headers_mut();
    headers.insert("cache-control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("pragma", HeaderValue::from_static("no-cache"));
    // The classic builder, which is what is told where to build instead.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    Ok(response)
}

/// `version`
pub fn version() -> Answer {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let version = env!("CARGO_PKG_VERSION");
    let details = json!({
        "ApiVersion": VERSION, "MinAPIVersion": OLDEST, "Os": "linux", "Arch": architecture(),
        "KernelVersion": kernel, "Experimental": "false", "GitCommit": "", "GoVersion": "", "BuildTime": "",
    });
    json_ok(&json!({
        "Platform": { "Name": "Corten" },
        "Components": [{ "Name": "Engine", "Version": version, "Details": details }],
        "Version": version, "ApiVersion": VERSION, "MinAPIVersion": OLDEST, "GitCommit": "", "GoVersion": "",
        "Os": "linux", "Arch": architecture(), "KernelVersion": kernel, "BuildTime": "",
    }))
}

/// The processor, as images call it.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `info`
pub fn info(api: &Api) -> Answer {
    let all = api.containers().list()?;
    let count = |wanted: fn(&Status) -> bool| all.iter().filter(|one| wanted(&one.status)).count();
    let running = count(|status| matches!(status, Status::Running));
    let paused = all.iter().filter(|one| super::lifecycle::is_paused(one)).count();
    let kernel = rustix::system::uname();
    let mut ids: Vec<String> = api.store()?.images()?.into_iter().map(|image| image.id).collect();
    ids.sort();
    ids.dedup();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
    let total = total.and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok()).unwrap_or(0) * 1024;
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let named = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    let pure = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    json_ok(&json!({
        "ID": machine.trim(), "Containers": all.len(), "ContainersRunning": running, "ContainersPaused": paused,
        "ContainersStopped": all.len() - running, "Images": ids.len(),
        "Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"], ["Native Overlay Diff", "true"]],
        "Plugins": {
            "Volume": ["local"], "Network": ["bridge", "host", "null"], "Authorization": null,
            "Log": ["json-file", "journald"],
        },
        "MemoryLimit": pure, "SwapLimit": pure, "CpuCfsPeriod": pure, "CpuCfsQuota": pure, "CPUShares": pure,
        "CPUSet": pure, "PidsLimit": pure, "IPv4Forwarding": true, "Debug": false, "NFd": 0,
        "OomKillDisable": false, "NGoroutines": 0, "SystemTime": super::time::now(), "LoggingDriver": "json-file",
        "CgroupDriver": if std::path::Path::new("/run/systemd/system").is_dir() { "systemd" } else { "none" },
        "CgroupVersion": if pure { "2" } else { "1" }, "NEventsListener": 0,
        "KernelVersion": kernel.release().to_string_lossy(),
        "OperatingSystem": named("PRETTY_NAME").unwrap_or_else(|| "Corten".to_owned()),
        "OSVersion": named("VERSION_ID").unwrap_or_default(), "OSType": "linux",
        "Architecture": std::env::consts::ARCH, "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": { "InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": [] },
        "NCPU": processors, "MemTotal": total, "GenericResources": null, "DockerRootDir": api.places.store,
        "HttpProxy": "", "HttpsProxy": "", "NoProxy": "", "Name": kernel.nodename().to_string_lossy(),
        "Labels": [], "ExperimentalBuild": false, "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Runtimes": { "runc": { "path": "runc" } }, "DefaultRuntime": "runc",
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": false, "Error": "",
            "RemoteManagers": null,
        },
        "LiveRestoreEnabled": true, "Isolation": "", "InitBinary": "docker-init",
        "ContainerdCommit": { "ID": "" }, "RuncCommit": { "ID": "" }, "InitCommit": { "ID": "" },
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"], "CDISpecDirs": [], "Warnings": [],
    }))
}

/// `system/df`
pub fn disk_usage(api: &Api) -> Answer {
    let images = super::images::summaries(api)?;
    let layers: u64 = images.iter().filter_map(|image| image.get("Size")?.as_u64()).sum();
    let mut containers = Vec::new();
    for container in api.containers().list()? {
        let mut one = super::inspect::summary(api, &container)?;
        set(&mut one, "SizeRw", json!(crate::store::size_of(&api.containers().upper(&container.record.id))));
        set(&mut one, "SizeRootFs", json!(0));
        containers.push(one);
    }
    let volumes: Result<Vec<Value>, Failure> = super::volumes::with_sizes(api);
    json_ok(&json!({
        "LayersSize": layers, "Images": images, "Containers": containers, "Volumes": volumes?, "BuildCache": [],
        "BuilderSize": 0,
    }))
}

/// Sets a field of an object.
pub fn set(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value);
    }
}
