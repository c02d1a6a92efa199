//! `dockerd`: the Docker Engine API on a socket, for the stock `docker` command.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::Places;
use crate::api::archive::view;
use crate::api::{Api, serve, supervisor};

/// Serve the Docker Engine API; containers do not depend on it
#[derive(Debug, Parser)]
#[command(name = "dockerd", version, disable_help_subcommand = true)]
struct Dockerd {
    #[command(flatten)]
    places: Places,
    /// A socket beside those that were handed over: unix:///PATH, tcp://ADDRESS:PORT
    #[arg(short = 'H', long, value_name = "SOCKET")]
    host: Vec<String>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What the server starts beside itself.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Look after a container from its start to its end
    #[command(hide = true)]
    Supervise {
        /// Its ID
        container: String,
    },
    /// Mount a container's root directory for as long as somebody listens
    #[command(hide = true)]
    View {
        /// Its ID
        container: String,
    },
    /// What `docker` does, in this program
    #[command(hide = true)]
    Client {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// The applet.
#[must_use]
pub fn dockerd(args: Vec<OsString>) -> ExitCode {
    let Dockerd { places, host, verb } = match Dockerd::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    match verb {
        Some(Verb::Client { arguments }) => {
            let mut all: Vec<OsString> = vec!["docker".into(), "--store".into(), places.store.into()];
            all.extend(["--state".into(), places.state.into()]);
            all.extend(arguments);
            super::docker::docker(all)
        }
        Some(Verb::View { container }) => match view::hold(&places, &container) {
            Ok(status) => ExitCode::from(status),
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(125)
            }
        },
        Some(Verb::Supervise { container }) => match supervisor::supervise(&places, &container) {
            Ok(status) => ExitCode::from(status),
            Err(error) => {
                eprintln!("dockerd: container {container}: {error}");
                ExitCode::from(125)
            }
        },
        None => {
            // What one before us left half made when it was killed.
            if let Err(error) = places.containers().clear() {
                eprintln!("dockerd: {error}");
            }
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(64).build();
            let served = match runtime {
                Ok(runtime) => {
                    runtime.block_on(serve(Api::new(places), &host)).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            match served {
                // Whoever waits in a thread has no answer to give any more.
                Ok(()) => std::process::exit(0),
                Err(error) => {
                    eprintln!("dockerd: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Dockerd::command().debug_assert();
    }
}
