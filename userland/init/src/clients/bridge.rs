//! `systemd-stdio-bridge`: the system bus on standard input and output, for a client that came by ssh
//! (`systemctl --host`, `busctl --host`).
//!
//! Bytes go through as they are. The bus lets the client in as whoever runs the bridge.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use clap::Parser;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

const BUS: &str = "/run/dbus/system_bus_socket";

/// Connect standard input and output to the message bus.
#[derive(Debug, Parser)]
#[command(name = "systemd-stdio-bridge")]
struct Options {
    /// The bus: unix:path=PATH
    #[arg(short = 'p', long, value_name = "ADDRESS")]
    bus_path: Option<String>,
    /// The system's bus (there is no other)
    #[arg(long)]
    system: bool,
    /// The bus of a user's session (not here)
    #[arg(long)]
    user: bool,
}

/// The applet.
#[must_use]
pub fn systemd_stdio_bridge(args: Vec<OsString>) -> ExitCode {
    let options: Options = match super::parse(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => super::fail("systemd-stdio-bridge", why),
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.user {
        return Err("--user: there are no users' sessions here, only the system's bus".into());
    }
    let address = options.bus_path.as_deref().unwrap_or(BUS);
    let path = address.strip_prefix("unix:path=").unwrap_or(address);
    let unreachable = |why: io::Error| format!("Cannot reach the bus at {path}: {why}");
    let mut bus = UnixStream::connect(path).map_err(unreachable)?;
    // Who runs it may have handed in a socket of its own kind.
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout()] {
        block(stream).map_err(|why| format!("Cannot prepare standard input and output: {why}"))?;
    }
    let mut to_bus = bus.try_clone().map_err(unreachable)?;
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to_bus);
        // The bus answers what it still has, and hangs up.
        let _ = to_bus.shutdown(Shutdown::Write);
    });
    let mut output = io::stdout();
    let mut bytes = vec![0; 64 << 10];
    loop {
        // Every answer at once: the client waits for it.
        let length = bus.read(&mut bytes).map_err(|why| format!("The bus is gone: {why}"))?;
        let Some(answer) = bytes.get(..length).filter(|answer| !answer.is_empty()) else { return Ok(()) };
        let sent = output.write_all(answer).and_then(|()| output.flush());
        sent.map_err(|why| format!("The client is gone: {why}"))?;
    }
}

/// Reading and writing wait.
fn block(stream: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fcntl_setfl(stream, fcntl_getfl(stream)? - OFlags::NONBLOCK)
}
