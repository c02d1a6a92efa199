//! Taking connections, and letting go of those that do not log in.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::server::{Config, run_stream};
use russh::{MethodKind, MethodSet, SshId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::access::Doors;
use crate::connection::Connection;
use crate::flow::WINDOW;
use crate::startups::{Startups, Stranger};

/// What a wrong key and an unknown user cost alike.
const REFUSAL: Duration = Duration::from_millis(100);
/// The most bytes of the client's first line and before it.
const BACKOFF: Duration = Duration::from_millis(100);

/// How the server behaves.
pub(crate) struct Rules {
    /// Where users and keys are found.
    pub(crate) doors: Doors,
    /// How long a client may take to log in.
    pub(crate) grace: Duration,
    /// How many may be there without.
    pub(crate) startups: Arc<Startups>,
    /// How many connections there may be in all.
    pub(crate) most: usize,
}

/// Serves for ever.
pub(crate) async fn serve(listeners: Vec<TcpListener>, key: PrivateKey, rules: Rules) {
    let config = Arc::new(config(key));
    let rules = Arc::new(rules);
    let doors = Arc::new(rules.doors.clone());
    let open = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for listener in listeners {
        let (config, rules, doors, open) = (config.clone(), rules.clone(), doors.clone(), open.clone());
        tasks.push(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) if open.load(Ordering::Relaxed) >= rules.most => drop(stream),
                    Ok((stream, peer)) => {
                        // No place for a stranger: a closed connection says so soonest.
                        if let Some(stranger) = rules.startups.admit(dice()) {
                            let counted = Counted::new(&open);
                            let talk =
                                talk(stream, peer, stranger, config.clone(), doors.clone(), rules.grace);
                            tokio::spawn(async move {
                                talk.await;
                                drop(counted);
                            });
                        }
                    }
                    Err(error) => {
                        eprintln!("sshd: a connection could not be taken: {error}");
                        tokio::time::sleep(BACKOFF).await;
                    }
                }
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
}

/// One connection, from its first byte to its last.
async fn talk(
    stream: TcpStream,
    peer: SocketAddr,
    stranger: Stranger,
    config: Arc<Config>,
    doors: Arc<Doors>,
    grace: Duration,
) {
    let Ok((local, hang_up)) = prepare(&stream) else { return };
    let ends = (canonical(peer), canonical(local));
    let (tell, mut logged_in) = watch::channel(false);
    let connection = Connection::new(doors, ends, stranger, tell);
    let deadline = tokio::time::sleep(grace);
    tokio::pin!(deadline);
    let running = tokio::select! {
        running = run_stream(config, stream, connection) => running,
        () = &mut deadline => return,
    };
    let Ok(session) = running else { return };
    tokio::pin!(session);
    let in_time = tokio::select! {
        _ = &mut session => return,
        logged_in = logged_in.wait_for(|yes| *yes) => logged_in.is_ok(),
        () = &mut deadline => false,
    };
    if !in_time {
        // russh runs the session in a task of its own: it ends with its socket.
        let _ = rustix::net::shutdown(&hang_up, rustix::net::Shutdown::Both);
    }
    drop(hang_up);
    let _ = session.await;
    if in_time {
        eprintln!("sshd: Connection closed by {} port {}", ends.0.ip(), ends.0.port());
    }
}

fn prepare(stream: &TcpStream) -> io::Result<(SocketAddr, OwnedFd)> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    Ok((stream.local_addr()?, stream.as_fd().try_clone_to_owned()?))
}

/// An IPv4 address as such, also where it came through an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

fn config(key: PrivateKey) -> Config {
    Config {
        server_id: SshId::Standard("SSH-2.0-Corten".into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        auth_rejection_time: REFUSAL,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        window_size: WINDOW,
        maximum_packet_size: 32768,
        channel_buffer_size: 32,
        event_buffer_size: 32,
        max_auth_attempts: 10,
        inactivity_timeout: None,
        keepalive_interval: Some(Duration::from_secs(60)),
        keepalive_max: 3,
        nodelay: true,
        ..Config::default()
    }
}

/// A number below 100.
fn dice() -> usize {
    let mut bytes = [0u8; 2];
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    usize::from(u16::from_ne_bytes(bytes)) % 100
}

/// Counts a connection while it is there.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
