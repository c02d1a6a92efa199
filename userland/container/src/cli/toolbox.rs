//! `toolbox`: a container with the tools that the machine does not have, and the machine within it.
//!
//! As CoreOS's: all capabilities; the machine's network, processes and IPC; the machine's files at `/media/root`.
//! What is changed in it stays: it is a container of the store called `toolbox-USER-IMAGE-TAG`, which is made
//! once and started again. While one runs, the next joins it. It serves as a login shell, with `-c`.
//!
//! Settings are lines `NAME=VALUE` of `/etc/default/toolbox`, then of `~/.toolboxrc`: `TOOLBOX_DOCKER_IMAGE`,
//! `TOOLBOX_DOCKER_TAG`, `TOOLBOX_USER` and `TOOLBOX_BIND`, which has options `--bind=SOURCE[:TARGET]` and
//! `--bind-ro=…`. They are text: nothing in them is executed or expanded.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::docker::run_to_end;
use super::{CliError, Places, image_or_pull};
use crate::bundle::{Network, Options, Volume, spec};
use crate::run::supervisor::{Streams, configuration};
use crate::run::{self, guard};
use crate::state::{Container, Record, StateError, Status, new_id};

const SYSTEM: &str = "/etc/default/toolbox";
const OWN: &str = ".toolboxrc";
const BINDS: &str = "--bind=/:/media/root";

/// Enter a container that has the tools, with the machine at /media/root
#[derive(Debug, Parser)]
#[command(name = "toolbox", version)]
struct Toolbox {
    #[command(flatten)]
    places: Places,
    /// A command in place of a shell; beginning with -c for /bin/sh
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Which container it is.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    image: String,
    tag: String,
    user: String,
    binds: Vec<Volume>,
}

/// The applet.
#[must_use]
pub fn toolbox(args: Vec<OsString>) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        return as_root(&args);
    }
    let parsed = match Toolbox::try_parse_from(args) {
        Ok(parsed) => parsed,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match parsed.run() {
        Ok(status) => ExitCode::from(status),
        Err(CliError::Run(error)) => {
            eprintln!("toolbox: {error}");
            ExitCode::from(error.status())
        }
        Err(error) => {
            eprintln!("toolbox: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The same once more through sudo, for the same user.
fn as_root(args: &[OsString]) -> ExitCode {
    let mut sudo = Command::new("sudo");
    sudo.arg("env");
    for name in ["USER", "HOME"] {
        if let Ok(value) = std::env::var(name) {
            sudo.arg(format!("{name}={value}"));
        }
    }
    let error = sudo.arg("toolbox").args(args.iter().skip(1)).exec();
    eprintln!("toolbox: it needs root, and sudo cannot be executed: {error}");
    ExitCode::FAILURE
}

impl Settings {
    fn read(system: &Path, own: &Path) -> Result<Self, CliError> {
        let mut all = BTreeMap::new();
        for path in [system, own] {
            match std::fs::read_to_string(path) {
                Ok(text) => assignments(&text, &mut all),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(CliError::Usage(format!("{}: {error}", path.display()))),
            }
        }
        let mut take = |name: &str, usual: &str| {
            all.remove(name).filter(|value| !value.is_empty()).unwrap_or_else(|| usual.to_owned())
        };
        Ok(Self {
            image: take("TOOLBOX_DOCKER_IMAGE", "fedora"),
            tag: take("TOOLBOX_DOCKER_TAG", "latest"),
            user: take("TOOLBOX_USER", "root"),
            binds: binds(&take("TOOLBOX_BIND", BINDS))?,
        })
    }

    /// The container's name; what may not stand in one becomes a dash, as in the paths of CoreOS's.
    fn name(&self, user: &str) -> String {
        let name = format!("toolbox-{user}-{}-{}", self.image, self.tag);
        name.chars()
            .map(|char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' })
            .collect()
    }
}

fn assignments(text: &str, all: &mut BTreeMap<String, String>) {
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let Some((name, value)) = line.split_once('=') else { continue };
        let value = value.trim();
        let quoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.split_once(*quote).map(|(inner, _)| inner));
        let bare = || value.split_whitespace().next().unwrap_or_default();
        all.insert(name.to_owned(), quoted.unwrap_or_else(bare).to_owned());
    }
}

fn binds(text: &str) -> Result<Vec<Volume>, CliError> {
    let mut binds = Vec::new();
    for word in text.split_whitespace() {
        let (read_only, paths) = match (word.strip_prefix("--bind="), word.strip_prefix("--bind-ro=")) {
            (Some(paths), _) => (false, paths),
            (None, Some(paths)) => (true, paths),
            (None, None) => {
                return Err(CliError::Usage(format!("TOOLBOX_BIND: {word:?} is not --bind=SOURCE[:TARGET]")));
            }
        };
        let mut parts = paths.split(':');
        let source = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or(source);
        binds.push(Volume { source: source.into(), target: target.into(), read_only });
    }
    Ok(binds)
}

impl Toolbox {
    fn run(self) -> Result<u8, CliError> {
        guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
        let settings = Settings::read(Path::new(SYSTEM), &home.join(OWN))?;
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let name = settings.name(&user);
        let containers = self.places.containers();
        let command = match self.command.first().map(String::as_str) {
            Some("-c") => [vec!["/bin/sh".to_owned()], self.command.clone()].concat(),
            _ => self.command.clone(),
        };
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        // Twice: between the look and the start another may have begun, whom we then join.
        for _ in 0..2 {
            match containers.find(&name) {
                Ok(running) if running.status == Status::Running => {
                    return join(&self.places, &running, command, terminal);
                }
                Ok(_) => {}
                Err(StateError::Missing(_)) => match self.make(&settings, &name) {
                    Err(CliError::State(StateError::NameTaken { .. })) => continue,
                    other => other?,
                },
                Err(error) => return Err(error.into()),
            }
            let record = containers.find(&name)?.record;
            let owner = match containers.own(&record.id) {
                Err(StateError::Running(_)) => {
                    std::thread::sleep(std::time::Duration::from_millis(500));
                    continue;
                }
                other => other?,
            };
            let mut spec = configuration(&containers, &record.id)?;
            let mut process = spec.process().clone().ok_or(run::RunError::NoProcess)?;
            if !command.is_empty() {
                process.set_args(Some(command));
            }
            process.set_terminal(Some(terminal));
            spec.set_process(Some(process));
            let streams = Streams { stdin: true };
            return Ok(run_to_end(&containers, &record, &spec, streams, &owner)?);
        }
        Err(CliError::Usage(format!("{name} is being started by somebody else; try again")))
    }

    /// Makes the container, once.
    fn make(&self, settings: &Settings, name: &str) -> Result<(), CliError> {
        let store = self.places.open_store()?;
        let image = image_or_pull(&store, &format!("{}:{}", settings.image, settings.tag))?;
        let config = store.config(&image)?;
        let defaults = config.defaults();
        let idle = defaults.cmd.as_ref().is_none_or(Vec::is_empty);
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let options = Options {
            entrypoint: Some(String::new()),
            command: if idle { vec!["/bin/sh".to_owned()] } else { defaults.cmd.clone().unwrap_or_default() },
            user: Some(settings.user.clone()),
            workdir: Some("/".to_owned()),
            hostname: Some(hostname),
            volumes: settings.binds.clone(),
            network: Network::Host,
            privileged: true,
            ..Options::default()
        };
        let id = new_id()?;
        let spec = with_the_machines(spec(&config, &options, &id)?);
        let record = Record {
            name: name.to_owned(),
            network: options.network.word().to_owned(),
            ..Record::of_image(&store, &image, &config, id, &spec)?
        };
        self.places.containers().create(&store, record, &spec)?;
        Ok(())
    }
}

/// The processes and the IPC of the machine.
fn with_the_machines(mut spec: Spec) -> Spec {
    if let Some(mut linux) = spec.linux().clone() {
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        namespaces.retain(|one| !matches!(one.typ(), LinuxNamespaceType::Pid | LinuxNamespaceType::Ipc));
        linux.set_namespaces(Some(namespaces));
        spec.set_linux(Some(linux));
    }
    spec
}

fn join(places: &Places, running: &Container, command: Vec<String>, terminal: bool) -> Result<u8, CliError> {
    let target = running.state.process().zip(running.state.pid);
    let target = target.ok_or_else(|| StateError::NotRunning(running.record.short_id().to_owned()))?;
    let spec = configuration(&places.containers(), &running.record.id)?;
    let mut process = spec.process().clone().ok_or(run::RunError::NoProcess)?;
    if !command.is_empty() {
        process.set_args(Some(command));
    }
    process.set_terminal(Some(terminal));
    Ok(u8::try_from(run::exec::run(target, &spec, &process, true)?).unwrap_or(255))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_text_and_the_users_come_last() {
        let dir = tempfile::tempdir().unwrap();
        let (system, own) = (dir.path().join("system"), dir.path().join("own"));
        let usual = Settings::read(&system, &own).unwrap();
        assert_eq!(
            (usual.image.as_str(), usual.tag.as_str(), usual.user.as_str()),
            ("fedora", "latest", "root")
        );
        assert_eq!(usual.binds[0].target, Path::new("/media/root"));
        std::fs::write(&system, "TOOLBOX_DOCKER_IMAGE=debian\nTOOLBOX_DOCKER_TAG=$(date) # x\n").unwrap();
        let text = "# mine\nexport TOOLBOX_DOCKER_IMAGE=\"10.0.2.2:5000/my/tools\"\nTOOLBOX_USER='me'\n\
                    TOOLBOX_BIND=\"--bind=/srv --bind-ro=/etc:/media/etc\"\nrubbish\n";
        std::fs::write(&own, text).unwrap();
        let mine = Settings::read(&system, &own).unwrap();
        assert_eq!((mine.image.as_str(), mine.tag.as_str()), ("10.0.2.2:5000/my/tools", "$(date)"));
        assert_eq!((mine.user.as_str(), mine.binds.len(), mine.binds[1].read_only), ("me", 2, true));
        assert_eq!(mine.name("core"), "toolbox-core-10.0.2.2-5000-my-tools---date-");
        std::fs::write(&own, "TOOLBOX_BIND=--capability=all\n").unwrap();
        assert!(Settings::read(&system, &own).is_err());
    }
}
