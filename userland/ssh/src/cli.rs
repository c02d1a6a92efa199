//! The command line of `sshd`.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use sd_notify::NotifyState;
use tokio::net::TcpListener;

use crate::access::Doors;
use crate::startups::Startups;
use crate::{child, host_key, listen};

/// The SSH server: logins by public key only.
///
/// Keys are looked for in ~/.ssh/authorized_keys, in the files of ~/.ssh/authorized_keys.d and, for every
/// user who has a shell, in /run/ssh/authorized_keys. The host key is made on the first start.
#[derive(Debug, Parser)]
#[command(name = "sshd", version)]
struct Options {
    /// The port to listen on, on all addresses
    #[arg(short, long, default_value_t = 22)]
    port: u16,
    /// An address to listen on instead of all, as ADDRESS:PORT; may be given more than once
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// The host key; made there if there is none
    #[arg(long, value_name = "FILE", default_value = "/etc/ssh/ssh_host_ed25519_key")]
    host_key: PathBuf,
    /// The folder of passwd and group
    #[arg(long, value_name = "FOLDER", default_value = "/etc")]
    etc: PathBuf,
    /// A file of keys for every user who may log in
    #[arg(long, value_name = "FILE", default_value = "/run/ssh/authorized_keys")]
    keys: PathBuf,
    /// How long a client may take to log in, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    grace: u64,
    /// How many connections may be open without a login: from BEGIN on RATE percent are refused, rising to
    /// all of them at FULL
    #[arg(long, value_name = "BEGIN:RATE:FULL", default_value = "10:30:100", value_parser = startups)]
    max_startups: (usize, usize, usize),
    /// How many connections may be open in all
    #[arg(long, value_name = "NUMBER", default_value_t = 256)]
    max_connections: usize,
}

/// The server.
pub fn sshd(args: Vec<OsString>) -> ExitCode {
    if let Some((first, rest)) = args.get(1..).and_then(<[_]>::split_first)
        && first == child::STEP
    {
        return child::run(rest);
    }
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sshd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let key = host_key::load_or_make(&options.host_key)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listeners = bind(&options).await?;
        let (begin, rate, full) = options.max_startups;
        let rules = listen::Rules {
            doors: Doors { etc: options.etc, for_all: options.keys },
            grace: Duration::from_secs(options.grace),
            startups: Arc::new(Startups::new(begin, rate, full)),
            most: options.max_connections,
        };
        for listener in &listeners {
            eprintln!("sshd: Server listening on {}", listener.local_addr()?);
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status("Listening")]) {
            eprintln!("sshd: the service manager was not told: {error}");
        }
        listen::serve(listeners, key, rules).await;
        Ok(())
    })
}

/// The sockets to listen on: those that the service manager hands over, those asked for, or one for IPv6 and IPv4
/// together where there is IPv6.
async fn bind(options: &Options) -> io::Result<Vec<TcpListener>> {
    let inherited = linux::listen_fds::take();
    if !inherited.is_empty() {
        let listener = |(_, descriptor): (String, OwnedFd)| {
            let listener = std::net::TcpListener::from(descriptor);
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        return inherited.into_iter().map(listener).collect();
    }
    let named = |address: SocketAddr| {
        move |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    };
    if options.listen.is_empty() {
        let all = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), options.port);
        if let Ok(listener) = TcpListener::bind(all).await {
            return Ok(vec![listener]);
        }
        let four = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), options.port);
        return Ok(vec![TcpListener::bind(four).await.map_err(named(four))?]);
    }
    let mut listeners = Vec::new();
    for address in &options.listen {
        listeners.push(TcpListener::bind(address).await.map_err(named(*address))?);
    }
    Ok(listeners)
}

fn startups(text: &str) -> Result<(usize, usize, usize), String> {
    let numbers: Vec<usize> = text
        .split(':')
        .map(|part| part.parse().map_err(|_| format!("{part:?} is no number")))
        .collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        &[begin, rate, full] if rate <= 100 && begin <= full => Ok((begin, rate, full)),
        _ => Err("expected BEGIN:RATE:FULL with RATE at most 100 and BEGIN at most FULL, such as 10:30:100"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
        let options = Options::try_parse_from(["sshd", "-l", "127.0.0.1:2222", "-l", "[::1]:2222"]).unwrap();
        assert_eq!(options.listen.len(), 2);
        assert_eq!(options.max_startups, (10, 30, 100));
        for wrong in ["10:30", "10:101:200", "20:30:10", "a:b:c"] {
            assert!(Options::try_parse_from(["sshd", "--max-startups", wrong]).is_err(), "{wrong}");
        }
    }
}
