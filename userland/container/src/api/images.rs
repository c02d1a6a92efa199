//! Images: list, inspect, history, tag, remove, prune.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, empty, json_ok};
use super::filters::Filters;
use super::request::Request;
use crate::reference::Reference;
use crate::store::Store;
use crate::store::description::{describe, names};
use crate::store::history::steps;
use crate::store::image::Image;

/// The image of this name.
///
/// # Errors
/// 404 if it is not here, in the words that make clients pull it.
pub fn find(store: &Store, name: &str) -> Result<Image, Failure> {
    let missing = || {
        let shown = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |name| name.familiar());
        Failure::missing(format!("No such image: {shown}"))
    };
    store.find_image(name)?.ok_or_else(missing)
}

/// The configuration of an image as its makers wrote it.
fn document(store: &Store, image: &Image) -> Result<Value, Failure> {
    let bytes =
        store.blob(&image.id)?.ok_or_else(|| Failure::internal("the image's configuration is missing"))?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// What an image says about how to run it.
///
/// # Errors
/// When its configuration is missing.
pub fn run_config(store: &Store, id: &str) -> Result<Value, Failure> {
    let bytes = store.blob(id)?.ok_or_else(|| Failure::internal("the image's configuration is missing"))?;
    let mut document: Value = serde_json::from_slice(&bytes)?;
    Ok(document.get_mut("config").map(Value::take).filter(Value::is_object).unwrap_or_else(|| json!({})))
}

/// All images, as lists show them.
///
/// # Errors
/// When the store cannot be read.
pub fn summaries(api: &Api) -> Result<Vec<Value>, Failure> {
    let store = api.store()?;
    let all = store.images()?;
    let used = api.containers().images();
    let mut ids: BTreeMap<&str, &Image> = BTreeMap::new();
    for image in &all {
        ids.entry(&image.id).or_insert(image);
    }
    let mut list = Vec::new();
    for image in ids.into_values() {
        let document = document(&store, image).unwrap_or_default();
        let created = document.get("created").and_then(Value::as_str).and_then(super::time::parse);
        let (tags, digests) = names(&all, &image.id);
        let labels = document.pointer("/config/Labels").cloned().unwrap_or(Value::Null);
        list.push(json!({
            "Id": image.id, "ParentId": "", "RepoTags": tags, "RepoDigests": digests,
            "Created": created.map_or(0, jiff::Timestamp::as_second), "Size": image.size, "VirtualSize": image.size,
            "SharedSize": -1, "Labels": labels,
            "Containers": used.iter().filter(|id| **id == image.id).count(),
        }));
    }
    list.sort_by_key(|image| std::cmp::Reverse(image.get("Created").and_then(Value::as_i64)));
    Ok(list)
}

/// `images/json`
pub fn list(api: &Api, request: &Query) -> Answer {
    let known = ["reference", "dangling", "label", "label!", "before", "since", "until"];
    let filters = Filters::read(request.filters.as_deref(), &known)?;
    let mut list = summaries(api)?;
    let created = |name: Option<&String>| -> Result<Option<i64>, Failure> {
        let Some(name) = name else { return Ok(None) };
        let id = find(&api.store()?, name)?.id;
        Ok(list.iter().find(|one| text(one, "Id") == id).and_then(|one| one.get("Created")?.as_i64()))
    };
    let (before, since) =
        (created(filters.values("before").first())?, created(filters.values("since").first())?);
    list.retain_mut(|image| {
        let labels = labels_of(image);
        let time = image.get("Created").and_then(Value::as_i64).unwrap_or(0);
        let dangling = image.get("RepoTags").and_then(Value::as_array).is_none_or(Vec::is_empty);
        let mut keep = filters.labels(&labels)
            && before.is_none_or(|limit| time < limit)
            && since.is_none_or(|limit| time > limit)
            && filters.switch("dangling").is_none_or(|wanted| wanted == dangling);
        let patterns = filters.values("reference");
        if !patterns.is_empty() {
            let named = |field: &str, image: &mut Value| {
                let Some(Value::Array(names)) = image.get_mut(field) else { return false };
                names.retain(|name| {
                    let name = name.as_str().unwrap_or_default();
                    let name = name.split('@').next().unwrap_or_default();
                    patterns.iter().any(|pattern| matches(pattern, name))
                });
                !names.is_empty()
            };
            let (tags, digests) = (named("RepoTags", image), named("RepoDigests", image));
            keep &= tags || digests;
        }
        keep
    });
    json_ok(&Value::Array(list))
}

/// What of the query concerns a list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// As JSON.
    pub filters: Option<String>,
}

impl From<&Request> for Query {
    fn from(request: &Request) -> Self {
        Self { filters: request.value("filters").map(str::to_owned) }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The labels of a listed object.
pub fn labels_of(object: &Value) -> BTreeMap<String, String> {
    let labels = object.get("Labels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// Whether `*` and `?` of a pattern can stand for what a name has there; without a tag it is for all tags.
fn matches(pattern: &str, name: &str) -> bool {
    fn glob(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                glob(rest, name)
                    || name
                        .split_first()
                        .is_some_and(|(first, others)| *first != b'/' && glob(pattern, others))
            }
            (Some((b'?', rest)), Some((first, others))) => *first != b'/' && glob(rest, others),
            (Some((a, rest)), Some((b, others))) => a == b && glob(rest, others),
            _ => false,
        }
    }
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    [name, repository].iter().any(|text| glob(pattern.as_bytes(), text.as_bytes()))
}

/// `images/NAME/json`
pub fn inspect(api: &Api, name: &str) -> Answer {
    let store = api.store()?;
    json_ok(&describe(&store, &find(&store, name)?)?)
}

/// `images/NAME/history`: the newest step first; steps that made no layer have no size.
pub fn history(api: &Api, name: &str) -> Answer {
    let store = api.store()?;
    let image = find(&store, name)?;
    let (tags, _) = names(&store.images()?, &image.id);
    let mut list: Vec<Value> = steps(&store, &image)?
        .into_iter()
        .map(|step| {
            json!({
                "Id": "<missing>", "Created": step.created, "CreatedBy": step.by, "Tags": null,
                "Size": step.size, "Comment": step.comment,
            })
        })
        .collect();
    if let Some(newest) = list.first_mut() {
        super::system::set(newest, "Id", json!(image.id));
        super::system::set(newest, "Tags", json!(tags));
    }
    json_ok(&Value::Array(list))
}

/// `images/NAME/tag`
pub fn tag(api: &Api, name: &str, repository: &str, tag: Option<&str>) -> Answer {
    let store = api.store()?;
    let image = find(&store, name)?;
    let wanted = tag.map_or_else(|| repository.to_owned(), |tag| format!("{repository}:{tag}"));
    let reference: Reference = wanted.parse()?;
    if reference.digest().is_some() {
        return Err(Failure::bad("refusing to create a tag with a digest reference"));
    }
    store.tag(&Image { reference: reference.to_string(), ..image.clone() })?;
    api.events.tell("image", "tag", &image.id, &[("name", &reference.familiar())]);
    empty(StatusCode::CREATED)
}

/// `DELETE images/NAME`
pub fn remove(api: &Api, name: &str, force: bool) -> Answer {
    let store = api.store()?;
    let image = find(&store, name)?;
    let all = store.images()?;
    let same: Vec<&Image> = all.iter().filter(|other| other.id == image.id).collect();
    let by_name = name.parse::<Reference>().is_ok_and(|name| name.to_string() == image.reference);
    let going: Vec<&Image> = if by_name { vec![&image] } else { same.clone() };
    let short = image.short_id();
    if !by_name && same.len() > 1 && !force {
        return Err(Failure::conflict(format!(
            "conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories"
        )));
    }
    let last = going.len() == same.len();
    if last {
        let users = api.containers().list()?;
        let mut users = users.iter().filter(|container| container.record.image_id == image.id);
        let running = users.clone().find(|user| user.status == crate::state::Status::Running);
        let subject = if by_name { "remove repository reference" } else { "delete" };
        let what = if by_name { format!("\"{name}\"") } else { short.to_owned() };
        if let Some(user) = running {
            return Err(Failure::conflict(format!(
                "conflict: unable to {subject} {what} (cannot be forced) - container {} is using its referenced image {short}",
                user.record.short_id()
            )));
        }
        if let Some(user) = users.next().filter(|_| !force) {
            return Err(Failure::conflict(format!(
                "conflict: unable to {subject} {what} (must force) - container {} is using its referenced image {short}",
                user.record.short_id()
            )));
        }
    }
    let mut done = Vec::new();
    for image in going {
        store.untag(image)?;
        let shown = image
            .reference
            .parse::<Reference>()
            .map_or_else(|_| image.reference.clone(), |name| name.familiar());
        api.events.tell("image", "untag", &image.id, &[("name", &shown)]);
        done.push(json!({ "Untagged": shown }));
    }
    if last {
        api.events.tell("image", "delete", &image.id, &[]);
        done.push(json!({ "Deleted": image.id }));
        store.clear(|| api.containers().images())?;
    }
    json_ok(&Value::Array(done))
}

/// `images/prune`: with `dangling=false` every image that no container uses. Every image here has a name, so
/// without it only layers that nothing refers to go.
pub fn prune(api: &Api, filters: Option<&str>) -> Answer {
    let filters = Filters::read(filters, &["dangling", "until", "label", "label!"])?;
    let store = api.store()?;
    let used = api.containers().images();
    let before = crate::store::size_of(&store.root().join("layers"));
    let mut done = Vec::new();
    if filters.switch("dangling") == Some(false) {
        for image in store.images()?.iter().filter(|image| !used.contains(&image.id)) {
            let labels = store.config(image)?.defaults().labels.unwrap_or_default();
            if filters.labels(&labels) {
                store.untag(image)?;
                done.push(json!({ "Untagged": image.reference.parse::<Reference>()?.familiar() }));
                done.push(json!({ "Deleted": image.id }));
            }
        }
    }
    store.clear(|| api.containers().images())?;
    let after = crate::store::size_of(&store.root().join("layers"));
    json_ok(&json!({ "ImagesDeleted": done, "SpaceReclaimed": before.saturating_sub(after) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_references() {
        assert!(matches("busybox", "busybox:latest") && matches("busy*", "busybox:1"));
        assert!(matches("*/busybox:1?6", "test/busybox:1.6"));
        assert!(!matches("busy*", "test/busybox:1") && !matches("box", "busybox:1"));
    }
}
