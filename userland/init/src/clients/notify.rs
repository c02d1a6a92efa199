//! `systemd-notify`: tells the service manager of a script's state (systemd-notify(1), sd_notify(3)).

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

/// Notify the service manager about service status updates.
#[derive(Debug, Parser)]
#[command(name = "systemd-notify")]
struct Options {
    /// The service has started up
    #[arg(long)]
    ready: bool,
    /// The main process of the service (without a number: the caller's parent)
    #[arg(long, value_name = "PID", num_args = 0..=1, default_missing_value = "auto", require_equals = true)]
    pid: Option<String>,
    /// A line of status for people
    #[arg(long, value_name = "TEXT")]
    status: Option<String>,
    /// Only check whether a service manager of this kind booted the machine
    #[arg(long)]
    booted: bool,
    /// Do not wait (it never does)
    #[arg(long)]
    no_block: bool,
    /// More to say: READY=1, RELOADING=1, WATCHDOG=1, …
    #[arg(value_name = "NAME=VALUE")]
    assignments: Vec<String>,
}

/// The applet.
#[must_use]
pub fn systemd_notify(args: Vec<OsString>) -> ExitCode {
    let options: Options = match super::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.booted {
        return if Path::new("/run/systemd/system").is_dir() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let message = match message(&options) {
        Ok(message) => message,
        Err(why) => return super::fail("systemd-notify", why),
    };
    match std::env::var_os("NOTIFY_SOCKET") {
        None => super::fail("systemd-notify", "no service manager listens: $NOTIFY_SOCKET is not set"),
        Some(socket) => match send(&socket, &message) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => super::fail("systemd-notify", format!("{}: {error}", socket.to_string_lossy())),
        },
    }
}

fn message(options: &Options) -> Result<String, String> {
    let mut lines = Vec::new();
    if options.ready {
        lines.push("READY=1".to_owned());
    }
    if let Some(status) = &options.status {
        lines.push(format!("STATUS={status}"));
    }
    match options.pid.as_deref() {
        None => {}
        Some("auto" | "parent") => {
            let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
            lines.push(format!("MAINPID={parent}"));
        }
        Some("self") => lines.push(format!("MAINPID={}", std::process::id())),
        Some(pid) => match pid.parse::<u32>() {
            Ok(pid) => lines.push(format!("MAINPID={pid}")),
            Err(_) => return Err(format!("--pid={pid}: not a process id")),
        },
    }
    if let Some(wrong) = options.assignments.iter().find(|text| !text.contains('=')) {
        return Err(format!("{wrong}: not an assignment; write NAME=VALUE"));
    }
    lines.extend(options.assignments.iter().cloned());
    if lines.is_empty() { Err("nothing to say; see --help".into()) } else { Ok(lines.join("\n")) }
}

fn send(socket: &OsString, message: &str) -> io::Result<()> {
    let address = match socket.as_encoded_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(|_| ())
}
