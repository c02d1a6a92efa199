//! The life of a container that this command is the parent of: its place on networks, its program, its end.

use std::io;

use linux::namespace::{Namespaces, fork_into};
use oci_spec::runtime::Spec;

use crate::api::Api;
use crate::api::create::Made;
use crate::api::supervisor::health;
use crate::api::{inspect, volumes};
use crate::cli::{CliError, show};
use crate::network::place::Place;
use crate::run::RunError;
use crate::run::channel::{Message, pair};
use crate::run::neighbour::Neighbours;
use crate::run::supervisor::{Streams, start};
use crate::state::{Containers, Owner, Record, State, UNSTARTED, now};

/// Runs a container to its end. `started` is called when its program runs.
pub(super) fn live(api: &Api, made: &Made, streams: Streams, started: impl FnOnce()) -> Result<u8, CliError> {
    let (containers, networks) = (api.containers(), api.networks());
    let record = &made.record;
    let (config, host) = made.settings.typed();
    let _ = std::fs::remove_file(containers.dir(&record.id).join(UNSTARTED));
    let mut spec = made.spec.clone();
    let wanted = made.settings.network().map_err(|failure| CliError::Usage(failure.message))?;
    let namespaces = host.namespaces().map_err(|failure| CliError::Usage(failure.message))?;
    let neighbours = Neighbours::join(&containers, &namespaces, &record.id, &mut spec);
    let placed = Place::make(&networks, &containers, record, (&wanted, host.names()), &mut spec);
    let ended = match placed {
        Err(error) => {
            let text = format!("failed to set up container networking: {error}");
            Err(RunError::Start { status: 125, text })
        }
        Ok(mut place) => {
            let mut health = None;
            let running =
                neighbours.and_then(|neighbours| start(&containers, record, &spec, (streams, &neighbours)));
            let ended = running.and_then(|running| {
                place.serve(&networks, &containers, &record.id);
                health = health::watch(&api.places, &api.events, record, config.healthcheck.as_ref());
                inspect::tell(api, record, "start", &[]);
                started();
                running.wait(&containers)
            });
            drop(health);
            place.leave(&networks, &containers, &record.id);
            ended
        }
    };
    if let Ok(status) = &ended {
        inspect::tell(api, record, "die", &[("exitCode", &status.to_string())]);
    }
    let status = finish(&containers, record, &made.owner, ended)?;
    if record.auto_remove {
        volumes::remove_anonymous(&api.places, &made.settings.anonymous);
        inspect::tell(api, record, "destroy", &[]);
    }
    Ok(status)
}

/// Runs a container that is on no network of ours to its end.
pub(crate) fn run_to_end(
    containers: &Containers,
    record: &Record,
    spec: &Spec,
    streams: Streams,
    owner: &Owner,
) -> Result<u8, RunError> {
    let ended = start(containers, record, spec, (streams, &Neighbours::default()))
        .and_then(|running| running.wait(containers));
    finish(containers, record, owner, ended)
}

/// Writes down how it ended, and removes what is to be removed then.
fn finish(
    containers: &Containers,
    record: &Record,
    owner: &Owner,
    ended: Result<i32, RunError>,
) -> Result<u8, RunError> {
    if let Err(error) = &ended {
        let state = State {
            exit_code: Some(i32::from(error.status())),
            finished: Some(now()),
            error: error.to_string(),
            ..Default::default()
        };
        containers.set_state(&record.id, &state)?;
    }
    if record.auto_remove {
        containers.remove_owned(&record.id, owner)?;
    }
    Ok(u8::try_from(ended?).unwrap_or(255))
}

/// Leaves a parent for the container behind, and returns when its program runs.
pub(super) fn detach(api: &Api, made: Made) -> Result<u8, CliError> {
    let failed = |error| CliError::Io("detach", error);
    let (ours, theirs) = pair().map_err(failed)?;
    let id = made.record.id.clone();
    fork_into(Namespaces::NONE, None, || {
        let prepared =
            rustix::process::setsid().map_err(io::Error::from).and_then(|_| to_journal(&made.record.name));
        if let Err(error) = prepared {
            theirs.send_failure(125, &error.to_string());
            return 125;
        }
        let tell = std::cell::Cell::new(Some(theirs));
        let ended = live(api, &made, Streams::default(), || drop(tell.take()));
        let (status, text) = match &ended {
            Ok(status) => return i32::from(*status),
            Err(CliError::Run(error)) => (error.status(), error.to_string()),
            Err(error) => (125, error.to_string()),
        };
        match tell.take() {
            Some(theirs) => theirs.send_failure(status, &text),
            None => eprintln!("docker: {text}"),
        }
        i32::from(status)
    })
    .map_err(failed)?;
    match ours.receive().map_err(failed)? {
        Message::Failed(status, text) => Err(RunError::Start { status, text }.into()),
        _ => {
            show::line(&id);
            Ok(0)
        }
    }
}

/// Connects our output to the journal under this name, or to nothing where there is no journal.
fn to_journal(name: &str) -> io::Result<()> {
    use std::io::Write;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    match std::os::unix::net::UnixStream::connect("/run/systemd/journal/stdout") {
        Ok(mut journal) => {
            // Identifier, unit, priority (info), then: no level prefixes, nowhere else.
            journal.write_all(format!("{name}\n\n6\n0\n0\n0\n0\n").as_bytes())?;
            rustix::stdio::dup2_stdout(&journal)?;
            rustix::stdio::dup2_stderr(&journal)?;
        }
        Err(_) => {
            rustix::stdio::dup2_stdout(&null)?;
            rustix::stdio::dup2_stderr(&null)?;
        }
    }
    Ok(())
}
