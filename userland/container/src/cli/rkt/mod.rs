//! `rkt`, for people and units that know it: the service manager is the parent, images are Docker's.
//!
//! A first slice: `fetch`, `run` of one app, `list`, `rm`, `image list`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{CliError, Places, image_or_pull, pull_and_tell, show};
use crate::bundle::{Network, Options, spec};
use crate::reference::Reference;
use crate::run::guard;
use crate::run::supervisor::Streams;
use crate::state::{Record, Status, new_id, now};

/// Run application containers, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "rkt", version, disable_help_subcommand = true)]
struct Rkt {
    #[command(flatten)]
    places: Places,
    /// Accept images without signatures from these sources (docker images have none)
    #[arg(long, global = true, value_name = "WHAT")]
    insecure_options: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Fetch images into the store and print their IDs
    Fetch {
        /// docker://[HOST[:PORT]/]NAME[:TAG]
        #[arg(required = true)]
        image: Vec<String>,
    },
    /// Run an app
    Run {
        /// none or host; default: a network of its own
        #[arg(long, alias = "net")]
        network: Option<String>,
        /// Pass standard input on
        #[arg(long)]
        interactive: bool,
        /// Program in place of the image's
        #[arg(long, value_name = "PATH")]
        exec: Option<String>,
        /// docker://[HOST[:PORT]/]NAME[:TAG]
        image: String,
        /// Arguments of the app
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// List pods
    List,
    /// Remove pods that have exited
    Rm {
        /// UUIDs
        #[arg(required = true)]
        uuid: Vec<String>,
    },
    /// Work with images
    #[command(subcommand)]
    Image(ImageVerb),
}

#[derive(Debug, Subcommand)]
enum ImageVerb {
    /// List images
    List,
}

/// The applet.
#[must_use]
pub fn rkt(args: Vec<OsString>) -> ExitCode {
    let parsed = match Rkt::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 254 } else { 0 });
        }
    };
    let places = &parsed.places;
    let done = match parsed.verb {
        Verb::Fetch { image } => fetch(places, &image),
        Verb::Run { network, interactive, exec, image, args } => {
            run(places, network.as_deref(), interactive, exec, &image, args)
        }
        Verb::List => list(places),
        Verb::Rm { uuid } => remove(places, &uuid),
        Verb::Image(ImageVerb::List) => image_list(places),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("rkt: {error}");
            ExitCode::from(254)
        }
    }
}

/// The name behind `docker://`; ACIs come later.
fn docker_name(image: &str) -> Result<&str, CliError> {
    match image.split_once("://") {
        Some(("docker", name)) => Ok(name),
        None => Ok(image),
        Some((scheme, _)) => {
            Err(CliError::Usage(format!("{scheme}:// is not there yet; write docker://NAME")))
        }
    }
}

fn fetch(places: &Places, images: &[String]) -> Result<u8, CliError> {
    let store = places.open_store()?;
    for image in images {
        let reference: Reference = docker_name(image)?.parse()?;
        let pulled = pull_and_tell(&store, &reference, true)?;
        show::line(&pulled.image.id.replace(':', "-"));
    }
    Ok(0)
}

fn run(
    places: &Places,
    network: Option<&str>,
    interactive: bool,
    exec: Option<String>,
    image: &str,
    args: Vec<String>,
) -> Result<u8, CliError> {
    let network = match network {
        None | Some("default") => Network::Bridge,
        Some("none") => Network::None,
        Some("host") => Network::Host,
        Some(other) => {
            return Err(CliError::Usage(format!("--net={other}: there are none, host and default")));
        }
    };
    guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
    let (store, containers) = (places.open_store()?, places.containers());
    let name = docker_name(image)?;
    let image = image_or_pull(&store, name)?;
    let config = store.config(&image)?;
    let options = Options { command: args, entrypoint: exec, network, ..Options::default() };
    let id = new_id()?;
    let spec = spec(&config, &options, &id)?;
    let record = Record {
        id,
        name: String::new(),
        image: name.to_owned(),
        image_id: image.id.clone(),
        layers: store.layers(&config)?,
        command: spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default(),
        created: now(),
        tty: false,
        init: false,
        auto_remove: false,
        stop_signal: config.defaults().stop_signal,
        network: network.word().to_owned(),
        labels: std::collections::BTreeMap::new(),
    };
    let (record, owner) = containers.create(&store, record, &spec)?;
    // From here on the record keeps the layers; others may clear the store.
    drop(store);
    let streams = Streams { stdin: interactive };
    Ok(super::docker::run_to_end(&containers, &record, &spec, streams, &owner)?)
}

fn list(places: &Places) -> Result<u8, CliError> {
    let heads = ["UUID", "APP", "IMAGE NAME", "STATE", "CREATED", "STARTED", "NETWORKS"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for container in places.containers().list()? {
        let record = &container.record;
        let ago = |time: u64| format!("{} ago", show::span(now().saturating_sub(time)));
        let state = if container.status == Status::Created { "prepared" } else { container.status.word() };
        let app = record.image.rsplit('/').next().unwrap_or_default().split(':').next().unwrap_or_default();
        rows.push(vec![
            record.id.get(..8).unwrap_or(&record.id).to_owned(),
            app.to_owned(),
            record.image.clone(),
            state.to_owned(),
            ago(record.created),
            container.state.started.map(ago).unwrap_or_default(),
            record.network.clone(),
        ]);
    }
    show::table(&rows);
    Ok(0)
}

fn remove(places: &Places, uuids: &[String]) -> Result<u8, CliError> {
    let containers = places.containers();
    for uuid in uuids {
        containers.remove(&containers.find(uuid)?)?;
        show::line(&format!("{uuid:?}"));
    }
    Ok(0)
}

fn image_list(places: &Places) -> Result<u8, CliError> {
    let mut rows = vec![["ID", "NAME", "SIZE"].map(str::to_owned).to_vec()];
    for image in places.open_store()?.images()? {
        rows.push(vec![
            format!("sha256-{}", image.short_id()),
            image.reference.clone(),
            show::size(image.size),
        ]);
    }
    show::table(&rows);
    Ok(0)
}
