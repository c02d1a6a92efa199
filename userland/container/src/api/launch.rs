//! Starting a container: its supervisor, then those who wait for it, then itself.
//!
//! Where PID 1 is a service manager, the supervisor is the main process of a transient service
//! `docker-ID.service`: the container is then a unit like any other, and outlives this server. Elsewhere it is a
//! process in a session of its own.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::answer::{Answer, Failure, empty};
use super::request::blocking;
use super::settings::Settings;
use super::{Api, frame, supervisor};
use crate::state::{Containers, Record, Status};

/// A supervisor is there after a few milliseconds, on a machine under load after more.
const PATIENCE: Duration = Duration::from_secs(30);
/// The name by which the image knows us.
const PROGRAM: &str = "/usr/bin/dockerd";

/// `containers/ID/start`
pub async fn start(api: &Arc<Api>, name: &str) -> Answer {
    let found = name.to_owned();
    let container = blocking(api, move |api| Ok(api.containers().find(&found)?)).await?;
    if api.containers().is_looked_after(&container.record.id) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    run(api, &container.record).await?;
    empty(StatusCode::NO_CONTENT)
}

/// Starts a container and returns when its program runs.
///
/// # Errors
/// In Docker's words, from which clients take an exit status.
pub async fn run(api: &Arc<Api>, record: &Record) -> Result<(), Failure> {
    let containers = api.containers();
    let _ = std::fs::remove_file(containers.end_wanted(&record.id));
    let mut child = launch(api, record).await?;
    let mut stream = connect(&containers, &record.id, child.as_mut()).await?;
    if let Some(mut child) = child {
        // Collected when it ends; if we end first, it goes on.
        tokio::spawn(async move { child.wait().await });
    }
    api.let_in(&record.id).await;
    stream.write_all(&frame::encode(frame::START, b"")).await?;
    match frame::read(&mut stream).await? {
        Some((frame::STARTED, _)) => Ok(()),
        Some((frame::FAILED, told)) => {
            let status = told.first().copied().unwrap_or(125);
            let text = String::from_utf8_lossy(told.get(1..).unwrap_or_default()).into_owned();
            Err(did_not_start(status, &text))
        }
        _ => Err(Failure::internal("the container's supervisor ended before the container began")),
    }
}

fn did_not_start(status: u8, text: &str) -> Failure {
    let start = "failed to create task for container: failed to create shim task: OCI runtime create failed: \
                 runc create failed: unable to start container process";
    match status {
        // By these words clients before 23 know a status of 126.
        126 if !text.contains("permission denied") => {
            Failure::bad(format!("{start}: {text}: permission denied: unknown"))
        }
        126 | 127 => Failure::bad(format!("{start}: {text}: unknown")),
        _ => Failure::internal(text),
    }
}

/// `/proc/self/exe`, as `dockerd` with these arguments: a verb, then its own.
pub(super) fn ourselves(api: &Api, args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0("dockerd").args(places(api)).args(args);
    command
}

fn places(api: &Api) -> [String; 4] {
    let text = |path: &Path| path.display().to_string();
    ["--store".to_owned(), text(&api.places.store), "--state".to_owned(), text(&api.places.state)]
}

async fn launch(api: &Api, record: &Record) -> Result<Option<Child>, Failure> {
    if Path::new("/run/systemd/system").is_dir() && Path::new(PROGRAM).exists() {
        let mut command = Command::new("systemd-run");
        command.args(["--quiet", "--collect", "--slice=system.slice", "--property=Delegate=yes"]);
        // What the container is told to end by is Docker's to say; the supervisor hears it and passes it on.
        command.args(["--property=KillMode=mixed", "--property=TimeoutStopSec=10"]);
        command.arg(format!("--unit=docker-{}.service", record.id));
        command.arg(format!("--description=Container {} ({})", record.name, record.image));
        command.arg("--").arg(PROGRAM).args(places(api)).args(["supervise", &record.id]);
        let done = command.stdin(Stdio::null()).output().await;
        let done = done.map_err(|error| Failure::internal(format!("systemd-run: {error}")))?;
        if !done.status.success() {
            return Err(Failure::internal(String::from_utf8_lossy(&done.stderr).trim_end()));
        }
        return Ok(None);
    }
    let mut command = ourselves(api, &["supervise", &record.id]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let child = Command::from(command).spawn();
    Ok(Some(child.map_err(|error| Failure::internal(format!("supervisor: {error}")))?))
}

/// A connection to a supervisor that is just coming up.
async fn connect(
    containers: &Containers,
    id: &str,
    mut child: Option<&mut Child>,
) -> Result<UnixStream, Failure> {
    let path = supervisor::socket(containers, id);
    let begin = Instant::now();
    loop {
        match UnixStream::connect(&path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if begin.elapsed() > PATIENCE => {
                return Err(Failure::internal(format!(
                    "the container's supervisor does not come up: {error}"
                )));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
        if let Some(child) = &mut child
            && let Ok(Some(status)) = child.try_wait()
        {
            return Err(Failure::internal(format!("the container's supervisor ended: {status}")));
        }
    }
}

/// Starts those that were to run always and were ended by the machine going down.
pub fn start_those_that_always_run(api: &Arc<Api>) {
    let containers = api.containers();
    for container in containers.list().unwrap_or_default() {
        let record = container.record;
        let (_, host) = Settings::of(&containers, &record).typed();
        let ended = matches!(container.status, Status::Exited(_)) && !container.state.restarting;
        // One that has state ended while the machine was up, and its supervisor decided.
        let unseen = container.state.finished.is_none();
        let stopped = containers.end_wanted(&record.id).exists();
        let wanted = match host.restart_policy.name.as_str() {
            "always" => true,
            "unless-stopped" => !stopped,
            _ => false,
        };
        if ended && unseen && wanted {
            let api = Arc::clone(api);
            tokio::spawn(async move {
                if let Err(failure) = run(&api, &record).await {
                    eprintln!("dockerd: container {}: {}", record.name, failure.message);
                }
            });
        }
    }
}
