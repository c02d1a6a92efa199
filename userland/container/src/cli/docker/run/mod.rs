//! `docker run`: the image, the options, and then the program.
//!
//! The options become what a client of the Engine API would ask for, so that both faces make the same container.

mod life;
mod resources;
mod values;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::{CliError, Places, image_or_pull, pull_and_tell};
use crate::api::{Api, create};
use crate::network::Publish;
use crate::run::guard;
use crate::run::supervisor::Streams;
use crate::store::Store;

pub(crate) use life::run_to_end;

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
    /// Show a directory or file of the machine, or a volume, in the container: SOURCE:TARGET[:ro]
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    volume: Vec<String>,
    /// The volumes of another container
    #[arg(long, value_name = "CONTAINER[:ro]")]
    volumes_from: Vec<String>,
    /// The same in words: type=bind|volume|tmpfs,source=…,target=…[,readonly]
    #[arg(long, value_parser = values::mount)]
    mount: Vec<Value>,
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
    /// A network's name, none, host, or container:NAME
    #[arg(long, alias = "net", default_value = "bridge")]
    network: Vec<String>,
    /// A further name on its network
    #[arg(long)]
    network_alias: Vec<String>,
    /// Its address on its network
    #[arg(long)]
    ip: Option<std::net::Ipv4Addr>,
    /// Lead a port of the machine into it: [ADDRESS:][PORT:]INNER[/tcp|udp|sctp]
    #[arg(short, long, value_name = "[ADDRESS:][PORT:]INNER")]
    publish: Vec<String>,
    /// Lead free ports of the machine to all that it exposes
    #[arg(short = 'P', long)]
    publish_all: bool,
    /// Expose a port
    #[arg(long, value_name = "PORT[/PROTOCOL]")]
    expose: Vec<String>,
    /// A name server in place of the machine's
    #[arg(long)]
    dns: Vec<std::net::IpAddr>,
    /// A domain to look for names in
    #[arg(long)]
    dns_search: Vec<String>,
    /// An option of resolv.conf(5)
    #[arg(long, alias = "dns-opt")]
    dns_option: Vec<String>,
    /// A line of its /etc/hosts: NAME:ADDRESS
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,
    /// host, or container:NAME: see and signal the processes of the machine, or of another container
    #[arg(long)]
    pid: Option<String>,
    /// host, or container:NAME: share the inter-process communication of the machine, or of another container
    #[arg(long)]
    ipc: Option<String>,
    /// host: have the machine's host name
    #[arg(long)]
    uts: Option<String>,
    /// host: a container's users are the machine's anyway
    #[arg(long)]
    userns: Option<String>,
    /// private, or host: see the cgroups of the machine
    #[arg(long)]
    cgroupns: Option<String>,
    /// A further group, by number
    #[arg(long)]
    group_add: Vec<String>,
    /// A kernel setting of its namespaces: NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE")]
    sysctl: Vec<String>,
    /// NIS domain name
    #[arg(long)]
    domainname: Option<String>,
    /// Show a device of the machine: SOURCE[:TARGET]
    #[arg(long, value_name = "SOURCE[:TARGET]")]
    device: Vec<String>,
    /// no-new-privileges, or seccomp=unconfined
    #[arg(long)]
    security_opt: Vec<String>,
    /// A line for its shell that tells whether it is healthy
    #[arg(long)]
    health_cmd: Option<String>,
    /// Between two such tests, as 30s
    #[arg(long, value_parser = values::time)]
    health_interval: Option<i64>,
    /// For one test
    #[arg(long, value_parser = values::time)]
    health_timeout: Option<i64>,
    /// After the start, while failures do not count
    #[arg(long, value_parser = values::time)]
    health_start_period: Option<i64>,
    /// Failures that make it unhealthy
    #[arg(long)]
    health_retries: Option<i64>,
    /// Without the image's health check
    #[arg(long)]
    no_healthcheck: bool,
    #[command(flatten)]
    resources: resources::Resources,
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
    /// always, missing or never: when to ask the registry for the image
    #[arg(long, default_value = "missing")]
    pull: Pull,
    /// Write its ID into this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Seconds that `docker stop` waits for it
    #[arg(long)]
    stop_timeout: Option<i64>,
    /// Set the labels in these files
    #[arg(long, value_name = "FILE")]
    label_file: Vec<PathBuf>,
    /// A label: NAME[=VALUE]
    #[arg(short, long)]
    label: Vec<String>,
    /// The signal with which `docker stop` begins
    #[arg(long)]
    stop_signal: Option<String>,
    /// Not here
    #[arg(long, hide = true)]
    restart: Option<String>,
    /// Image, and a command in place of the image's
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE [COMMAND] [ARG...]")]
    image_and_command: Vec<String>,
}

impl Run {
    pub(super) fn run(self, places: &Places) -> Result<u8, CliError> {
        let body = self.body()?;
        guard::protect_own_program().map_err(|error| CliError::Io("protect our own program", error))?;
        let image = self.image_and_command.first().map_or("", String::as_str);
        self.pull.image(&places.open_store()?, image)?;
        // Before there is a container that nobody would be told of.
        let told = self.cidfile.as_deref().map(new_file).transpose()?;
        let api = Api::new(places.clone());
        let made = create::make(&api, self.name.as_deref(), body);
        let made = made.map_err(|failure| CliError::Usage(failure.message))?;
        if let Some(mut file) = told {
            file.write_all(made.record.id.as_bytes()).map_err(|error| CliError::Io("--cidfile", error))?;
        }
        if self.detach {
            return life::detach(&api, made);
        }
        life::live(&api, &made, Streams { stdin: self.interactive }, || {})
    }

    /// The request of the Engine API that means the same.
    fn body(&self) -> Result<Value, CliError> {
        if self.restart.as_deref().is_some_and(|policy| policy != "no") {
            return Err(CliError::Usage(
                "--restart: put the container in a unit and set Restart= there".to_owned(),
            ));
        }
        if self.resources.cpus.is_some_and(|cpus| !(0.01..=10_000.0).contains(&cpus)) {
            return Err(CliError::Usage("--cpus must be between 0.01 and 10000".to_owned()));
        }
        let mut volumes = Map::new();
        let mut binds = Vec::new();
        for text in &self.volume {
            if values::has_source(text).map_err(CliError::Usage)? {
                binds.push(text);
            } else {
                volumes.insert(text.clone(), json!({}));
            }
        }
        let (bindings, exposed) = self.ports()?;
        let mut labels = lines_of("--label-file", &self.label_file)?;
        labels.extend(self.label.iter().cloned());
        Ok(json!({
            "Image": self.image_and_command.first(), "Cmd": self.image_and_command.get(1..),
            "Entrypoint": self.entrypoint.as_ref().map(|program| [program]), "Env": self.environment()?,
            "WorkingDir": self.workdir, "User": self.user, "Hostname": self.hostname, "Tty": self.tty,
            "OpenStdin": self.interactive, "StdinOnce": self.interactive, "Labels": pairs(&labels),
            "Domainname": self.domainname, "StopTimeout": self.stop_timeout, "StopSignal": self.stop_signal, "Volumes": volumes, "ExposedPorts": exposed,
            "Healthcheck": self.health(),
            "HostConfig": self.host(&binds, bindings),
            "NetworkingConfig": { "EndpointsConfig": self.endpoints() },
        }))
    }

    fn host(&self, binds: &[&String], bindings: Value) -> Value {
        let tmpfs: BTreeMap<&str, &str> =
            self.tmpfs.iter().map(|entry| entry.split_once(':').unwrap_or((entry, ""))).collect();
        let devices = self.device.iter().map(|text| {
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default();
            json!({ "PathOnHost": source, "PathInContainer": parts.next().unwrap_or(source) })
        });
        let word = |mode: &Option<String>| mode.clone().unwrap_or_default();
        let mut host = json!({
            "Binds": binds, "Mounts": self.mount, "Tmpfs": tmpfs, "VolumesFrom": self.volumes_from,
            "NetworkMode": self.network.first(), "PortBindings": bindings, "PublishAllPorts": self.publish_all,
            "AutoRemove": self.rm, "CapAdd": self.cap_add, "CapDrop": self.cap_drop, "Privileged": self.privileged,
            "Init": self.init, "ReadonlyRootfs": self.read_only, "Dns": self.dns, "DnsSearch": self.dns_search,
            "DnsOptions": self.dns_option, "ExtraHosts": self.add_host, "PidMode": word(&self.pid),
            "IpcMode": word(&self.ipc), "UTSMode": word(&self.uts), "UsernsMode": word(&self.userns),
            "CgroupnsMode": word(&self.cgroupns), "GroupAdd": self.group_add, "Sysctls": pairs(&self.sysctl),
            "Devices": devices.collect::<Vec<_>>(), "SecurityOpt": self.security_opt,
        });
        if let (Some(host), Value::Object(resources)) = (host.as_object_mut(), self.resources.told()) {
            host.extend(resources);
        }
        host
    }

    /// On its first network it has the aliases and the address.
    fn endpoints(&self) -> Value {
        let mut all = Map::new();
        for (at, network) in self.network.iter().enumerate() {
            let address = self.ip.filter(|_| at == 0).map(|address| address.to_string());
            let aliases = if at == 0 { self.network_alias.as_slice() } else { &[] };
            let endpoint = json!({ "Aliases": aliases, "IPAMConfig": { "IPv4Address": address } });
            let has_bridge =
                !matches!(network.as_str(), "host" | "none") && !network.starts_with("container:");
            if has_bridge {
                all.insert(network.clone(), endpoint);
            }
        }
        Value::Object(all)
    }

    fn ports(&self) -> Result<(Value, Value), CliError> {
        let (mut bindings, mut exposed) = (Map::new(), Map::new());
        for text in &self.publish {
            for one in Publish::parse(text).map_err(CliError::Usage)? {
                let name = format!("{}/{}", one.inner, one.protocol.name());
                let port = if one.port == 0 { String::new() } else { one.port.to_string() };
                let binding = json!({ "HostIp": one.address.to_string(), "HostPort": port });
                exposed.insert(name.clone(), json!({}));
                if let Value::Array(list) = bindings.entry(name).or_insert_with(|| json!([])) {
                    list.push(binding);
                }
            }
        }
        for text in &self.expose {
            let name = if text.contains('/') { text.clone() } else { format!("{text}/tcp") };
            exposed.insert(name, json!({}));
        }
        Ok((Value::Object(bindings), Value::Object(exposed)))
    }

    /// `NAME` alone passes our own on, if we have it.
    fn environment(&self) -> Result<Vec<String>, CliError> {
        let mut all = lines_of("--env-file", &self.env_file)?;
        all.extend(self.env.iter().cloned());
        let ours = |name: String| match name.contains('=') {
            true => Some(name),
            false => std::env::var(&name).ok().map(|value| format!("{name}={value}")),
        };
        Ok(all.into_iter().filter_map(ours).collect())
    }

    fn health(&self) -> Value {
        if self.no_healthcheck {
            return json!({ "Test": ["NONE"] });
        }
        json!({
            "Test": self.health_cmd.as_ref().map(|line| ["CMD-SHELL", line]),
            "Interval": self.health_interval.unwrap_or(0), "Timeout": self.health_timeout.unwrap_or(0),
            "StartPeriod": self.health_start_period.unwrap_or(0), "Retries": self.health_retries.unwrap_or(0),
        })
    }
}

/// The lines of these files that say something.
fn lines_of(option: &str, files: &[PathBuf]) -> Result<Vec<String>, CliError> {
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::Usage(format!("{option} {}: {error}", file.display())))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        all.extend(lines.map(str::to_owned));
    }
    Ok(all)
}

fn new_file(path: &Path) -> Result<std::fs::File, CliError> {
    let made = std::fs::File::create_new(path);
    made.map_err(|error| CliError::Usage(format!("--cidfile {}: {error}", path.display())))
}

/// When the registry is asked for an image.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Pull {
    Always,
    Missing,
    Never,
}

impl Pull {
    fn image(self, store: &Store, name: &str) -> Result<(), CliError> {
        match self {
            Self::Always => pull_and_tell(store, &name.parse()?, true).map(drop),
            Self::Missing => image_or_pull(store, name).map(drop),
            Self::Never => match store.find_image(name)? {
                Some(_) => Ok(()),
                None => Err(CliError::Usage(format!("No such image: {name}"))),
            },
        }
    }
}

fn pairs(texts: &[String]) -> BTreeMap<&str, &str> {
    texts.iter().map(|text| text.split_once('=').unwrap_or((text, ""))).collect()
}
