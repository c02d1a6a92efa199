//! `rkt`, for people and units that know it: the service manager is the parent, there is no daemon.
//!
//! Images are Docker's and OCI's by `docker://` references, and App Container Images in files. Whether an image
//! of a registry may be taken is the signature policy's word ([`crate::policy`]); an App Container Image needs a
//! signature by a key that [`trust`] knows, unless `--insecure-options=image` says otherwise.

mod image;
mod pod;
mod trust;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{CliError, Places, show};

/// Run application containers, without a daemon.
#[derive(Debug, Parser)]
#[command(name = "rkt", version, disable_help_subcommand = true)]
struct Rkt {
    #[command(flatten)]
    places: Places,
    /// image: take App Container Images without a signature. Others of rkt's words have no effect
    #[arg(long, global = true, value_name = "WHAT", value_delimiter = ',')]
    insecure_options: Vec<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Fetch images into the store and print their IDs
    Fetch {
        /// docker://[HOST[:PORT]/]NAME[:TAG], or FILE.aci
        #[arg(required = true)]
        image: Vec<String>,
    },
    /// Run a pod of one app
    Run {
        #[command(flatten)]
        app: pod::App,
        /// Pass standard input on
        #[arg(long)]
        interactive: bool,
    },
    /// Make a pod that run-prepared runs, and print its UUID
    Prepare {
        #[command(flatten)]
        app: pod::App,
    },
    /// Run a pod that was prepared
    RunPrepared {
        /// Pass standard input on
        #[arg(long)]
        interactive: bool,
        /// UUID, or its beginning
        uuid: String,
    },
    /// List pods
    List,
    /// Tell where a pod is in its life
    Status {
        /// Wait until it has exited
        #[arg(long)]
        wait: bool,
        /// UUID, or its beginning
        uuid: String,
    },
    /// Run a command in a running pod
    Enter {
        /// The app; there is one
        #[arg(long)]
        app: Option<String>,
        /// UUID, or its beginning
        uuid: String,
        /// The command; /bin/sh if none is given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Stop pods
    Stop {
        /// Kill them
        #[arg(long)]
        force: bool,
        /// UUIDs
        #[arg(required = true)]
        uuid: Vec<String>,
    },
    /// Remove pods that have exited
    Rm {
        /// Read a UUID from this file
        #[arg(long, value_name = "FILE")]
        uuid_file: Option<PathBuf>,
        /// UUIDs
        uuid: Vec<String>,
    },
    /// Remove pods that exited a while ago
    Gc {
        /// How long ago, 30m if not said
        #[arg(long)]
        grace_period: Option<String>,
        /// And prepared ones that were never run for so long, 24h if not said
        #[arg(long)]
        expire_prepared: Option<String>,
        /// Only tell which
        #[arg(long)]
        mark_only: bool,
    },
    /// Work with images
    #[command(subcommand)]
    Image(image::Verb),
    /// Whose App Container Images are taken
    #[command(subcommand)]
    Trust(trust::Verb),
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
    let insecure = parsed.insecure_options.iter().any(|word| matches!(word.as_str(), "image" | "all"));
    let done = match parsed.verb {
        Verb::Fetch { image } => fetch(places, &image, insecure),
        Verb::Run { app, interactive } => pod::run(places, &app, interactive, insecure),
        Verb::Prepare { app } => pod::prepare(places, &app, insecure),
        Verb::RunPrepared { interactive, uuid } => pod::run_prepared(places, &uuid, interactive),
        Verb::List => pod::list(places),
        Verb::Status { wait, uuid } => pod::status(places, &uuid, wait),
        Verb::Enter { app: _, uuid, command } => pod::enter(places, &uuid, &command),
        Verb::Stop { force, uuid } => pod::stop(places, &uuid, force),
        Verb::Rm { uuid_file, uuid } => pod::remove(places, &uuid, uuid_file.as_deref()),
        Verb::Gc { grace_period, expire_prepared, mark_only } => {
            pod::gc(places, grace_period.as_deref(), expire_prepared.as_deref(), mark_only)
        }
        Verb::Image(verb) => verb.run(places),
        Verb::Trust(verb) => verb.run(),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(CliError::Run(error)) => {
            eprintln!("rkt: {error}");
            ExitCode::from(error.status())
        }
        Err(error) => {
            eprintln!("rkt: {error}");
            ExitCode::from(254)
        }
    }
}

fn fetch(places: &Places, images: &[String], insecure: bool) -> Result<u8, CliError> {
    let store = places.open_store()?;
    for name in images {
        show::line(&image::fetch(&store, name, insecure)?.id.replace(':', "-"));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Rkt::command().debug_assert();
    }
}
