//! Volumes: directories with a name, that outlive containers: `volumes/NAME/_data` in the store.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, empty, json_ok, json_with};
use super::filters::Filters;
use super::time::of_seconds;
use crate::cli::Places;
use crate::state::{is_name, make_dir, new_id, now};

/// What lasts of a volume beside its data.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Definition {
    created: u64,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    anonymous: bool,
}

fn root(places: &Places) -> PathBuf {
    places.store.join("volumes")
}

fn missing(name: &str) -> Failure {
    Failure::missing(format!("get {name}: no such volume"))
}

fn read(places: &Places, name: &str) -> Result<Definition, Failure> {
    if !is_name(name) {
        return Err(missing(name));
    }
    let dir = root(places).join(name);
    if !dir.join("_data").is_dir() {
        return Err(missing(name));
    }
    let text = fs::read(dir.join("volume.json")).unwrap_or_default();
    Ok(serde_json::from_slice(&text).unwrap_or_default())
}

fn told(places: &Places, name: &str, volume: &Definition) -> Value {
    json!({
        "CreatedAt": of_seconds(Some(volume.created)), "Driver": "local", "Labels": volume.labels,
        "Mountpoint": root(places).join(name).join("_data"), "Name": name, "Options": volume.options, "Scope": "local",
    })
}

fn names(places: &Places) -> Vec<String> {
    let entries = fs::read_dir(root(places)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect();
    names.sort();
    names
}

/// The directory of a volume, which is made if it is not there.
///
/// # Errors
/// When its name is none, or the disk fails.
pub fn ensure(api: &Api, name: &str) -> Result<PathBuf, Failure> {
    let anonymous = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    make(api, name, Definition { anonymous, ..Definition::default() })
}

fn make(api: &Api, name: &str, mut volume: Definition) -> Result<PathBuf, Failure> {
    if !is_name(name) {
        return Err(Failure::bad(format!(
            "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    let dir = root(&api.places).join(name);
    let data = dir.join("_data");
    if data.is_dir() {
        return Ok(data);
    }
    make_dir(&dir)?;
    volume.created = now();
    api.store()?.write(&dir.join("volume.json"), &serde_json::to_vec(&volume)?)?;
    // Last: what has data is a volume. Whoever is in the container may enter it.
    let new = dir.join("_data.new");
    fs::create_dir_all(&new)?;
    set_mode(&new)?;
    fs::rename(&new, &data)?;
    api.events.tell("volume", "create", name, &[("driver", "local")]);
    Ok(data)
}

fn set_mode(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// Who uses a volume.
fn users(api: &Api, name: &str) -> Result<Vec<String>, Failure> {
    let containers = api.containers();
    let mut users = Vec::new();
    for container in containers.list()? {
        let settings = super::settings::Settings::of(&containers, &container.record);
        let is = |mount: &Value| {
            mount.get("Type").and_then(Value::as_str) == Some("volume")
                && mount.get("Name").and_then(Value::as_str) == Some(name)
        };
        if settings.mounts.iter().any(is) {
            users.push(container.record.id);
        }
    }
    Ok(users)
}

/// `volumes`
pub fn list(api: &Api, filters: Option<&str>) -> Answer {
    let filters = Filters::read(filters, &["dangling", "driver", "label", "label!", "name"])?;
    let mut list = Vec::new();
    for name in names(&api.places) {
        let Ok(volume) = read(&api.places, &name) else { continue };
        let wanted = filters.any("name", |part| name.contains(part))
            && filters.any("driver", |driver| driver == "local")
            && filters.labels(&volume.labels);
        let dangling = filters.switch("dangling");
        if wanted && (dangling.is_none() || dangling == Some(users(api, &name)?.is_empty())) {
            list.push(told(&api.places, &name, &volume));
        }
    }
    json_ok(&json!({ "Volumes": list, "Warnings": null }))
}

/// `volumes/NAME`
pub fn inspect(api: &Api, name: &str) -> Answer {
    json_ok(&told(&api.places, name, &read(&api.places, name)?))
}

/// What a client wants of a new volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Wanted {
    name: Option<String>,
    driver: Option<String>,
    driver_opts: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
}

/// `volumes/create`
pub fn create(api: &Api, wanted: Wanted) -> Answer {
    match wanted.driver.as_deref() {
        None | Some("" | "local") => {}
        Some(driver) => {
            return Err(Failure::missing(format!(
                "error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
    }
    if wanted.driver_opts.as_ref().is_some_and(|options| !options.is_empty()) {
        return Err(Failure::bad("options of volumes are not supported by this engine"));
    }
    let given = wanted.name.filter(|name| !name.is_empty());
    let anonymous = given.is_none();
    let name = given.map_or_else(new_id, Ok)?;
    let volume = Definition { labels: wanted.labels.unwrap_or_default(), anonymous, ..Definition::default() };
    make(api, &name, volume)?;
    Ok(json_with(StatusCode::CREATED, &told(&api.places, &name, &read(&api.places, &name)?)))
}

/// `DELETE volumes/NAME`
pub fn remove(api: &Api, name: &str, force: bool) -> Answer {
    match read(&api.places, name) {
        Err(_) if force => return empty(StatusCode::NO_CONTENT),
        other => other?,
    };
    let users = users(api, name)?;
    if !users.is_empty() {
        let users = users.join(", ");
        return Err(Failure::conflict(format!("remove {name}: volume is in use - [{users}]")));
    }
    destroy(&api.places, name)?;
    api.events.tell("volume", "destroy", name, &[("driver", "local")]);
    empty(StatusCode::NO_CONTENT)
}

fn destroy(places: &Places, name: &str) -> io::Result<()> {
    let dir = root(places).join(name);
    // Without its data under that name it is no volume any more, whatever happens next.
    fs::rename(dir.join("_data"), dir.join("_data.gone"))?;
    fs::remove_dir_all(&dir)
}

/// Removes the volumes that were a container's alone.
pub fn remove_anonymous(places: &Places, names: &[String]) {
    for name in names.iter().filter(|name| is_name(name)) {
        let _ = destroy(places, name);
    }
}

/// `volumes/prune`: those that no container uses; with `all=true` also those with a name of the user's.
pub fn prune(api: &Api, filters: Option<&str>) -> Answer {
    let filters = Filters::read(filters, &["label", "label!", "all"])?;
    let all = filters.switch("all") == Some(true);
    let (mut gone, mut bytes) = (Vec::new(), 0);
    for name in names(&api.places) {
        let Ok(volume) = read(&api.places, &name) else { continue };
        if (all || volume.anonymous) && filters.labels(&volume.labels) && users(api, &name)?.is_empty() {
            bytes += crate::store::size_of(&root(&api.places).join(&name));
            destroy(&api.places, &name)?;
            gone.push(name);
        }
    }
    json_ok(&json!({ "VolumesDeleted": gone, "SpaceReclaimed": bytes }))
}

/// All volumes with their sizes.
///
/// # Errors
/// When containers cannot be read.
pub fn with_sizes(api: &Api) -> Result<Vec<Value>, Failure> {
    let mut list = Vec::new();
    for name in names(&api.places) {
        let Ok(volume) = read(&api.places, &name) else { continue };
        let mut told = told(&api.places, &name, &volume);
        let usage = json!({
            "Size": crate::store::size_of(&root(&api.places).join(&name).join("_data")), "RefCount": users(api, &name)?.len(),
        });
        super::system::set(&mut told, "UsageData", usage);
        list.push(told);
    }
    Ok(list)
}
