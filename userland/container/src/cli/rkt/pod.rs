//! The life of a pod: prepared, running, exited, removed. A pod is a container of one app.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::super::docker::run_to_end;
use super::super::{CliError, Places, show};
use super::image::resolve;
use crate::bundle::{Network, Options, Volume, spec};
use crate::run::supervisor::{Streams, configuration};
use crate::run::{self, guard};
use crate::state::{Container, Containers, Owner, Record, StateError, Status, UNSTARTED, new_id, now};

/// Pods that ended are kept so long, in seconds.
const GRACE: u64 = 30 * 60;
/// Pods that were prepared and never run are kept so long.
const EXPIRE: u64 = 24 * 60 * 60;

/// What an app is to be.
#[derive(Debug, clap::Args)]
pub(super) struct App {
    /// none or host; default: a network of its own
    #[arg(long, alias = "net", num_args = 0..=1, default_missing_value = "default", require_equals = true)]
    network: Option<String>,
    /// Program in place of the image's
    #[arg(long, value_name = "PATH")]
    exec: Option<String>,
    /// Run as this user
    #[arg(long)]
    user: Option<String>,
    /// Host name
    #[arg(long)]
    hostname: Option<String>,
    /// Set a variable
    #[arg(long, alias = "environment", value_name = "NAME=VALUE")]
    set_env: Vec<String>,
    /// NAME,kind=host,source=PATH[,readOnly=true]
    #[arg(long)]
    volume: Vec<String>,
    /// volume=NAME,target=PATH
    #[arg(long)]
    mount: Vec<String>,
    /// Write the pod's UUID into this file
    #[arg(long, value_name = "FILE")]
    uuid_file_save: Option<PathBuf>,
    /// docker://[HOST[:PORT]/]NAME[:TAG], FILE.aci, or the name or ID of an image that is here
    image: String,
    /// Arguments of the app
    #[arg(last = true)]
    args: Vec<String>,
}

impl App {
    fn options(&self) -> Result<Options, CliError> {
        let network = match self.network.as_deref() {
            None | Some("default") => Network::Bridge,
            Some("none") => Network::None,
            Some("host") => Network::Host,
            Some(other) => {
                return Err(CliError::Usage(format!("--net={other}: there are none, host and default")));
            }
        };
        Ok(Options {
            command: self.args.clone(),
            entrypoint: self.exec.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            env: self.set_env.clone(),
            volumes: volumes(&self.volume, &self.mount)?,
            network,
            ..Options::default()
        })
    }

    /// Makes the pod, owned by us.
    fn make(&self, places: &Places, insecure: bool) -> Result<(Record, Owner), CliError> {
        let options = self.options()?;
        let (store, containers) = (places.open_store()?, places.containers());
        let image = resolve(&store, &self.image, insecure)?;
        let config = store.config(&image)?;
        let id = new_id()?;
        let spec = spec(&config, &options, &id)?;
        let record = Record {
            stop_signal: config.defaults().stop_signal,
            network: options.network.word().to_owned(),
            ..Record::of_image(&store, &image, &config, id, &spec)?
        };
        let made = containers.create(&store, record, &spec)?;
        if let Some(path) = &self.uuid_file_save {
            std::fs::write(path, &made.0.id)
                .map_err(|error| CliError::Io("write --uuid-file-save", error))?;
        }
        Ok(made)
    }
}

/// Directories and files of the machine, named by `--volume` and placed by `--mount`.
fn volumes(volumes: &[String], mounts: &[String]) -> Result<Vec<Volume>, CliError> {
    let pairs = |text: &str| -> BTreeMap<String, String> {
        text.split(',')
            .filter_map(|one| one.split_once('='))
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .collect()
    };
    let mut known = BTreeMap::new();
    for text in volumes {
        let bad = |why: &str| CliError::Usage(format!("--volume {text}: {why}"));
        let (name, rest) = text.split_once(',').ok_or_else(|| bad("write NAME,kind=host,source=PATH"))?;
        let rest = pairs(rest);
        if rest.get("kind").map(String::as_str) != Some("host") {
            return Err(bad("there is kind=host"));
        }
        let source = rest.get("source").ok_or_else(|| bad("source is missing"))?;
        let read_only = rest.get("readOnly").is_some_and(|value| value == "true");
        known.insert(name.to_owned(), (PathBuf::from(source), read_only));
    }
    let mut placed = Vec::new();
    for text in mounts {
        let bad = |why: &str| CliError::Usage(format!("--mount {text}: {why}"));
        let pairs = pairs(text);
        let (Some(name), Some(target)) = (pairs.get("volume"), pairs.get("target")) else {
            return Err(bad("write volume=NAME,target=PATH"));
        };
        let (source, read_only) = known.get(name).ok_or_else(|| bad("no --volume has this name"))?.clone();
        placed.push(Volume { source, target: target.into(), read_only });
    }
    Ok(placed)
}

/// `rkt run`
pub(super) fn run(places: &Places, app: &App, interactive: bool, insecure: bool) -> Result<u8, CliError> {
    guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
    let (record, owner) = app.make(places, insecure)?;
    to_end(&places.containers(), &record, interactive, &owner)
}

/// `rkt prepare`
pub(super) fn prepare(places: &Places, app: &App, insecure: bool) -> Result<u8, CliError> {
    let (record, _owner) = app.make(places, insecure)?;
    let path = places.containers().dir(&record.id).join(UNSTARTED);
    std::fs::write(path, "").map_err(|error| CliError::Io("prepare the pod", error))?;
    show::line(&record.id);
    Ok(0)
}

/// `rkt run-prepared`
pub(super) fn run_prepared(places: &Places, uuid: &str, interactive: bool) -> Result<u8, CliError> {
    guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
    let containers = places.containers();
    let pod = containers.find(uuid)?;
    let owner = containers.own(&pod.record.id)?;
    let marker = containers.dir(&pod.record.id).join(UNSTARTED);
    // Taken away by the one who runs it, so that it is run once.
    std::fs::remove_file(marker)
        .map_err(|_| CliError::Usage(format!("pod {uuid} is not prepared: it ran already")))?;
    to_end(&containers, &pod.record, interactive, &owner)
}

fn to_end(
    containers: &Containers,
    record: &Record,
    interactive: bool,
    owner: &Owner,
) -> Result<u8, CliError> {
    let spec = configuration(containers, &record.id)?;
    Ok(run_to_end(containers, record, &spec, Streams { stdin: interactive }, owner)?)
}

fn state(pod: &Container) -> &'static str {
    match pod.status {
        Status::Created => "prepared",
        other => other.word(),
    }
}

/// The name of the app: the last part of the image's.
fn app_name(record: &Record) -> &str {
    let last = record.image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next().unwrap_or_default()
}

/// `rkt list`
pub(super) fn list(places: &Places) -> Result<u8, CliError> {
    let heads = ["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for pod in places.containers().list()? {
        let record = &pod.record;
        let ago = |time: u64| format!("{} ago", show::span(now().saturating_sub(time)));
        rows.push(vec![
            record.id.get(..8).unwrap_or(&record.id).to_owned(),
            app_name(record).to_owned(),
            record.image.clone(),
            state(&pod).to_owned(),
            ago(record.created),
            pod.state.started.map(ago).unwrap_or_default(),
            record.network.clone(),
        ]);
    }
    show::table(&rows);
    Ok(0)
}

/// `rkt status`
pub(super) fn status(places: &Places, uuid: &str, wait: bool) -> Result<u8, CliError> {
    let containers = places.containers();
    let mut pod = containers.find(uuid)?;
    if wait {
        containers.wait_for_end(&pod.record.id, Duration::MAX)?;
        pod = containers.find(&pod.record.id)?;
    }
    show::line(&format!("state={}", state(&pod)));
    show::line(&format!("created={}", pod.record.created));
    if let Some(started) = pod.state.started {
        show::line(&format!("started={started}"));
    }
    if let Some(pid) = pod.state.pid {
        show::line(&format!("pid={pid}"));
    }
    show::line(&format!("exited={}", matches!(pod.status, Status::Exited(_))));
    if let Status::Exited(code) = pod.status {
        show::line(&format!("app-{}={code}", app_name(&pod.record)));
    }
    Ok(0)
}

/// `rkt enter`
pub(super) fn enter(places: &Places, uuid: &str, command: &[String]) -> Result<u8, CliError> {
    guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
    let containers = places.containers();
    let pod = containers.find(uuid)?;
    let stopped = || StateError::NotRunning(pod.record.short_id().to_owned());
    let target = pod.state.process().zip(pod.state.pid).filter(|_| pod.status == Status::Running);
    let target = target.ok_or_else(stopped)?;
    let spec = configuration(&containers, &pod.record.id)?;
    let mut process = spec.process().clone().ok_or(run::RunError::NoProcess)?;
    let shell = || vec!["/bin/sh".to_owned()];
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    process.set_args(Some(if command.is_empty() { shell() } else { command.to_vec() }));
    process.set_terminal(Some(terminal));
    Ok(u8::try_from(run::exec::run(target, &spec, &process, true)?).unwrap_or(255))
}

/// `rkt stop`
pub(super) fn stop(places: &Places, uuids: &[String], force: bool) -> Result<u8, CliError> {
    let containers = places.containers();
    for uuid in uuids {
        let pod = containers.find(uuid)?;
        let (signal, time) = if force { (Signal::KILL, 0) } else { (Signal::TERM, 10) };
        containers.end(&pod, signal, Duration::from_secs(time))?;
        show::line(&format!("{:?}", pod.record.id));
    }
    Ok(0)
}

/// `rkt rm`
pub(super) fn remove(places: &Places, uuids: &[String], file: Option<&Path>) -> Result<u8, CliError> {
    let containers = places.containers();
    let mut all = uuids.to_vec();
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).map_err(|error| CliError::Io("read --uuid-file", error))?;
        all.push(text.trim().to_owned());
    }
    if all.is_empty() {
        return Err(CliError::Usage("rm: give UUIDs, or a --uuid-file".to_owned()));
    }
    for uuid in &all {
        containers.remove(&containers.find(uuid)?)?;
        show::line(&format!("{uuid:?}"));
    }
    Ok(0)
}

/// `rkt gc`: pods that ended or expired long enough ago. Without their parent they need no marking first.
pub(super) fn gc(
    places: &Places,
    grace: Option<&str>,
    expire: Option<&str>,
    only_tell: bool,
) -> Result<u8, CliError> {
    let grace = grace.map_or(Ok(GRACE), seconds)?;
    let expire = expire.map_or(Ok(EXPIRE), seconds)?;
    let containers = places.containers();
    for pod in containers.list()? {
        let (since, kept) = match pod.status {
            Status::Running => continue,
            Status::Created => (pod.record.created, expire),
            Status::Exited(_) => (pod.state.finished.unwrap_or(pod.record.created), grace),
        };
        if now().saturating_sub(since) < kept {
            continue;
        }
        if only_tell {
            show::line(&format!("Pod {:?} is garbage", pod.record.id));
            continue;
        }
        match containers.remove(&pod) {
            Ok(()) => show::line(&format!("Garbage collecting pod {:?}", pod.record.id)),
            // Somebody has just begun to run it.
            Err(StateError::Running(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(0)
}

/// A time such as `30m`, `1h30m` or `0s`.
fn seconds(text: &str) -> Result<u64, CliError> {
    let bad = || CliError::Usage(format!("{text:?} is no time such as 30m or 24h"));
    let (mut all, mut number) = (0_u64, None::<u64>);
    for char in text.chars() {
        if let Some(digit) = char.to_digit(10) {
            let grown = number.unwrap_or(0).checked_mul(10).and_then(|ten| ten.checked_add(u64::from(digit)));
            number = Some(grown.ok_or_else(bad)?);
            continue;
        }
        let unit = match char {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(bad()),
        };
        let part = number.take().and_then(|count| count.checked_mul(unit)).ok_or_else(bad)?;
        all = all.checked_add(part).ok_or_else(bad)?;
    }
    if number.is_some_and(|left| left != 0) || text.is_empty() { Err(bad()) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, wanted) in [("30m", 1800), ("1h30m", 5400), ("0s", 0), ("0", 0), ("24h", 86_400)] {
            assert_eq!(seconds(text).unwrap(), wanted, "{text}");
        }
        for bad in ["", "m", "10", "5d", "99999999999999999999h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mount_needs_its_volume() {
        let all = |volume: &str, mount: &str| volumes(&[volume.to_owned()], &[mount.to_owned()]);
        let made = all("data,kind=host,source=/srv,readOnly=true", "volume=data,target=/data").unwrap();
        assert_eq!(made, [Volume { source: "/srv".into(), target: "/data".into(), read_only: true }]);
        assert!(all("data,kind=empty", "volume=data,target=/data").is_err());
        assert!(all("data,kind=host,source=/srv", "volume=other,target=/data").is_err());
        assert!(all("data,kind=host,source=/srv", "target=/data").is_err());
    }
}
