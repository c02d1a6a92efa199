//! Lists of containers, and clearing away those that ended.

use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, json_ok};
use super::filters::Filters;
use crate::state::{Container, Status};

const KNOWN: [&str; 14] = [
    "id", "name", "label", "label!", "exited", "status", "ancestor", "before", "since", "volume", "network",
    "publish", "health", "is-task",
];

/// `containers/json`
pub fn list(api: &Api, all: bool, limit: Option<i64>, size: bool, filters: Option<&str>) -> Answer {
    let filters = Filters::read(filters, &KNOWN)?;
    let limit = limit.filter(|limit| *limit > 0);
    let created = |name: &str| -> Result<Option<u64>, Failure> {
        match filters.values(name).first() {
            Some(name) => Ok(Some(api.containers().find(name)?.record.created)),
            None => Ok(None),
        }
    };
    let (before, since) = (created("before")?, created("since")?);
    let everything =
        all || limit.is_some() || ["status", "exited"].iter().any(|name| !filters.values(name).is_empty());
    let mut list = Vec::new();
    for container in api.containers().list()? {
        let time = container.record.created;
        let shown = everything || container.status == Status::Running || container.state.restarting;
        let in_time = before.is_none_or(|limit| time < limit) && since.is_none_or(|limit| time > limit);
        if !shown || !in_time || !wanted(api, &filters, &container)? {
            continue;
        }
        let mut one = super::inspect::summary(api, &container)?;
        if size {
            let written = crate::store::size_of(&api.containers().upper(&container.record.id));
            super::system::set(&mut one, "SizeRw", json!(written));
            super::system::set(&mut one, "SizeRootFs", json!(written));
        }
        list.push(one);
        if limit.is_some_and(|limit| list.len() as i64 >= limit) {
            break;
        }
    }
    json_ok(&Value::Array(list))
}

fn wanted(api: &Api, filters: &Filters, container: &Container) -> Result<bool, Failure> {
    let record = &container.record;
    for word in filters.values("status") {
        if !["created", "running", "paused", "restarting", "removing", "exited", "dead"]
            .contains(&word.as_str())
        {
            return Err(Failure::bad(format!("invalid filter 'status={word}'")));
        }
    }
    let image = |name: &str| {
        let image = api.store().ok().and_then(|store| store.find_image(name).ok().flatten());
        image.is_some_and(|image| image.id == record.image_id)
    };
    let settings = super::settings::Settings::of(&api.containers(), record);
    let mounted = |wanted: &str| {
        let is = |mount: &Value, field: &str| mount.get(field).and_then(Value::as_str) == Some(wanted);
        settings
            .mounts
            .iter()
            .any(|mount| is(mount, "Name") || is(mount, "Destination") || is(mount, "Source"))
    };
    Ok(filters.any("id", |id| record.id.starts_with(id))
        && filters.any("name", |name| {
            record.name.contains(name.trim_start_matches(['^', '/']).trim_end_matches('$'))
        })
        && filters.labels(&record.labels)
        && filters.any("status", |word| super::inspect::word(container) == word)
        && filters.any("exited", |code| {
            code.parse().is_ok_and(|code: i32| container.status == Status::Exited(code))
        })
        && filters.any("ancestor", image)
        && filters.any("volume", mounted)
        && filters.any("network", |name| {
            record.network == name
                || api.networks().find(name).is_ok_and(|network| network.name == record.network)
        })
        && filters.any("health", |word| {
            super::inspect::health(api, container).map_or(word == "none", |health| health.status == word)
        }))
}

/// `containers/prune`
pub fn prune(api: &Api, filters: Option<&str>) -> Answer {
    let filters = Filters::read(filters, &["label", "label!", "until"])?;
    let containers = api.containers();
    let (mut gone, mut bytes) = (Vec::new(), 0_u64);
    for container in containers.list()? {
        let record = &container.record;
        let ended = container.status != Status::Running && !container.state.restarting;
        if ended && filters.labels(&record.labels) {
            let size = crate::store::size_of(&containers.upper(&record.id));
            if containers.remove(&container).is_ok() {
                super::inspect::tell(api, record, "destroy", &[]);
                gone.push(record.id.clone());
                bytes += size;
            }
        }
    }
    json_ok(&json!({ "ContainersDeleted": gone, "SpaceReclaimed": bytes }))
}
