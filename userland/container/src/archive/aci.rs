//! App Container Images, as rkt knew them: a tar archive, packed or not, of a `manifest` and a `rootfs`.
//!
//! Such an image becomes one of ours with a single layer. Its own ID, the SHA-512 of the archive, is kept as a
//! label. An image that needs other images below it is refused. Source: App Container specification 0.8.

use std::fs;
use std::io::{BufRead, Read};
use std::path::Path;

use ring::digest::{Context, SHA512};
use rustix::fs::{Mode, OFlags, open};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::ArchiveError;
use super::changes::{Step, with_layer};
use super::commit::layer_of;
use super::load::named;
use crate::layer::take::take;
use crate::layer::{Expected, Limits, compressed};
use crate::reference::Reference;
use crate::registry::manifest::Compression;
use crate::store::Store;
use crate::store::digest::hex;
use crate::store::image::Image;

/// The label with the image's own ID, `sha512-HEX`.
pub const ID: &str = "appc.io/id";
const MANIFEST_LIMIT: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    ac_kind: String,
    name: String,
    #[serde(default)]
    labels: Vec<Pair>,
    app: Option<App>,
    #[serde(default)]
    dependencies: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Pair {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct App {
    #[serde(default)]
    exec: Vec<String>,
    user: String,
    group: String,
    #[serde(default)]
    environment: Vec<Pair>,
    working_directory: Option<String>,
    #[serde(default)]
    mount_points: Vec<MountPoint>,
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
struct MountPoint {
    path: String,
}

#[derive(Debug, Deserialize)]
struct Port {
    port: u16,
    protocol: String,
}

/// Takes an image, under its name with its version and as `latest`.
///
/// # Errors
/// When it is no such image, is for another machine, or needs images below it. Nothing of it is kept then.
pub fn import(store: &Store, input: impl BufRead) -> Result<Image, ArchiveError> {
    let mut plain = Hashed {
        inner: compressed::any(input).map_err(ArchiveError::Unreadable)?,
        sha512: Context::new(&SHA512),
    };
    let expected = Expected { blob: None, diff_id: None, compression: Compression::None };
    let (staging, _) = take(store, &mut plain, &expected, Limits::default())?;
    let own_id = format!("sha512-{}", hex(plain.sha512.finish().as_ref()));
    let top = staging.fs();
    only_its_own(&top)?;
    let manifest = read(&top.join("manifest"))?;
    let (names, config) = convert(&manifest, &own_id)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let rootfs = open(top.join("rootfs"), flags, Mode::empty())
        .map_err(|_| ArchiveError::Missing("rootfs".to_owned()))?;
    let layer = layer_of(store, rootfs)?;
    let step = Step { by: "rkt", comment: &own_id, ..Step::default() };
    let document = with_layer(None, config, &layer.diff_id, &step);
    let images = named(store, document.to_string().as_bytes(), &[layer.size], &names)?;
    images.into_iter().next().ok_or_else(|| ArchiveError::Missing("name".to_owned()))
}

/// There may be nothing beside the two: whoever looks at the archive elsewhere sees the same image.
fn only_its_own(top: &Path) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::Io { path: top.to_owned(), source };
    for entry in fs::read_dir(top).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "manifest" && name != "rootfs" {
            return Err(ArchiveError::Wrong(format!("an image has {name:?} beside manifest and rootfs")));
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, ArchiveError> {
    let missing = || ArchiveError::Missing("manifest".to_owned());
    // Not through a link, which could lead to a file of the machine.
    let meta = fs::symlink_metadata(path).map_err(|_| missing())?;
    if !meta.is_file() || meta.len() > MANIFEST_LIMIT {
        return Err(missing());
    }
    fs::read(path).map_err(|source| ArchiveError::Io { path: path.to_owned(), source })
}

/// The names of an image, and how it wants to run.
fn convert(manifest: &[u8], own_id: &str) -> Result<(Vec<Reference>, Value), ArchiveError> {
    let wrong = |why: String| ArchiveError::Wrong(format!("its manifest: {why}"));
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|error| wrong(error.to_string()))?;
    if manifest.ac_kind != "ImageManifest" {
        return Err(wrong(format!("{:?} is not ImageManifest", manifest.ac_kind)));
    }
    if !manifest.dependencies.is_empty() {
        return Err(wrong("images that depend on others are not taken; flatten it with actool".to_owned()));
    }
    let label =
        |wanted: &str| manifest.labels.iter().find(|one| one.name == wanted).map(|one| one.value.as_str());
    let here = oci_spec::image::Arch::default().to_string();
    for (name, value) in [("os", "linux"), ("arch", here.as_str())] {
        if let Some(other) = label(name).filter(|other| *other != value) {
            return Err(wrong(format!("it is for {name} {other}, this machine is {value}")));
        }
    }
    let mut names = Vec::new();
    for tag in label("version").into_iter().chain(["latest"]) {
        let name = format!("{}:{tag}", manifest.name);
        names.push(name.parse::<Reference>().map_err(|error| wrong(error.to_string()))?);
    }
    let mut config = json!({ "Labels": { ID: own_id, "appc.io/name": manifest.name } });
    if let Some(app) = manifest.app {
        if [&app.user, &app.group].iter().any(|name| name.contains(['/', ':'])) {
            return Err(wrong("user and group must be names or numbers".to_owned()));
        }
        let pairs = app.environment.iter().map(|one| format!("{}={}", one.name, one.value));
        let ports = app.ports.iter().map(|one| (format!("{}/{}", one.port, one.protocol), json!({})));
        let volumes = app.mount_points.iter().map(|one| (one.path.clone(), json!({})));
        super::changes::set(&mut config, "Entrypoint", json!(app.exec));
        super::changes::set(&mut config, "User", json!(format!("{}:{}", app.user, app.group)));
        super::changes::set(&mut config, "Env", json!(pairs.collect::<Vec<_>>()));
        super::changes::set(&mut config, "WorkingDir", json!(app.working_directory.unwrap_or_default()));
        super::changes::set(&mut config, "ExposedPorts", Value::Object(ports.collect::<Map<_, _>>()));
        super::changes::set(&mut config, "Volumes", Value::Object(volumes.collect::<Map<_, _>>()));
    }
    Ok((names, config))
}

/// The manifest that an App Container Image of this image would have.
#[must_use]
pub fn manifest(reference: &Reference, config: &Value) -> Value {
    let run = config.get("config").cloned().unwrap_or_default();
    let list = |name: &str| run.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let exec: Vec<Value> = list("Entrypoint").into_iter().chain(list("Cmd")).collect();
    let user = text("User");
    let (user, group) = user.split_once(':').unwrap_or((&user, "0"));
    let environment: Vec<Value> = list("Env")
        .iter()
        .filter_map(|one| one.as_str()?.split_once('='))
        .map(|(name, value)| json!({ "name": name, "value": value }))
        .collect();
    json!({
        "acKind": "ImageManifest", "acVersion": "0.8.11",
        "name": format!("{}/{}", reference.registry(), reference.repository()),
        "labels": [
            { "name": "version", "value": reference.selector() },
            { "name": "os", "value": config.get("os").cloned().unwrap_or_else(|| json!("linux")) },
            { "name": "arch", "value": config.get("architecture").cloned().unwrap_or_default() },
        ],
        "app": {
            "exec": exec, "user": if user.is_empty() { "0" } else { user }, "group": group,
            "environment": environment, "workingDirectory": text("WorkingDir"),
        },
    })
}

/// A reader that hashes what passes through it, as these images are named.
struct Hashed<R> {
    inner: R,
    sha512: Context,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sha512.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/app",
        "labels":[{"name":"version","value":"1.0"},{"name":"os","value":"linux"}],
        "app":{"exec":["/bin/app","-x"],"user":"0","group":"7","environment":[{"name":"A","value":"b"}],
        "workingDirectory":"/w","ports":[{"name":"p","port":80,"protocol":"tcp"}]}}"#;

    #[test]
    fn a_manifest_says_how_to_run() {
        let (names, config) = convert(MANIFEST.as_bytes(), "sha512-1").unwrap();
        assert_eq!(names[0].to_string(), "example.com/app:1.0");
        assert_eq!(names[1].to_string(), "example.com/app:latest");
        assert_eq!(config["Entrypoint"], json!(["/bin/app", "-x"]));
        assert_eq!((&config["User"], &config["Env"]), (&json!("0:7"), &json!(["A=b"])));
        assert_eq!(config["Labels"][ID], "sha512-1");
        let back = manifest(&names[0], &json!({ "os": "linux", "config": config }));
        assert_eq!(back["app"]["exec"], json!(["/bin/app", "-x"]));
        assert_eq!((&back["name"], &back["app"]["group"]), (&json!("example.com/app"), &json!("7")));
    }

    #[test]
    fn what_is_for_others_or_needs_others_is_refused() {
        let bad = |from: &str, to: &str| convert(MANIFEST.replace(from, to).as_bytes(), "").is_err();
        assert!(bad("ImageManifest", "PodManifest") && bad("linux", "plan9") && bad("\"0\"", "\"/etc/x\""));
        assert!(bad("example.com/app", "../x") && bad("\"labels\"", "\"dependencies\":[{}],\"labels\""));
        assert!(convert(b"{", "").is_err());
    }
}
