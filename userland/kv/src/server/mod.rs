//! `etcd`: a member as a process. Reads what it is told, comes up, serves, and ends in order.

pub mod boot;
mod compact;
pub mod config;
mod discovery;
pub mod discovery_service;
mod founders;
mod gateway;
mod grpc_proxy;
pub(crate) mod http_client;
pub mod peer;
mod proxy;
mod relay;
mod srv;
pub mod wrapper;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::applet;
use crate::node::{Input, Node};
use crate::proto::Member;
use crate::proto::internal::command::Request;
use crate::serve::{Api, CLUSTER_VERSION, Manners, connection, tls};
use crate::state::auth::Caller;
use boot::{BootError, Booted};
use config::Config;
use founders::{Founders, NotFound};
use peer::Peers;

/// How long a member that was removed still answers, as etcd's does.
const GRACE: Duration = Duration::from_secs(1);

/// Reads flags, environment and file.
fn read_config(args: Vec<OsString>) -> Result<Config, ExitCode> {
    let args = config::two_dashes(args);
    let mut file = std::env::var_os("ETCD_CONFIG_FILE");
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match arg.to_str() {
            Some("--config-file") => file = rest.next().cloned(),
            Some(text) => file = text.strip_prefix("--config-file=").map(OsString::from).or(file),
            None => {}
        }
    }
    let args = match file {
        Some(file) => config::file(file.as_ref()).map_err(|error| {
            eprintln!("etcd: {error}");
            ExitCode::FAILURE
        })?,
        None => args,
    };
    applet::parse(args).map(Config::without_empty_words)
}

/// Runs a member, or what the first argument names instead.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match args.get(1).and_then(|word| word.to_str()) {
        Some("gateway") => return gateway::main(args.into_iter().skip(1).collect()),
        Some("grpc-proxy") => return grpc_proxy::main(args.into_iter().skip(1).collect()),
        _ => {}
    }
    match read_config(args) {
        Ok(config) => applet::serve("etcd", run(&config)),
        Err(code) => code,
    }
}

fn text(error: impl std::fmt::Display) -> BootError {
    BootError::Config(error.to_string())
}

async fn run(config: &Config) -> Result<(), BootError> {
    if !config.auth_token.starts_with("simple") {
        return Err(BootError::Config(format!(
            "--auth-token={}: only simple tokens are there",
            config.auth_token
        )));
    }
    founders::check(config)?;
    let is_member = boot::has_data(config);
    match (is_member, proxy::has_data(config)) {
        (true, true) => {
            let text = "invalid datadir. Both member and proxy directories exist.";
            return Err(BootError::Config(text.into()));
        }
        (false, true) => {
            eprintln!("etcd: the server is already initialized as proxy before, starting as etcd proxy...");
            return proxy::run(config).await;
        }
        (true, false) if config.proxy != "off" => {
            eprintln!("etcd: the server is already initialized as member before, starting as etcd member...");
        }
        (false, false) if config.proxy != "off" => return proxy::run(config).await,
        _ => {}
    }
    let peer_files = peer_files(config);
    let peer_tls = peer_files.client_if_any().map_err(text)?;
    let peer_listeners = listen(&config.listen_peer_urls).await?;
    let client_listeners = listen(&config.listen_client_urls).await?;
    let founders = if is_member { Ok(Founders::default()) } else { founders::find(config).await };
    let founders = match founders {
        Ok(founders) => founders,
        Err(NotFound::Full) if config.discovery_fallback == "proxy" => {
            eprintln!("etcd: discovery cluster is full, falling back to proxy");
            drop((peer_listeners, client_listeners));
            return proxy::run(config).await;
        }
        Err(NotFound::Full) => return Err(text(NotFound::Full)),
        Err(NotFound::Boot(error)) => return Err(error),
    };
    if is_member && config.discovery.is_some() {
        eprintln!("etcd: discovery token ignored since a cluster has already been initialized");
    }
    let booted = boot::boot(config, founders.cluster, &founders.token, peer_tls.clone()).await?;
    let peers = Peers::new(peer_tls, tokio::runtime::Handle::current());
    let Booted { setup, paths, log, state, checkpoint } = booted;
    let outbox = peers.clone();
    let node =
        crate::node::start(setup, paths, log, state, checkpoint, Box::new(move |output| outbox.send(output)));
    peers.attach(node.clone());
    println!(
        "etcd: member {:x} of cluster {:x}, data in {}",
        node.setup.member_id,
        node.setup.cluster_id,
        node.paths.data.display()
    );
    for (listener, secure) in peer_listeners {
        let tls = secure.then(|| peer_files.server().map(Arc::new)).transpose().map_err(text)?;
        tokio::spawn(peer::serve(listener, tls, node.clone()));
    }
    let api = Api::new(node.clone(), manners(config)?);
    let files = client_files(config);
    for (listener, secure) in client_listeners {
        let tls = secure.then(|| files.server().map(Arc::new)).transpose().map_err(text)?;
        let api = api.clone();
        tokio::spawn(connection::serve(listener, tls, move |request, peer| {
            let api = api.clone();
            async move { api.answer(request, peer).await }
        }));
    }
    tokio::spawn(publish(node.clone(), config.clone()));
    compact::start(&node, config)?;
    wait_for_end(&node).await
}

/// What a member shows other members.
fn peer_files(config: &Config) -> tls::Files {
    tls::Files {
        cert: config.peer_cert_file.clone(),
        key: config.peer_key_file.clone(),
        ca: config.peer_trusted_ca_file.clone(),
        client_auth: config.peer_client_cert_auth,
    }
}

/// What it shows clients.
fn client_files(config: &Config) -> tls::Files {
    tls::Files {
        cert: config.cert_file.clone(),
        key: config.key_file.clone(),
        ca: config.trusted_ca_file.clone(),
        client_auth: config.client_cert_auth
            || (config.cert_file.is_some() && config.trusted_ca_file.is_some()),
    }
}

fn manners(config: &Config) -> Result<Manners, BootError> {
    let interval = &config.experimental_watch_progress_notify_interval;
    let progress = config::duration(interval, 1)
        .filter(|interval| !interval.is_zero())
        .ok_or_else(|| BootError::Config(format!("{interval:?} is no duration")))?;
    let election = i64::try_from(config.election_timeout).unwrap_or(1000);
    Ok(Manners {
        max_txn_ops: config.max_txn_ops,
        min_lease: (election * 3 / 2 + 999) / 1000,
        progress,
        strict_reconfig: config.strict_reconfig_check,
        v2: config.enable_v2,
        token: config.initial_cluster_token.clone(),
        client_urls: config.advertise_client_urls.clone(),
        name: config.name.clone(),
    })
}

/// Listeners, and whether they speak TLS.
async fn listen(urls: &[String]) -> Result<Vec<(TcpListener, bool)>, BootError> {
    let mut all = Vec::new();
    for url in urls.iter().map(|url| url.trim()).filter(|url| !url.is_empty()) {
        let uri: Uri = url.parse().map_err(|_| BootError::Config(format!("{url:?} is no URL")))?;
        let authority = uri.authority().filter(|authority| authority.port().is_some());
        let authority =
            authority.ok_or_else(|| BootError::Config(format!("{url:?} names no port to listen on")))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(BootError::Config(format!("{url:?}: only http and https can be listened on"))),
        };
        let listener = TcpListener::bind(authority.as_str()).await;
        all.push((
            listener.map_err(|error| BootError::Config(format!("cannot listen on {url}: {error}")))?,
            secure,
        ));
    }
    Ok(all)
}

/// Says who this member is, until the cluster has heard it; then it is ready.
async fn publish(node: Node, config: Config) {
    let member = Member {
        id: node.setup.member_id,
        name: config.name.clone(),
        client_ur_ls: config.advertise_client_urls.clone(),
        ..Member::default()
    };
    loop {
        let known = node
            .state
            .read()
            .members
            .get(member.id)
            .is_some_and(|known| known.name == member.name && known.client_ur_ls == member.client_ur_ls);
        if known || node.propose(Caller::default(), Request::Attributes(member.clone())).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    if node.state.read().cluster_version().is_empty() {
        let _ = node.propose(Caller::default(), Request::ClusterVersion(CLUSTER_VERSION.into())).await;
    }
    println!("etcd: ready to serve client requests on {}", config.advertise_client_urls.join(","));
    if let Err(error) = ready() {
        eprintln!("etcd: the service manager could not be told: {error}");
    }
    // What it took to read the log and the state is needed no more.
    let _ = tokio::task::spawn_blocking(linux::memory::give_back).await;
}

/// Tells the service manager that the member is ready (sd_notify).
fn ready() -> io::Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let socket = UnixDatagram::unbound()?;
    let address = match path.to_str().and_then(|text| text.strip_prefix('@')) {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(&path)?,
    };
    socket.send_to_addr(b"READY=1", &address).map(drop)
}

/// Until a signal says to end.
pub(crate) async fn until_told() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Until a signal comes, or the member cannot go on.
async fn wait_for_end(node: &Node) -> Result<(), BootError> {
    let end = node.end.notified();
    tokio::select! {
        told = until_told() => told.map_err(text)?,
        () = end => {
            if !node.state.read().members.is_removed(node.setup.member_id) {
                return Err(BootError::Config("the member has stopped".into()));
            }
            // Who asked this very member for its removal is still to be answered.
            tokio::time::sleep(GRACE).await;
            return Ok(());
        }
    }
    hand_over(node).await;
    let end = node.end.notified();
    node.send(Input::Stop);
    let _ = tokio::time::timeout(Duration::from_secs(10), end).await;
    Ok(())
}

/// A leader that goes leaves another in its place.
async fn hand_over(node: &Node) {
    let standing = node.standing.borrow().clone();
    if standing.leader != node.setup.member_id {
        return;
    }
    let best = standing.matched.iter().max_by_key(|(_, matched)| *matched);
    let voter = |id: u64| node.state.read().members.get(id).is_some_and(|member| !member.is_learner);
    if let Some((id, _)) = best.filter(|(id, _)| voter(*id)) {
        node.send(Input::Transfer(*id));
        let mut standing = node.standing.clone();
        let moved = standing.wait_for(|standing| standing.leader != node.setup.member_id);
        let _ = tokio::time::timeout(node.setup.election, moved).await;
    }
}
