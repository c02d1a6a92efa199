//! The process that a container started through the API belongs to.
//!
//! It is the container's parent, as `docker run` is of its own, and keeps what a foreground parent has no need to
//! keep: the container's streams ([`streams`]), its log ([`log`]), clients that come and go ([`keeper`]), its
//! place on networks, its health ([`health`]) and its restart policy. The server may die and come back meanwhile.
//!
//! It listens first and starts the container when the server says that all are there who came before the start, so
//! that nobody misses the first byte. While the container starts, this process has one thread: a child is born
//! only to such a one. The keeper is a thread beside it from then to the end.

pub mod health;
pub(super) mod keeper;
mod log;
pub(super) mod streams;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::Spec;

use super::settings::{Host, Settings};
use super::{Events, frame, inspect};
use crate::cli::{CliError, Places};
use crate::network::place::Place;
use crate::run::neighbour::Neighbours;
use crate::run::{self, RunError, guard};
use crate::state::{Containers, Owner, Record, StateError, now};
use keeper::{Client, Keeper};
use log::Log;
use streams::Streams;

/// Who was told to start a container and then does not hear of it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// A container that ran for so long did not fail at once: the next pause is the shortest again.
const STEADY: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub use log::path as log_path;

/// Where the supervisor of a container listens.
#[must_use]
pub fn socket(containers: &Containers, id: &str) -> PathBuf {
    containers.run_dir(id).join("attach.sock")
}

/// Runs a container from its start to its last end; returns its exit status.
///
/// # Errors
/// When it cannot be started.
pub fn supervise(places: &Places, id: &str) -> Result<u8, CliError> {
    guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
    // The session of whoever started us is not ours; a leader already has its own.
    let _ = rustix::process::setsid();
    let containers = places.containers();
    let record = containers.find(id)?.record;
    let owner = own(&containers, &record.id)?;
    let listener = listen(&socket(&containers, &record.id))?;
    let mut waiting = reception(&listener)?;
    let spec = run::supervisor::configuration(&containers, &record.id)?;
    let settings = Settings::of(&containers, &record);
    let mut supervisor = Supervisor {
        places,
        events: Events::new(&super::run_directory(places)),
        containers: &containers,
        record: &record,
        spec,
        host: settings.typed().1,
        settings,
        restarts: 0,
    };
    let _ = fs::remove_file(containers.dir(&record.id).join(crate::state::UNSTARTED));
    let mut pause = FIRST_PAUSE;
    let status = loop {
        let begin = Instant::now();
        let status = match supervisor.once(&listener, std::mem::take(&mut waiting)) {
            Ok(status) => status,
            Err(error) => {
                supervisor.leave(&owner)?;
                return Err(error);
            }
        };
        if begin.elapsed() >= STEADY {
            pause = FIRST_PAUSE;
        }
        if !supervisor.is_to_restart(status) || !supervisor.pause(pause, status)? {
            break status;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        supervisor.restarts += 1;
    };
    supervisor.leave(&owner)?;
    Ok(u8::try_from(status).unwrap_or(255))
}

/// Others look whether the container has an owner by trying its lock for a moment; that is no owner.
fn own(containers: &Containers, id: &str) -> Result<Owner, StateError> {
    let mut tries = 0;
    loop {
        match containers.own(id) {
            Err(StateError::Running(_)) if tries < 50 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn listen(path: &Path) -> Result<UnixListener, CliError> {
    let failed = |error| CliError::Io("attach.sock", error);
    let _ = fs::remove_file(path);
    // The directory is root's alone; the mode says so once more.
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Takes clients until one of them says that the container may start.
fn reception(listener: &UnixListener) -> Result<Vec<Client>, CliError> {
    let failed = |error| CliError::Io("clients", error);
    let begin = Instant::now();
    let mut clients = Vec::new();
    let mut started = false;
    listener.set_nonblocking(true).map_err(failed)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => match Client::greet(stream) {
                Ok(mut client) => {
                    started |= client.starts;
                    client.starts = false;
                    clients.push(client);
                }
                Err(error) => eprintln!("dockerd: a client of attach.sock: {error}"),
            },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if started {
                    return Ok(clients);
                }
                if begin.elapsed() > PATIENCE {
                    return Err(failed(std::io::ErrorKind::TimedOut.into()));
                }
                let mut polled = [rustix::event::PollFd::new(listener, rustix::event::PollFlags::IN)];
                let limit = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
                let _ = rustix::event::poll(&mut polled, Some(&limit));
            }
            Err(error) => return Err(failed(error)),
        }
    }
}

struct Supervisor<'a> {
    places: &'a Places,
    events: Events,
    containers: &'a Containers,
    record: &'a Record,
    spec: Spec,
    settings: Settings,
    host: Host,
    restarts: u32,
}

impl Supervisor<'_> {
    /// One life of the container.
    fn once(&mut self, listener: &UnixListener, clients: Vec<Client>) -> Result<i32, CliError> {
        let id = &self.record.id;
        // What was changed since the last life (`docker update`, `docker network connect`) holds for this one.
        self.reread()?;
        let config = self.settings.typed().0;
        let failed = |what: &'static str| move |error| CliError::Io(what, error);
        let (watchers, clients): (Vec<Client>, Vec<Client>) =
            clients.into_iter().partition(|client| client.is_watcher());
        let mut watchers: Vec<UnixStream> = watchers.into_iter().map(|client| client.stream).collect();
        let began = (|| {
            let (networks, mut spec) = (self.places.networks(), self.spec.clone());
            let usage = |text| CliError::Usage(format!("failed to set up container networking: {text}"));
            let wanted = self.settings.network().map_err(|failure| usage(failure.message))?;
            let wanted = (&wanted, self.host.names());
            let namespaces = self.host.namespaces().map_err(|failure| CliError::Usage(failure.message))?;
            let neighbours = Neighbours::join(self.containers, &namespaces, id, &mut spec)?;
            let place = Place::make(&networks, self.containers, self.record, wanted, &mut spec)
                .map_err(|error| usage(error.to_string()))?;
            let mut streams = Streams::new(&config, self.record.tty).map_err(failed("streams"))?;
            let kept = streams.put_in_place().map_err(failed("streams"))?;
            let input = run::supervisor::Streams { stdin: config.open_stdin };
            let running = run::supervisor::start(self.containers, self.record, &spec, (input, &neighbours));
            Ok::<_, CliError>((running, kept, streams, place))
        })();
        let (running, kept, streams, mut place) = match began {
            Ok((Ok(running), kept, streams, place)) => (running, kept, streams, place),
            Ok((Err(error), kept, ..)) => {
                drop(kept);
                return self.did_not_start(error.status(), &error.to_string(), watchers);
            }
            Err(error) => return self.did_not_start(128, &error.to_string(), watchers),
        };
        // A terminal is copied to and from our own streams until the end; pipes are the container's alone.
        let mut kept = Some(kept);
        if !self.record.tty {
            drop(kept.take());
        }
        for watcher in &mut watchers {
            let _ = watcher.write_all(&frame::encode(frame::STARTED, b""));
        }
        inspect::tell_by(&self.events, self.record, "start", &[]);
        let log =
            Log::open(&self.containers.dir(id), self.record, &self.host.log_config).map_err(failed("log"))?;
        let listener = listener.try_clone().map_err(failed("attach.sock"))?;
        let keeper = Keeper { listener, clients, watchers, streams, log, once: config.stdin_once };
        let (tell_end, end) = tokio::sync::oneshot::channel();
        let keeping = std::thread::Builder::new().name("keeper".to_owned()).spawn(|| keeper.keep(end));
        let keeping = keeping.map_err(failed("keeper"))?;
        self.count_restarts()?;
        place.serve(&self.places.networks(), self.containers, id);
        let health = health::watch(self.places, &self.events, self.record, config.healthcheck.as_ref());
        let status = running.wait(self.containers)?;
        self.count_restarts()?;
        drop((kept, health));
        let _ = tell_end.send(());
        let watchers = keeping.join().unwrap_or_default();
        place.leave(&self.places.networks(), self.containers, id);
        let code = status.to_string();
        inspect::tell_by(&self.events, self.record, "die", &[("exitCode", &code)]);
        for mut watcher in watchers {
            let _ = watcher.set_write_timeout(Some(Duration::from_secs(1)));
            let _ = watcher.write_all(&frame::encode(frame::EXITED, code.as_bytes()));
        }
        Ok(status)
    }

    fn did_not_start(&self, status: u8, text: &str, watchers: Vec<UnixStream>) -> Result<i32, CliError> {
        let containers = self.containers;
        let _ = self.places.networks().disconnect(&self.record.id, &self.places.alive());
        let state = crate::state::State {
            exit_code: Some(i32::from(status)),
            finished: Some(now()),
            error: text.to_owned(),
            ..Default::default()
        };
        containers.set_state(&self.record.id, &state)?;
        let mut told = vec![status];
        told.extend(text.as_bytes());
        for mut watcher in watchers {
            let _ = watcher.write_all(&frame::encode(frame::FAILED, &told));
            let _ = watcher.write_all(&frame::encode(frame::EXITED, status.to_string().as_bytes()));
        }
        // The first start is the user's, who hears of it; later ones are ours.
        if self.restarts == 0 {
            return Err(RunError::Start { status, text: text.to_owned() }.into());
        }
        Ok(i32::from(status))
    }

    fn count_restarts(&self) -> Result<(), CliError> {
        if self.restarts > 0 {
            let state = self.containers.find(&self.record.id)?.state;
            let state = crate::state::State { restarts: self.restarts, ..state };
            self.containers.set_state(&self.record.id, &state)?;
        }
        Ok(())
    }

    fn reread(&mut self) -> Result<(), CliError> {
        self.spec = run::supervisor::configuration(self.containers, &self.record.id)?;
        self.settings = Settings::of(self.containers, self.record);
        self.host = self.settings.typed().1;
        Ok(())
    }

    fn is_to_restart(&self, status: i32) -> bool {
        let host = Settings::of(self.containers, self.record).typed().1;
        let policy = &host.restart_policy;
        let most = policy.maximum_retry_count;
        !self.containers.end_wanted(&self.record.id).exists()
            && match policy.name.as_str() {
                "always" | "unless-stopped" => true,
                "on-failure" => status != 0 && (most == 0 || self.restarts < most),
                _ => false,
            }
    }

    /// Waits before the next start; false if it is not wanted any more.
    fn pause(&self, length: Duration, status: i32) -> Result<bool, CliError> {
        let id = &self.record.id;
        let state = crate::state::State {
            exit_code: Some(status),
            finished: Some(now()),
            restarting: true,
            restarts: self.restarts + 1,
            ..Default::default()
        };
        self.containers.set_state(id, &state)?;
        let begin = Instant::now();
        while begin.elapsed() < length {
            if self.containers.end_wanted(id).exists() {
                self.containers.set_state(id, &crate::state::State { restarting: false, ..state })?;
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(true)
    }

    /// What is left to do after the last end.
    fn leave(&self, owner: &Owner) -> Result<(), CliError> {
        let _ = fs::remove_file(socket(self.containers, &self.record.id));
        if self.record.auto_remove {
            super::volumes::remove_anonymous(self.places, &self.settings.anonymous);
            self.containers.remove_owned(&self.record.id, owner)?;
            inspect::tell_by(&self.events, self.record, "destroy", &[]);
        }
        Ok(())
    }
}
