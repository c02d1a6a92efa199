//! Connections: from the sockets that we were handed, or from one of our own.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::{Api, route};

/// Connections at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 512;
/// A request's head that takes longer is given up.
const HEAD_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Neither handed a socket nor told to make one.
    #[error("no socket: start docker.socket, or name one with --host unix:///run/docker.sock")]
    NoSocket,
    /// Not an address.
    #[error("--host {0}: write unix:///PATH or tcp://ADDRESS:PORT")]
    Host(String),
    /// The machine.
    #[error("{0}: {1}")]
    Io(String, io::Error),
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// Serves until the process is ended.
///
/// # Errors
/// When there is no socket to serve on.
pub async fn serve(api: Api, hosts: &[String]) -> Result<(), ServeError> {
    let mut listeners = handed()?;
    for host in hosts.iter().filter(|host| *host != "fd://") {
        listeners.push(open(host).await?);
    }
    if listeners.is_empty() {
        return Err(ServeError::NoSocket);
    }
    let api = Arc::new(api);
    super::launch::start_those_that_always_run(&api);
    tell_ready();
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let mut serving = tokio::task::JoinSet::new();
    for listener in listeners {
        serving.spawn(accept(Arc::clone(&api), listener, Arc::clone(&free)));
    }
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| ServeError::Io("signals".to_owned(), error))?;
    tokio::select! {
        _ = serving.join_next() => Ok(()),
        _ = terminated.recv() => Ok(()),
    }
}

/// Tells the service manager that requests are answered from now on (sd_notify(3)).
fn tell_ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() {
        let _ = socket.send_to(b"READY=1", Path::new(&path));
    }
}

/// The sockets of socket activation (sd_listen_fds(3)).
fn handed() -> Result<Vec<Listener>, ServeError> {
    let failed = |error| ServeError::Io("the socket that was handed over".to_owned(), error);
    let mut listeners = Vec::new();
    for (_, fd) in linux::listen_fds::take() {
        let family = rustix::net::sockopt::socket_domain(&fd).map_err(|error| failed(error.into()))?;
        rustix::io::ioctl_fionbio(&fd, true).map_err(|error| failed(error.into()))?;
        listeners.push(if family == rustix::net::AddressFamily::UNIX {
            Listener::Unix(UnixListener::from_std(fd.into()).map_err(failed)?)
        } else {
            Listener::Tcp(TcpListener::from_std(fd.into()).map_err(failed)?)
        });
    }
    Ok(listeners)
}

async fn open(host: &str) -> Result<Listener, ServeError> {
    let failed = |error| ServeError::Io(host.to_owned(), error);
    if let Some(path) = host.strip_prefix("unix://").map(PathBuf::from).filter(|path| path.is_absolute()) {
        // One that nobody listens at any more is in the way.
        if std::os::unix::net::UnixStream::connect(&path).is_err() {
            let _ = std::fs::remove_file(&path);
        }
        // Nobody else may connect before the mode is set.
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
        let bound = UnixListener::bind(&path);
        rustix::process::umask(before);
        let listener = bound.map_err(failed)?;
        if let Some(group) = group_of_docker() {
            let _ = std::os::unix::fs::chown(&path, None, Some(group));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
        return Ok(Listener::Unix(listener));
    }
    match host.strip_prefix("tcp://") {
        Some(address) => Ok(Listener::Tcp(TcpListener::bind(address).await.map_err(failed)?)),
        None => Err(ServeError::Host(host.to_owned())),
    }
}

fn group_of_docker() -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| line.strip_prefix("docker:")?.split(':').nth(1)?.parse().ok())
}

async fn accept(api: Arc<Api>, listener: Listener, free: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&free).acquire_owned().await else { return };
        let api = Arc::clone(&api);
        let accepted = match &listener {
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(async move {
                    connection(api, stream).await;
                    drop(place);
                });
            }),
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    connection(api, stream).await;
                    drop(place);
                });
            }),
        };
        if accepted.is_err() {
            // Out of descriptors, most likely: others will be given back.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

async fn connection(api: Arc<Api>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(move |request| route::answer(Arc::clone(&api), request));
    // A client that goes away in the middle is none of our concern.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}
