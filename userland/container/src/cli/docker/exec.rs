//! `docker exec`: one more process in a running container.

use super::super::{CliError, Places};
use crate::run::{self, guard};
use crate::state::{StateError, Status};

/// Run a command in a running container
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory
    #[arg(short, long)]
    workdir: Option<String>,
    /// User and group, as names of the image or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Name or ID
    container: String,
    /// The command
    #[arg(required = true, trailing_var_arg = true)]
    command: Vec<String>,
}

impl Exec {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
        let containers = places.containers();
        let container = containers.find(&self.container)?;
        let stopped = || StateError::NotRunning(container.record.short_id().to_owned());
        if container.status != Status::Running {
            return Err(stopped().into());
        }
        let target = container.state.process().zip(container.state.pid).ok_or_else(stopped)?;
        let spec = run::supervisor::configuration(&containers, &container.record.id)?;
        let mut process = spec.process().clone().ok_or(run::RunError::NoProcess)?;
        process.set_args(Some(self.command)).set_terminal(Some(self.tty));
        let mut env = process.env().clone().unwrap_or_default();
        for entry in self.env {
            let name = entry.split('=').next().unwrap_or_default().to_owned() + "=";
            env.retain(|other| !other.starts_with(&name));
            env.push(entry);
        }
        process.set_env(Some(env));
        if let Some(workdir) = self.workdir {
            process.set_cwd(workdir.into());
        }
        if let Some(user) = self.user {
            let mut as_user = process.user().clone();
            as_user.set_username(Some(user));
            process.set_user(as_user);
        }
        Ok(u8::try_from(run::exec::run(target, &spec, &process, self.interactive)?).unwrap_or(255))
    }
}
