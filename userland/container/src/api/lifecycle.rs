//! Stop, kill, pause, rename, remove: what changes where a container is in its life.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use rustix::process::Signal;

use super::answer::{Answer, Failure, empty};
use super::request::blocking;
use super::settings::Settings;
use super::{Api, inspect, processes};
use crate::cli::docker::signal::{signal, stop as ask_and_kill};
use crate::state::{Container, Status};

/// What Docker gives a container to end.
const USUAL_TIME: i64 = 10;

/// `containers/ID/stop`
pub fn stop(api: &Api, name: &str, time: Option<i64>, signal_name: Option<&str>) -> Answer {
    let container = api.containers().find(name)?;
    if !api.containers().is_looked_after(&container.record.id) {
        return empty(StatusCode::NOT_MODIFIED);
    }
    end(api, container, time, signal_name)?;
    empty(StatusCode::NO_CONTENT)
}

fn end(api: &Api, mut container: Container, time: Option<i64>, name: Option<&str>) -> Result<(), Failure> {
    let containers = api.containers();
    if let Some(name) = name {
        signal(name)?;
        container.record.stop_signal = Some(name.to_owned());
    }
    let own = Settings::of(&containers, &container.record).typed().0.stop_timeout;
    let time = time.or(own).unwrap_or(USUAL_TIME);
    // Below zero: as long as it takes.
    let limit = u64::try_from(time).map_or(Duration::MAX, Duration::from_secs);
    thaw(&container)?;
    ask_and_kill(&containers, &container, limit)?;
    inspect::tell(api, &container.record, "stop", &[]);
    Ok(())
}

/// `containers/ID/restart`
pub async fn restart(api: &Arc<Api>, name: &str, time: Option<i64>) -> Answer {
    let found = name.to_owned();
    let record = blocking(api, move |api| {
        let container = api.containers().find(&found)?;
        let record = container.record.clone();
        if api.containers().is_looked_after(&record.id) {
            end(api, container, time, None)?;
        }
        Ok(record)
    });
    let record = record.await?;
    super::launch::run(api, &record).await?;
    inspect::tell(api, &record, "restart", &[]);
    empty(StatusCode::NO_CONTENT)
}

/// `containers/ID/kill`
pub fn kill(api: &Api, name: &str, signal_name: Option<&str>) -> Answer {
    let containers = api.containers();
    let container = containers.find(name)?;
    let wanted = signal(signal_name.unwrap_or("KILL"))?;
    if container.status != Status::Running {
        let id = &container.record.id;
        return Err(Failure::conflict(format!(
            "cannot kill container: {name}: container {id} is not running"
        )));
    }
    match wanted {
        Signal::KILL => containers.end(&container, wanted, Duration::ZERO)?,
        other => container.send(other)?,
    }
    inspect::tell(api, &container.record, "kill", &[("signal", &wanted.as_raw().to_string())]);
    empty(StatusCode::NO_CONTENT)
}

/// Whether all its processes are stopped where they are.
#[must_use]
pub fn is_paused(container: &Container) -> bool {
    container.status == Status::Running && processes::is_frozen(container)
}

fn thaw(container: &Container) -> Result<(), Failure> {
    if is_paused(container) { processes::freeze(container, false) } else { Ok(()) }
}

/// `containers/ID/pause` and `unpause`
pub fn pause(api: &Api, name: &str, paused: bool) -> Answer {
    let container = api.containers().find(name)?;
    let id = &container.record.id;
    if container.status != Status::Running {
        return Err(Failure::conflict(format!("container {id} is not running")));
    }
    match (paused, is_paused(&container)) {
        (true, true) => return Err(Failure::conflict(format!("container {id} is already paused"))),
        (false, false) => return Err(Failure::conflict(format!("Container {id} is not paused"))),
        _ => processes::freeze(&container, paused)?,
    }
    inspect::tell(api, &container.record, if paused { "pause" } else { "unpause" }, &[]);
    empty(StatusCode::NO_CONTENT)
}

/// `containers/ID/rename`
pub fn rename(api: &Api, name: &str, new: Option<&str>) -> Answer {
    let new = new.ok_or_else(|| Failure::bad("Neither old nor new names may be empty"))?;
    let containers = api.containers();
    let container = containers.find(name)?;
    let new = new.trim_start_matches('/');
    let old = container.record.name.clone();
    if old == new {
        return Err(Failure::bad("Renaming a container with the same name as its current name"));
    }
    let record = containers.rename(&api.store()?, &container.record, new)?;
    inspect::tell(api, &record, "rename", &[("oldName", &format!("/{old}"))]);
    empty(StatusCode::NO_CONTENT)
}

/// `DELETE containers/ID`
pub fn remove(api: &Api, name: &str, force: bool, volumes: bool) -> Answer {
    let containers = api.containers();
    let container = containers.find(name)?;
    let record = &container.record;
    let lives = containers.is_looked_after(&record.id);
    if lives && !force {
        let what = inspect::word(&container);
        return Err(Failure::conflict(format!(
            "cannot remove container \"{name}\": container is {what}: stop the container before removing or force remove"
        )));
    }
    let settings = Settings::of(&containers, record);
    if lives {
        thaw(&container)?;
        containers.end(&container, Signal::KILL, Duration::ZERO)?;
    }
    match containers.remove(&container) {
        Err(crate::state::StateError::Missing(_)) if record.auto_remove => {}
        other => other?,
    }
    if volumes || record.auto_remove {
        super::volumes::remove_anonymous(&api.places, &settings.anonymous);
    }
    inspect::tell(api, record, "destroy", &[]);
    empty(StatusCode::NO_CONTENT)
}
