//! `runc`: the OCI runtime as other people's engines drive it, podman's and containerd's; runc's verbs, options and
//! output. A container is a bundle's, and belongs to nobody once it is created.
//!
//! Source: OCI runtime specification 1.2 "Runtime and Lifecycle", runc's manual pages.

mod containers;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod pause;
mod ps;
mod run;
mod spec;
mod start;
mod state;
mod timestamp;
mod update;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use crate::run::RunError;
use containers::Containers;

/// Run containers from OCI bundles
#[derive(Debug, Parser)]
#[command(name = "runc", disable_version_flag = true, disable_help_subcommand = true)]
struct Runc {
    /// Keep the state of containers in this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Write errors to this file, too
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// text or json
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    /// Tell more
    #[arg(long)]
    debug: bool,
    /// Take cgroupsPath as SLICE:PREFIX:NAME
    #[arg(long)]
    systemd_cgroup: bool,
    /// Ignore that cgroups cannot be made: true, false or auto
    #[arg(long, default_value = "auto")]
    rootless: String,
    /// Not here
    #[arg(long, hide = true)]
    criu: Option<String>,
    /// Print the version
    #[arg(short, long, action = ArgAction::SetTrue)]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Create),
    Delete(delete::Delete),
    Events(events::Events),
    Exec(exec::Exec),
    Features(features::Features),
    Kill(kill::Kill),
    List(list::List),
    Pause(pause::Pause),
    Ps(ps::Ps),
    Resume(pause::Resume),
    Run(run::Run),
    Spec(spec::Spec),
    Start(start::Start),
    State(state::State),
    Update(update::Update),
}

/// Why a verb did not do it.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// The caller's doing.
    #[error("{0}")]
    Usage(String),
    /// No such container.
    #[error("container {0:?} does not exist")]
    Missing(String),
    /// It is in another state than the verb needs.
    #[error("container {id:?} is {is}, and must be {wanted} for that")]
    State { id: String, is: &'static str, wanted: &'static str },
    /// The configuration.
    #[error("{path}: {source}")]
    Config { path: PathBuf, source: serde_json::Error },
    /// Making or running it.
    #[error("{0}")]
    Run(#[from] RunError),
    /// The machine.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

fn during<T>(what: impl Into<String>, result: Result<T, impl Into<io::Error>>) -> Result<T, Error> {
    result.map_err(|error| Error::Io(what.into(), error.into()))
}

/// What all verbs know.
#[derive(Debug)]
struct World {
    containers: Containers,
    systemd: bool,
    rootless: bool,
    debug: bool,
}

/// The applet.
#[must_use]
pub fn runc(args: Vec<OsString>) -> ExitCode {
    let parsed = match Runc::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let log = log::Log { file: parsed.log.clone(), json: parsed.log_format == "json" };
    if parsed.version {
        println!("runc version {}", env!("CARGO_PKG_VERSION"));
        println!("spec: {}", crate::run::hooks::VERSION);
        return ExitCode::SUCCESS;
    }
    let Some(verb) = parsed.verb else {
        let _ = <Runc as clap::CommandFactory>::command().print_help();
        return ExitCode::SUCCESS;
    };
    let root = parsed.root.unwrap_or_else(default_root);
    let rootless = match parsed.rootless.as_str() {
        "true" => true,
        "false" => false,
        _ => !rustix::process::geteuid().is_root(),
    };
    let (systemd, debug) = (parsed.systemd_cgroup, parsed.debug);
    let world = World { containers: Containers::new(root), systemd, rootless, debug };
    match verb.run(&world) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            log.error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Root's is one for the machine; others have their own.
fn default_root() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root());
    own.map_or_else(|| "/run".into(), PathBuf::from).join("runc")
}

impl Verb {
    fn run(self, world: &World) -> Result<u8, Error> {
        match self {
            Self::Create(verb) => verb.run(world),
            Self::Delete(verb) => verb.run(world),
            Self::Events(verb) => verb.run(world),
            Self::Exec(verb) => verb.run(world),
            Self::Features(verb) => verb.run(),
            Self::Kill(verb) => verb.run(world),
            Self::List(verb) => verb.run(world),
            Self::Pause(verb) => verb.run(world),
            Self::Ps(verb) => verb.run(world),
            Self::Resume(verb) => verb.run(world),
            Self::Run(verb) => verb.run(world),
            Self::Spec(verb) => verb.run(),
            Self::Start(verb) => verb.run(world),
            Self::State(verb) => verb.run(world),
            Self::Update(verb) => verb.run(world),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Runc::command().debug_assert();
    }
}
