//! What of the machine a new container sees: directories, volumes, memory file systems.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Api;
use super::answer::Failure;
use super::settings::{Config, Host, Settings};
use crate::bundle::Volume;
use crate::state::new_id;

/// What is to be mounted; volumes are made on the way.
pub fn volumes(
    api: &Api,
    config: &Config,
    host: &Host,
    of_image: &[String],
    settings: &mut Settings,
) -> Result<Vec<Volume>, Failure> {
    let mut list: Vec<Volume> = Vec::new();
    let mut add = |kind: &str, name: &str, source: PathBuf, target: &str, read_only: bool| {
        settings.mounts.push(told(kind, name, &source, target, read_only));
        list.push(Volume { source, target: target.into(), read_only });
    };
    for bind in host.binds.iter().flatten() {
        let bad = || Failure::bad(format!("invalid volume specification: '{bind}'"));
        let mut parts = bind.splitn(3, ':');
        let (source, target) = parts.next().zip(parts.next()).ok_or_else(bad)?;
        let options = parts.next().unwrap_or_default();
        if let Some(unknown) = options.split(',').find(|option| !option.is_empty() && !is_mode(option)) {
            return Err(Failure::bad(format!("invalid mode: {unknown}")));
        }
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
    for other in host.volumes_from.iter().flatten() {
        let (name, mode) = other.split_once(':').unwrap_or((other, ""));
        let containers = api.containers();
        let other = Settings::of(&containers, &containers.find(name)?.record);
        for mount in &other.mounts {
            let text = |field: &str| mount.get(field).and_then(Value::as_str).unwrap_or_default();
            let read_only = mode == "ro" || mount.get("RW") == Some(&json!(false));
            add(text("Type"), text("Name"), text("Source").into(), text("Destination"), read_only);
        }
    }
    let mut anonymous: Vec<String> = config.volumes.iter().flat_map(|all| all.keys().cloned()).collect();
    anonymous.extend(of_image.iter().cloned());
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
            // An option of its own: see `memory`.
            "tmpfs" => {}
            other => {
                return Err(Failure::bad(format!("invalid mount config: mount type unknown: {other:?}")));
            }
        }
    }
    let mut names = Vec::new();
    // What has been mounted there is what was asked for.
    anonymous.sort();
    anonymous.dedup();
    anonymous.retain(|target| !list.iter().any(|volume| volume.target == Path::new(target)));
    for target in anonymous {
        let name = new_id()?;
        let volume = super::volumes::ensure(api, &name)?;
        names.push(name.clone());
        list.push(Volume { source: volume.clone(), target: (&target).into(), read_only: false });
        settings.mounts.push(told("volume", &name, &volume, &target, false));
    }
    settings.anonymous = names;
    Ok(list)
}

/// Labels for SELinux and modes of macOS mean nothing here; a volume is empty at first anyway.
fn is_mode(option: &str) -> bool {
    matches!(
        option,
        "ro" | "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "private" | "rprivate" | "nocopy"
    )
}

/// A mount, as `inspect` shows it.
fn told(kind: &str, name: &str, source: &Path, target: &str, read_only: bool) -> Value {
    json!({
        "Type": kind, "Name": name, "Source": source, "Destination": target, "Mode": "", "RW": !read_only,
        "Driver": if kind == "volume" { "local" } else { "" },
        "Propagation": if kind == "bind" { "rprivate" } else { "" },
    })
}

/// Memory file systems, as `PATH:OPTIONS`.
pub fn memory(host: &Host) -> Vec<String> {
    let named = host.tmpfs.iter().flatten().map(|(path, options)| format!("{path}:{options}"));
    let mounts = host.mounts.iter().flatten().filter(|mount| mount.kind == "tmpfs");
    let mounts = mounts.map(|mount| {
        let mut options = Vec::new();
        if let Some(wanted) = &mount.tmpfs_options {
            options.extend((wanted.size_bytes > 0).then(|| format!("size={}", wanted.size_bytes)));
            options.extend((wanted.mode > 0).then(|| format!("mode={:o}", wanted.mode)));
        }
        options.extend(mount.read_only.then(|| "ro".to_owned()));
        format!("{}:{}", mount.target, options.join(","))
    });
    named.chain(mounts).collect()
}
