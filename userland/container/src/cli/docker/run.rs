//! `docker run`: the image, the options, and then the program.

use std::io;
use std::path::PathBuf;

use linux::namespace::{Namespaces, fork_into};

use super::super::{CliError, Places, image_or_pull, show};
use crate::bundle::{Network, Options, Ulimit, Volume, spec};
use crate::run::channel::{Message, pair};
use crate::run::supervisor::{Streams, start};
use crate::run::{RunError, guard};
use crate::state::{Containers, Owner, Record, new_id, now};

/// Run a command in a new container
///
/// The container lives as long as this command, and this command as long as the container; its exit
/// status is the container's, or 125 if the container could not be made, 126 if the command could not be
/// executed, 127 if it is not there. In a unit, make it ExecStart= and let systemd restart it.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Run {
    /// Print this help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
    /// Leave the container running in the background and print its ID; its output goes to the journal
    #[arg(short, long)]
    detach: bool,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Name of the container
    #[arg(long)]
    name: Option<String>,
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Show a directory or file of the machine in the container: SOURCE:TARGET[:ro]
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    volume: Vec<String>,
    /// Mount a memory file system: PATH[:OPTIONS]
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    tmpfs: Vec<String>,
    /// Set a variable, or pass ours on
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables in these files
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Working directory
    #[arg(short, long)]
    workdir: Option<String>,
    /// User and group, as names of the image or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Host name
    #[arg(short = 'h', long)]
    hostname: Option<String>,
    /// Program in place of the image's
    #[arg(long)]
    entrypoint: Option<String>,
    /// none, host, or bridge (for now a network of its own with loopback only)
    #[arg(long, alias = "net", default_value = "bridge")]
    network: String,
    /// Most memory: bytes, or with k, m, g
    #[arg(short, long, value_parser = bytes)]
    memory: Option<i64>,
    /// Most processor time, as a number of processors
    #[arg(long)]
    cpus: Option<f64>,
    /// Most processes
    #[arg(long)]
    pids_limit: Option<i64>,
    /// Limit of each process: NAME=SOFT[:HARD]
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = ulimit)]
    ulimit: Vec<Ulimit>,
    /// Size of /dev/shm
    #[arg(long, value_parser = bytes)]
    shm_size: Option<i64>,
    /// Mount the root file system read-only
    #[arg(long)]
    read_only: bool,
    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
    /// Every capability, nothing masked, no filter of system calls: the container can do what root can
    #[arg(long)]
    privileged: bool,
    /// Let a small init start the command, pass signals on and reap
    #[arg(long)]
    init: bool,
    /// A label: NAME[=VALUE]
    #[arg(short, long)]
    label: Vec<String>,
    /// The signal with which `docker stop` begins
    #[arg(long)]
    stop_signal: Option<String>,
    /// Not possible yet
    #[arg(short, long, hide = true)]
    publish: Vec<String>,
    /// Not here
    #[arg(long, hide = true)]
    restart: Option<String>,
    /// Image, and a command in place of the image's
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "IMAGE [COMMAND] [ARG...]"
    )]
    image_and_command: Vec<String>,
}

impl Run {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let options = self.options()?;
        guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
        let store = places.open_store()?;
        let containers = places.containers();
        let name = self.image_and_command.first().map_or("", String::as_str);
        let image = image_or_pull(&store, name)?;
        let config = store.config(&image)?;
        let id = new_id()?;
        let spec = spec(&config, &options, &id)?;
        let defaults = config.defaults();
        let record = Record {
            id,
            name: self.name.clone().unwrap_or_default(),
            image: name.to_owned(),
            image_id: image.id.clone(),
            layers: store.layers(&config)?,
            command: spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default(),
            created: now(),
            tty: self.tty,
            init: self.init,
            auto_remove: self.rm,
            stop_signal: self.stop_signal.clone().or(defaults.stop_signal),
            network: options.network.word().to_owned(),
            labels: self.labels(defaults.labels.unwrap_or_default()),
        };
        let (record, owner) = containers.create(&store, record, &spec)?;
        // From here on the record keeps the layers; others may clear the store.
        drop(store);
        if self.detach {
            return detach(&containers, &record, &spec, owner);
        }
        let streams = Streams { stdin: self.interactive };
        Ok(run_to_end(&containers, &record, &spec, streams, &owner, || {})?)
    }

    fn options(&self) -> Result<Options, CliError> {
        if !self.publish.is_empty() {
            return Err(CliError::Usage(
                "-p: ports cannot be published yet; use --network host, where the program's ports are the machine's".to_owned(),
            ));
        }
        if self.restart.as_deref().is_some_and(|policy| policy != "no") {
            return Err(CliError::Usage(
                "--restart: put the container in a unit and set Restart= there".to_owned(),
            ));
        }
        if let Some(option) = self.image_and_command.first().filter(|first| first.starts_with('-')) {
            return Err(CliError::Usage(format!("unknown flag: {option}; see 'docker run --help'")));
        }
        if self.cpus.is_some_and(|cpus| !(0.01..=10_000.0).contains(&cpus)) {
            return Err(CliError::Usage("--cpus must be between 0.01 and 10000".to_owned()));
        }
        let network = match self.network.as_str() {
            "bridge" | "default" => Network::Bridge,
            "none" => Network::None,
            "host" => Network::Host,
            other => {
                return Err(CliError::Usage(format!("--network {other}: there are none, host and bridge")));
            }
        };
        let volumes: Result<Vec<_>, _> = self.volume.iter().map(|text| volume(text)).collect();
        let mut env = Vec::new();
        for file in &self.env_file {
            let text = std::fs::read_to_string(file)
                .map_err(|error| CliError::Usage(format!("--env-file {}: {error}", file.display())))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            env.extend(lines.map(str::to_owned));
        }
        env.extend(self.env.iter().cloned());
        Ok(Options {
            command: self.image_and_command.get(1..).unwrap_or_default().to_vec(),
            entrypoint: self.entrypoint.clone(),
            env,
            workdir: self.workdir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            volumes: volumes?,
            tmpfs: self.tmpfs.clone(),
            read_only: self.read_only,
            network,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            privileged: self.privileged,
            memory: self.memory,
            cpus: self.cpus,
            pids: self.pids_limit,
            ulimits: self.ulimit.clone(),
            tty: self.tty,
            shm_size: self.shm_size,
        })
    }

    fn labels(
        &self,
        mut labels: std::collections::BTreeMap<String, String>,
    ) -> std::collections::BTreeMap<String, String> {
        for label in &self.label {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            labels.insert(name.to_owned(), value.to_owned());
        }
        labels
    }
}

/// Runs a container that we own to its end. `started` is called when its program runs.
pub(crate) fn run_to_end(
    containers: &Containers,
    record: &Record,
    spec: &oci_spec::runtime::Spec,
    streams: Streams,
    owner: &Owner,
    started: impl FnOnce(),
) -> Result<u8, RunError> {
    let ended = start(containers, record, spec, streams).and_then(|running| {
        started();
        running.wait(containers)
    });
    if let Err(error) = &ended {
        let state = crate::state::State {
            exit_code: Some(i32::from(error.status())),
            finished: Some(now()),
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
fn detach(
    containers: &Containers,
    record: &Record,
    spec: &oci_spec::runtime::Spec,
    owner: Owner,
) -> Result<u8, CliError> {
    let failed = |error| CliError::Io("detach", error);
    let (ours, theirs) = pair().map_err(failed)?;
    fork_into(Namespaces::NONE, None, || {
        let prepared =
            rustix::process::setsid().map_err(io::Error::from).and_then(|_| to_journal(&record.name));
        if let Err(error) = prepared {
            theirs.send_failure(125, &error.to_string());
            return 125;
        }
        let tell = std::cell::Cell::new(Some(theirs));
        let ended = run_to_end(containers, record, spec, Streams::default(), &owner, || drop(tell.take()));
        match (ended, tell.take()) {
            (Ok(status), _) => i32::from(status),
            (Err(error), Some(theirs)) => {
                theirs.send_failure(error.status(), &error.to_string());
                i32::from(error.status())
            }
            (Err(error), None) => {
                eprintln!("docker: {error}");
                i32::from(error.status())
            }
        }
    })
    .map_err(failed)?;
    match ours.receive().map_err(failed)? {
        Message::Failed(status, text) => Err(RunError::Start { status, text }.into()),
        _ => {
            show::line(&record.id);
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

/// `SOURCE:TARGET[:OPTIONS]`
fn volume(text: &str) -> Result<Volume, CliError> {
    let bad = |why: &str| CliError::Usage(format!("-v {text}: {why}; write SOURCE:TARGET[:ro]"));
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        return Err(bad("volumes without a source are not there yet"));
    };
    if !source.starts_with('/') {
        return Err(bad("named volumes are not there yet: the source must be an absolute path"));
    }
    let mut read_only = false;
    for option in parts.next().unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // Labels for SELinux and modes of macOS mean nothing here.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" | "rprivate" => {}
            _ => return Err(bad("unknown option")),
        }
    }
    if parts.next().is_some() {
        return Err(bad("too many colons"));
    }
    // Docker makes a missing source; a typing error is then a new directory, but units rely on it.
    std::fs::create_dir_all(source)
        .or_else(|error| if std::fs::exists(source).unwrap_or(false) { Ok(()) } else { Err(error) })
        .map_err(|error| bad(&error.to_string()))?;
    Ok(Volume { source: source.into(), target: target.into(), read_only })
}

fn bytes(text: &str) -> Result<i64, String> {
    let lower = text.to_ascii_lowercase();
    let plain = lower.trim_end_matches('b');
    let (number, shift) = match plain.char_indices().last() {
        Some((at, 'k')) => (plain.get(..at), 10),
        Some((at, 'm')) => (plain.get(..at), 20),
        Some((at, 'g')) => (plain.get(..at), 30),
        _ => (Some(plain), 0),
    };
    let bad = || format!("{text:?} is not a size like 512m");
    let number: i64 = number.and_then(|number| number.parse().ok()).ok_or_else(bad)?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    const KNOWN: [&str; 16] = [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let bad = || format!("{text:?} is not a limit like nofile=1024:4096");
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    if !KNOWN.contains(&name) {
        return Err(format!("{name:?} is no limit; there are {}", KNOWN.join(", ")));
    }
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        number => number.parse().map_err(|_| bad()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(format!("{text:?}: the soft limit is above the hard one"));
    }
    Ok(Ulimit { name: format!("RLIMIT_{}", name.to_ascii_uppercase()), soft, hard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!((bytes("512m"), bytes("1GB"), bytes("7")), (Ok(512 << 20), Ok(1 << 30), Ok(7)));
        for bad in ["", "m", "-1", "0", "99999999999g", "1.5g"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ulimits() {
        assert_eq!(
            ulimit("nofile=10:20").unwrap(),
            Ulimit { name: "RLIMIT_NOFILE".into(), soft: 10, hard: 20 }
        );
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for bad in ["nofile", "nofile=x", "nofile=2:1", "files=1"] {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("new").display().to_string();
        let made = volume(&format!("{source}:/data:ro")).unwrap();
        assert!(made.read_only && std::path::Path::new(&source).is_dir());
        for bad in ["/only", "name:/data", &format!("{source}:/a:bad"), &format!("{source}:/a:ro:x")] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }
}
