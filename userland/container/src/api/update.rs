//! `containers/ID/update`: limits and the restart policy of a container, whether it runs or not.

use oci_spec::runtime::LinuxResources;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, json_ok};
use super::processes;
use super::settings::{Host, Settings};
use super::system::set;
use crate::run::cgroup::Cgroup;
use crate::run::supervisor::configuration;
use crate::state::Status;

/// What of a container can change.
const CHANGED: [&str; 11] = [
    "Memory",
    "MemorySwap",
    "MemoryReservation",
    "NanoCpus",
    "CpuQuota",
    "CpuPeriod",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "BlkioWeight",
    "PidsLimit",
];
/// What a client sends with no meaning, or with one that we do not have; 0, empty and `null` say nothing.
const NOT_DONE: [&str; 3] = ["CpuRealtimePeriod", "CpuRealtimeRuntime", "KernelMemory"];

/// Changes it.
pub fn update(api: &Api, name: &str, wanted: &Value) -> Answer {
    let containers = api.containers();
    let container = containers.find(name)?;
    let record = &container.record;
    let mut settings = Settings::of(&containers, record);
    let said = |name: &&str| wanted.get(*name).is_some_and(|value| !is_nothing(value));
    if let Some(name) = NOT_DONE.iter().find(|name| said(name)) {
        return Err(Failure::bad(format!("{name} is not supported by this engine")));
    }
    for name in CHANGED.iter().filter(|name| said(name)) {
        set(&mut settings.host, name, wanted.get(*name).cloned().unwrap_or_default());
    }
    let policy =
        wanted.get("RestartPolicy").filter(|policy| policy.get("Name").is_some_and(|name| !is_nothing(name)));
    if let Some(policy) = policy {
        set(&mut settings.host, "RestartPolicy", policy.clone());
    }
    let host: Host = serde_json::from_value(settings.host.clone())?;
    super::create::check_host(&host)?;
    let resources = resources(&host)?;

    let mut spec = configuration(&containers, &record.id)?;
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_resources(Some(resources.clone()));
    spec.set_linux(Some(linux));
    let mut warnings = Vec::new();
    if container.status == Status::Running && CHANGED.iter().any(said) {
        match processes::own_cgroup(&container) {
            Some(path) => Cgroup::of_v2(path).limit(&resources)?,
            None => warnings.push("the container has no cgroup of its own: limits have no effect".to_owned()),
        }
    }
    let store = api.store()?;
    let text = serde_json::to_vec_pretty(&spec)?;
    store.write(&containers.dir(&record.id).join("config.json"), &text)?;
    settings.save(&store, &containers, &record.id)?;
    super::inspect::tell(api, record, "update", &[]);
    json_ok(&json!({ "Warnings": warnings }))
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || *value == json!(0) || *value == json!("")
}

fn resources(host: &Host) -> Result<LinuxResources, Failure> {
    Ok(serde_json::from_value(super::create::limits(host)?.resources())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_a_new_container() {
        let host: Host =
            serde_json::from_value(json!({ "Memory": 64 << 20, "NanoCpus": 500_000_000 })).unwrap();
        let resources = resources(&host).unwrap();
        assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(64 << 20));
        assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(50_000));
    }
}
