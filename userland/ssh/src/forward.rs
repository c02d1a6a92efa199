//! Forwarded ports: connections made for the client, and connections taken for it.
//!
//! Source: RFC 4254 section 7; the limits are those of sshd_config(5)'s defaults (`GatewayPorts no`: taken
//! connections come from this machine only).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::flow::{Closed, Incoming, Queues, carry_out};

/// The most ports a connection may have forwarded to it.
const MOST_PORTS: usize = 32;
/// How long what a client has sent may take to get to where it goes once the client has closed the channel.
const LAST_CHANCE: Duration = Duration::from_secs(30);
/// The most channels a connection may have open.
pub(crate) const MOST_CHANNELS: usize = 256;

/// Connects to where the client wants to go.
///
/// # Errors
/// When nobody answers, or the name is none of this machine's: names are not looked up elsewhere.
pub(crate) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last =
        io::Error::new(io::ErrorKind::NotFound, format!("{host} is neither an address nor in /etc/hosts"));
    for address in addresses(host) {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn addresses(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return vec![address];
    }
    if host.eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    in_hosts(&std::fs::read_to_string("/etc/hosts").unwrap_or_default(), host)
}

/// The addresses of `host` in the text of hosts(5).
fn in_hosts(hosts: &str, host: &str) -> Vec<IpAddr> {
    let line = |line: &str| -> Option<IpAddr> {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    };
    hosts.lines().filter_map(line).collect()
}

/// Carries both directions of a channel until both have ended or the client is gone.
pub(crate) async fn carry(
    stream: TcpStream,
    incoming: Incoming,
    writer: ChannelWriteHalf<Msg>,
    mut closed: Closed,
) {
    let (read, write) = stream.into_split();
    let mut gone = closed.clone();
    let out = async {
        tokio::select! {
            _ = carry_out(read, writer.make_writer()) => {
                let _ = writer.eof().await;
            }
            () = closed.wait() => {}
        }
    };
    // A client closes as soon as it has sent all: what has arrived by then is still on its way.
    let patience = async {
        gone.wait().await;
        tokio::time::sleep(LAST_CHANCE).await;
    };
    let into = async {
        tokio::select! {
            _ = incoming.carry(write) => {}
            () = patience => {}
        }
    };
    tokio::join!(into, out);
    let _ = writer.close().await;
}

/// The ports that are forwarded to a client.
#[derive(Debug, Default)]
pub(crate) struct Ports(HashMap<(String, u32), JoinHandle<()>>);

impl Ports {
    /// Listens on `port` (0: any) for the client, which calls this place `address`. The port.
    ///
    /// # Errors
    /// When there are too many, or the port cannot be had.
    pub(crate) async fn listen(
        &mut self,
        address: &str,
        port: u32,
        handle: Handle,
        queues: Queues,
    ) -> io::Result<u32> {
        if self.0.len() >= MOST_PORTS {
            return Err(io::Error::other(format!("a connection forwards at most {MOST_PORTS} ports")));
        }
        let place: IpAddr = match address {
            "::1" | "::" => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        };
        let port = u16::try_from(port).map_err(io::Error::other)?;
        let listener = TcpListener::bind(SocketAddr::new(place, port)).await?;
        let port = u32::from(listener.local_addr()?.port());
        let task = tokio::spawn(take(listener, address.to_owned(), port, handle, queues));
        self.0.insert((address.to_owned(), port), task);
        Ok(port)
    }

    /// No longer listens there. Whether it did.
    pub(crate) fn cancel(&mut self, address: &str, port: u32) -> bool {
        self.0.remove(&(address.to_owned(), port)).map(|task| task.abort()).is_some()
    }
}

impl Drop for Ports {
    fn drop(&mut self) {
        for task in self.0.values() {
            task.abort();
        }
    }
}

async fn take(listener: TcpListener, address: String, port: u32, handle: Handle, queues: Queues) {
    while let Ok((stream, peer)) = listener.accept().await {
        if queues.len() >= MOST_CHANNELS {
            continue;
        }
        let (handle, queues, address) = (handle.clone(), queues.clone(), address.clone());
        tokio::spawn(async move {
            let from = peer.ip().to_string();
            let opened = handle.channel_open_forwarded_tcpip(address, port, from, peer.port().into()).await;
            if let Ok(channel) = opened {
                let (incoming, writer, closed) = queues.open(channel);
                carry(stream, incoming, writer, closed).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_hosts_file_only() {
        let hosts = "127.0.0.1 localhost\n10.1.2.3  db db.cluster # db2\n::1 db\nbad db\n";
        let expected: Vec<IpAddr> = vec!["10.1.2.3".parse().unwrap(), "::1".parse().unwrap()];
        assert_eq!(in_hosts(hosts, "DB"), expected);
        assert!(in_hosts(hosts, "db2").is_empty());
        assert_eq!(addresses("[::1]"), [IpAddr::from(Ipv6Addr::LOCALHOST)]);
        assert_eq!(addresses("localhost").len(), 2);
    }
}
