//! The system bus: `/run/dbus/system_bus_socket`, where services and their clients meet by name.
//!
//! The story: [`dbus_daemon`] takes the socket that the service manager listens on, or binds one; the [`broker`]
//! passes messages on; [`names`] knows who owns what, [`policy`] who may; [`rule`] picks signals; [`activation`]
//! has PID 1 start the service behind a name; [`driver`] is the bus's own object.
//!
//! Invariants: one thread; nothing from a client makes it panic or wait; what it keeps for a client is bounded. What
//! it deliberately lacks of dbus-daemon(1): rules on who may send what to whom. The kernel's word for the sender is on
//! every message, and who receives one decides. Sources: the D-Bus specification, dbus-daemon(1).

pub mod activation;
pub mod broker;
mod driver;
pub mod names;
pub mod policy;
pub mod rule;

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use accounts::Accounts;
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use activation::Activation;
use broker::Broker;
use policy::Policy;

/// Where the clients look for the bus.
const SOCKET: &str = "/run/dbus/system_bus_socket";
/// Every client may leave descriptors in its queue.
const DESCRIPTORS: u64 = 65_536;

/// The system message bus.
///
/// Takes the options of dbus-daemon(1) that a unit file gives it.
#[derive(Debug, Parser)]
#[command(name = "dbus-daemon")]
struct Options {
    /// The system bus (there is no other)
    #[arg(long)]
    system: bool,
    /// Where to listen: systemd: (the socket that the service manager hands over) or unix:path=PATH
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Print the address when listening
    #[arg(long)]
    print_address: bool,
    /// Do not fork (it never does)
    #[arg(long)]
    nofork: bool,
    /// Write no pid file (it never does)
    #[arg(long)]
    nopidfile: bool,
    /// Have services started by the service manager (always)
    #[arg(long)]
    systemd_activation: bool,
    /// Log to syslog only (the service manager takes what is said)
    #[arg(long)]
    syslog_only: bool,
}

/// The applet `dbus-daemon`: serves until it is killed.
#[must_use]
pub fn dbus_daemon(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(complaint) => {
            let _ = complaint.print();
            return if complaint.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbus-daemon: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the bus cannot serve.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("--address={0}: only systemd: and unix:path=PATH are understood")]
    Address(String),
    #[error("cannot listen on {path}: {source}")]
    Listen { path: PathBuf, source: io::Error },
    #[error("cannot wait for clients: {0}")]
    Wait(#[from] io::Error),
}

fn serve(options: &Options) -> Result<(), Error> {
    let (listener, address) = listen(options.address.as_deref())?;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(DESCRIPTORS).max(DESCRIPTORS);
    if setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).is_err() {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let (policy, activation) = configuration();
    let mut broker = Broker::new(listener, policy, activation)?;
    if address == HANDED_OVER {
        broker = broker.manager_first();
    }
    if options.print_address {
        println!("{address}");
    }
    ready();
    loop {
        broker.turn()?;
    }
}

/// The address of a socket that the service manager listened on before us.
const HANDED_OVER: &str = "systemd:";

/// The socket that was handed over, or one of our own.
fn listen(address: Option<&str>) -> Result<(UnixListener, String), Error> {
    let path = match address {
        None => {
            if let Some((_, inherited)) = linux::listen_fds::take().into_iter().next() {
                return Ok((inherited.into(), HANDED_OVER.into()));
            }
            Path::new(SOCKET)
        }
        Some(HANDED_OVER) => {
            let none = || Error::Address("systemd: (no socket was handed over)".into());
            let (_, inherited) = linux::listen_fds::take().into_iter().next().ok_or_else(none)?;
            return Ok((inherited.into(), HANDED_OVER.into()));
        }
        Some(address) => {
            Path::new(address.strip_prefix("unix:path=").ok_or_else(|| Error::Address(address.into()))?)
        }
    };
    let failed = |source| Error::Listen { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o666)).map_err(failed)?;
    Ok((listener, format!("unix:path={}", path.display())))
}

fn configuration() -> (Policy, Activation) {
    let accounts = Accounts::read(Path::new("/etc")).unwrap_or_default();
    let user = |name: &str| match name {
        "root" => Some(0),
        _ => accounts.user(name).map(|user| user.uid).or_else(|| name.parse().ok()),
    };
    let group = |name: &str| accounts.group(name).map(|group| group.gid).or_else(|| name.parse().ok());
    (Policy::read(&policy::FOLDERS, user, group), Activation::read(&activation::FOLDERS))
}

/// `ReloadConfig`: what the files say now, for names that are asked for from now on.
fn reload(broker: &mut Broker) {
    let (policy, activation) = configuration();
    broker.policy = policy;
    broker.activation.replace_services(activation);
}

/// Tells the service manager that clients are served (sd_notify(3)). Nobody is there to hear a failure.
fn ready() {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match name.as_encoded_bytes().strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address));
    if let Err(error) = sent {
        eprintln!("dbus-daemon: the service manager at {} was not told: {error}", name.to_string_lossy());
    }
}
