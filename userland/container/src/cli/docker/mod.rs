//! `docker`, for people and units that type it: Docker's verbs, options, output and exit statuses.
//!
//! There is no daemon behind it. A foreground `docker run` is the parent of its container; `docker run -d`
//! leaves a parent of its own behind.

mod commit;
mod exec;
mod flags;
mod gc;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod load;
mod login;
mod logs;
mod network;
mod ps;
mod pull;
mod push;
mod rm;
mod rmi;
mod run;
mod save;
pub(crate) mod signal;
mod tag;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use super::{CliError, Places};
pub(crate) use run::run_to_end;

/// Run containers, without a daemon: a container is a child of the command that started it, and so
/// belongs to the unit that ran this command.
#[derive(Debug, Parser)]
#[command(name = "docker", version, disable_help_subcommand = true)]
struct Docker {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(Box<run::Run>),
    Exec(exec::Exec),
    Ps(ps::Ps),
    Pull(pull::Pull),
    Push(push::Push),
    Tag(tag::Tag),
    History(history::History),
    Image(image::Group),
    Images(images::Images),
    Stop(signal::Stop),
    Kill(signal::Kill),
    Wait(signal::Wait),
    Rm(rm::Rm),
    Rmi(rmi::Rmi),
    Load(load::Load),
    Save(save::Save),
    Import(import::Import),
    Commit(commit::Commit),
    Logs(logs::Logs),
    Inspect(inspect::Inspect),
    Network(network::Network),
    Login(login::Login),
    Logout(login::Logout),
    Info(info::Info),
    Version(info::Version),
    Gc(gc::Gc),
    /// Not here: build images elsewhere and push them to a registry.
    #[command(hide = true)]
    Build {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _rest: Vec<String>,
    },
}

/// The applet.
#[must_use]
pub fn docker(args: Vec<OsString>) -> ExitCode {
    let words = match flags::plain(Docker::command(), args) {
        Ok(words) => words,
        Err(text) => {
            eprintln!("{text}\nSee 'docker --help'.");
            return ExitCode::from(125);
        }
    };
    let parsed = match Docker::try_parse_from(words) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 125 } else { 0 });
        }
    };
    let places = &parsed.places;
    // The statuses below are the container's own there.
    let failure = if matches!(parsed.verb, Verb::Run(_)) { 125 } else { 1 };
    let done = match parsed.verb {
        Verb::Run(verb) => verb.run(places),
        Verb::Exec(verb) => verb.run(places),
        Verb::Ps(verb) => verb.run(places),
        Verb::Pull(verb) => verb.run(places),
        Verb::Push(verb) => verb.run(places),
        Verb::Tag(verb) => verb.run(places),
        Verb::History(verb) => verb.run(places),
        Verb::Image(verb) => verb.run(places),
        Verb::Images(verb) => verb.run(places),
        Verb::Stop(verb) => verb.run(places),
        Verb::Kill(verb) => verb.run(places),
        Verb::Wait(verb) => verb.run(places),
        Verb::Rm(verb) => verb.run(places),
        Verb::Rmi(verb) => verb.run(places),
        Verb::Load(verb) => verb.run(places),
        Verb::Save(verb) => verb.run(places),
        Verb::Import(verb) => verb.run(places),
        Verb::Commit(verb) => verb.run(places),
        Verb::Logs(verb) => verb.run(places),
        Verb::Inspect(verb) => verb.run(places),
        Verb::Network(verb) => verb.run(places),
        Verb::Login(verb) => verb.run(),
        Verb::Logout(verb) => verb.run(),
        Verb::Info(verb) => verb.run(places),
        Verb::Version(verb) => verb.run(places),
        Verb::Gc(verb) => verb.run(places),
        Verb::Build { .. } => Err(CliError::Usage(
            "docker build: Corten runs images and does not build them; build with buildah or docker on another \
             machine and push to a registry, or carry an archive over with `docker load`"
                .to_owned(),
        )),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(CliError::Run(error)) => {
            eprintln!("docker: {error}");
            ExitCode::from(error.status())
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(failure)
        }
    }
}

/// Does the same to each, tells each failure, and ends with 1 if there was one.
fn each(names: &[String], mut act: impl FnMut(&str) -> Result<(), CliError>) -> u8 {
    let mut status = 0;
    for name in names {
        if let Err(error) = act(name) {
            eprintln!("Error response: {error}");
            status = 1;
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Docker::command().debug_assert();
    }
}
