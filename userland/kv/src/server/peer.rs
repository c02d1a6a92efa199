//! Members among themselves: an HTTP server on the peer URLs, and a stream of messages to each other member.
//!
//! `GET /members` and `/version` are etcd's, for who wants to join. `GET /corten/raft` with `Upgrade: corten-raft`
//! turns the connection into a stream of frames: `length, crc32, Message`. `POST /corten/snapshot` carries a snapshot
//! as its body. Both name the cluster and the two members, and are refused where those do not fit.
//!
//! Invariant: what cannot be sent now is dropped and said to be lost: Raft sends again. Nothing waits for a slow member.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_stream::wrappers::ReceiverStream;

use crate::node::{Input, Node, Output};
use crate::proto::internal::Message;
use crate::proto::internal::message::Kind;
use crate::serve::AnyBody;
use crate::state::View;
use crate::storage::snapshot;

/// Messages that wait for one member.
const WAITING: usize = 4096;
/// Bytes of a message.
const FRAME_MAX: usize = 64 << 20;
/// How long a connection may take, or a frame.
const PATIENCE: Duration = Duration::from_secs(10);
const PROTOCOL: &str = "corten-raft";

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Ways to the other members.
pub struct Peers {
    node: OnceLock<Node>,
    senders: Mutex<HashMap<u64, mpsc::Sender<Message>>>,
    tls: Option<Arc<rustls::ClientConfig>>,
    runtime: tokio::runtime::Handle,
}

impl Peers {
    /// None yet; connections are made from this runtime.
    pub fn new(tls: Option<Arc<rustls::ClientConfig>>, runtime: tokio::runtime::Handle) -> Arc<Peers> {
        Arc::new(Peers { node: OnceLock::new(), senders: Mutex::default(), tls, runtime })
    }

    /// The member that they are for.
    pub fn attach(&self, node: Node) {
        let _ = self.node.set(node);
    }

    /// Sends, or says that it could not.
    pub fn send(self: &Arc<Peers>, output: Output) {
        match output {
            Output::Message(message) => self.send_message(message),
            Output::Snapshot(message, view) => {
                let peers = self.clone();
                self.runtime.spawn(async move {
                    let to = message.to;
                    match peers.send_snapshot(message, view).await {
                        // The member may die before it has taken it over.
                        Ok(()) => tokio::time::sleep(PATIENCE).await,
                        Err(error) => eprintln!("etcd: a snapshot did not reach member {to:x}: {error}"),
                    }
                    peers.tell(Input::SnapshotFailed(to));
                });
            }
        }
    }

    fn tell(&self, input: Input) {
        if let Some(node) = self.node.get() {
            node.send(input);
        }
    }

    fn send_message(self: &Arc<Peers>, message: Message) {
        let to = message.to;
        if let Some(node) = self.node.get().filter(|_| message.kind() == Kind::Append) {
            node.counts.appends_sent.fetch_add(1, Ordering::Relaxed);
        }
        let mut senders = self.senders.lock();
        let sender = senders.entry(to).or_insert_with(|| {
            let (send, receive) = mpsc::channel(WAITING);
            self.runtime.spawn(self.clone().deliver(to, receive));
            send
        });
        match sender.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.tell(Input::Unreachable(to)),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                senders.remove(&to);
            }
        }
    }

    /// Takes messages to one member over connections, one after the other.
    async fn deliver(self: Arc<Peers>, to: u64, mut messages: mpsc::Receiver<Message>) {
        loop {
            let Some(first) = messages.recv().await else { return };
            let result = async {
                let mut stream = BufWriter::with_capacity(256 << 10, self.stream(to).await?);
                let mut next = Some(first);
                loop {
                    let message = match next.take() {
                        Some(message) => message,
                        None => match messages.try_recv() {
                            Ok(message) => message,
                            Err(_) => {
                                stream.flush().await?;
                                let Some(message) = messages.recv().await else { return Ok(()) };
                                message
                            }
                        },
                    };
                    tokio::time::timeout(PATIENCE, write_frame(&mut stream, &message)).await??;
                }
            };
            let failed: io::Result<()> = result.await;
            if failed.is_err() {
                while messages.try_recv().is_ok() {}
                self.tell(Input::Unreachable(to));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    fn urls(&self, to: u64) -> Vec<String> {
        let Some(node) = self.node.get() else { return Vec::new() };
        let state = node.state.read();
        state.members.get(to).map(|member| member.peer_ur_ls.clone()).unwrap_or_default()
    }

    fn head(&self, to: u64, uri: &Uri, path: &str) -> http_head::Builder {
        let (cluster, from) =
            self.node.get().map_or((0, 0), |node| (node.setup.cluster_id, node.setup.member_id));
        Request::builder()
            .uri(path)
            .header("host", uri.authority().map(|authority| authority.as_str()).unwrap_or_default())
            .header("x-etcd-cluster-id", format!("{cluster:x}"))
            .header("x-server-from", format!("{from:x}"))
            .header("x-raft-to", format!("{to:x}"))
    }

    /// A connection to the first of a member's URLs that answers.
    async fn connect(&self, to: u64) -> io::Result<(Uri, Box<dyn Stream>)> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the member has no peer URL");
        for url in self.urls(to) {
            match connect(&url, self.tls.clone()).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn stream(&self, to: u64) -> io::Result<impl AsyncWrite + Unpin + Send> {
        let (uri, stream) = self.connect(to).await?;
        let request = self
            .head(to, &uri, "/corten/raft")
            .header("connection", "upgrade")
            .header("upgrade", PROTOCOL)
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection.with_upgrades());
        let response =
            tokio::time::timeout(PATIENCE, sender.send_request(request)).await?.map_err(io::Error::other)?;
        if response.status() == StatusCode::GONE {
            eprintln!("etcd: this member has been permanently removed from the cluster");
            self.tell(Input::Stop);
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(io::Error::other(format!("the member answers {}", response.status())));
        }
        Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(io::Error::other)?))
    }

    async fn send_snapshot(&self, message: Message, view: View) -> io::Result<()> {
        let Some(node) = self.node.get() else { return Ok(()) };
        let (to, path) = (message.to, node.paths.snapshots.join(format!("peer-{:x}.tmp", node.unique())));
        let file = tokio::task::spawn_blocking(move || {
            snapshot::write(&path, &view).map_err(io::Error::other)?;
            let file = std::fs::File::open(&path);
            let _ = std::fs::remove_file(&path);
            file
        });
        let mut file = tokio::fs::File::from_std(file.await.map_err(io::Error::other)??);
        let (parts, body) = mpsc::channel::<io::Result<Frame<Bytes>>>(4);
        tokio::spawn(async move {
            let mut buffer = vec![0u8; 256 << 10];
            while let Ok(count) = file.read(&mut buffer).await
                && count > 0
            {
                let part = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                if parts.send(Ok(Frame::data(part))).await.is_err() {
                    return;
                }
            }
        });
        let (uri, stream) = self.connect(to).await?;
        let request = self
            .head(to, &uri, "/corten/snapshot")
            .method("POST")
            .header("x-message", BASE64.encode(message.encode_to_vec()))
            .body(StreamBody::new(ReceiverStream::new(body)))
            .map_err(io::Error::other)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(()),
            status => Err(io::Error::other(format!("the member answers {status}"))),
        }
    }
}

use hyper::http::request as http_head;

/// A connection to where a URL points.
///
/// # Errors
/// Where nobody answers there, or not as who the URL names.
pub async fn connect(
    url: &str,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> io::Result<(Uri, Box<dyn Stream>)> {
    let uri: Uri = url.parse().map_err(io::Error::other)?;
    let secure = uri.scheme_str() == Some("https");
    let host = uri.host().ok_or_else(|| io::Error::other("the URL has no host"))?.trim_matches(['[', ']']);
    let place = (host.to_owned(), uri.port_u16().unwrap_or(if secure { 443 } else { 80 }));
    let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(place)).await??;
    stream.set_nodelay(true)?;
    if !secure {
        return Ok((uri, Box::new(stream)));
    }
    let tls =
        tls.ok_or_else(|| io::Error::other("an https peer URL needs --peer-cert-file and --peer-key-file"))?;
    encrypt(&uri, stream, tls).await.map(|stream| (uri.clone(), stream))
}

/// Speaks TLS with who a URL names, over a connection that is there.
///
/// # Errors
/// Where it is not who it should be.
pub async fn encrypt(
    uri: &Uri,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Arc<rustls::ClientConfig>,
) -> io::Result<Box<dyn Stream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = rustls::pki_types::ServerName::try_from(host).map_err(io::Error::other)?;
    let stream = tokio::time::timeout(PATIENCE, TlsConnector::from(tls).connect(name, stream)).await??;
    Ok(Box::new(stream))
}

/// Asks a member over HTTP. Returns the head and the body of a good answer.
///
/// # Errors
/// Where it does not answer, or not well.
pub async fn get(
    url: &str,
    path: &str,
    tls: Option<Arc<rustls::ClientConfig>>,
) -> io::Result<(HeaderMap, Bytes)> {
    let (uri, stream) = connect(url, tls).await?;
    let host = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let request = Request::builder().uri(path).header("host", host).body(Empty::<Bytes>::new());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = request.map_err(io::Error::other)?;
    let response =
        tokio::time::timeout(PATIENCE, sender.send_request(request)).await?.map_err(io::Error::other)?;
    if !response.status().is_success() {
        return Err(io::Error::other(format!("it answers {}", response.status())));
    }
    let headers = response.headers().clone();
    let body = http_body_util::Limited::new(response.into_body(), 16 << 20);
    let body = tokio::time::timeout(PATIENCE, body.collect()).await?.map_err(io::Error::other)?;
    Ok((headers, body.to_bytes()))
}

async fn write_frame(to: &mut (impl AsyncWrite + Unpin), message: &Message) -> io::Result<()> {
    let payload = message.encode_to_vec();
    to.write_u32(u32::try_from(payload.len()).map_err(io::Error::other)?).await?;
    to.write_u32(crc32fast::hash(&payload)).await?;
    to.write_all(&payload).await
}

/// Reads the next message of a stream.
///
/// # Errors
/// Where it ends, or what comes is no message.
pub async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
    let length = from.read_u32().await? as usize;
    let sum = from.read_u32().await?;
    if length > FRAME_MAX {
        return Err(io::Error::other("the frame is too large"));
    }
    // Memory is taken as bytes come: a length alone costs nothing.
    let mut payload = Vec::new();
    let mut rest = from.take(length as u64);
    if tokio::time::timeout(PATIENCE, rest.read_to_end(&mut payload)).await?? < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if crc32fast::hash(&payload) != sum {
        return Err(io::Error::other("the frame does not match its checksum"));
    }
    Message::decode(Bytes::from(payload)).map_err(io::Error::other)
}

/// Serves other members for ever.
pub async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, node: Node) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (acceptor, node) = (acceptor.clone(), node.clone());
        tokio::spawn(async move {
            let stream: Box<dyn Stream> = match acceptor {
                None => Box::new(stream),
                Some(acceptor) => match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    _ => return,
                },
            };
            let service = service_fn(move |request| {
                let node = node.clone();
                async move { Ok::<_, Infallible>(answer(request, &node).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            let _ = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
        });
    }
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<AnyBody> {
    let mut response = Response::new(AnyBody::new(Full::new(body.into()).map_err(|never| match never {})));
    *response.status_mut() = status;
    response
}

/// Who sends, if it is a member of this cluster that means us.
fn check(headers: &HeaderMap, node: &Node) -> Result<u64, (StatusCode, &'static str)> {
    let number = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| u64::from_str_radix(text, 16).ok())
    };
    if number("x-etcd-cluster-id") != Some(node.setup.cluster_id) {
        return Err((StatusCode::PRECONDITION_FAILED, "cluster ID mismatch\n"));
    }
    if number("x-raft-to") != Some(node.setup.member_id) {
        return Err((StatusCode::PRECONDITION_FAILED, "this is another member\n"));
    }
    let from = number("x-server-from").unwrap_or(0);
    if node.state.read().members.is_removed(from) {
        return Err((StatusCode::GONE, "the member has been permanently removed from the cluster\n"));
    }
    Ok(from)
}

async fn answer(mut request: Request<Incoming>, node: &Node) -> Response<AnyBody> {
    let mut response = match request.uri().path() {
        "/members" => {
            let members: Vec<_> = node.state.read().members.iter().map(member_json).collect();
            reply(StatusCode::OK, serde_json::Value::from(members).to_string())
        }
        "/version" => {
            let json = serde_json::json!({
                "etcdserver": crate::serve::VERSION,
                "etcdcluster": crate::serve::CLUSTER_VERSION,
            });
            reply(StatusCode::OK, json.to_string())
        }
        "/corten/raft" => match check(request.headers(), node) {
            Ok(from) => {
                let node = node.clone();
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    if let Ok(stream) = upgrade.await {
                        receive(TokioIo::new(stream), from, &node).await;
                    }
                });
                let mut response = reply(StatusCode::SWITCHING_PROTOCOLS, "");
                let headers = response.headers_mut();
                headers.insert("connection", hyper::header::HeaderValue::from_static("upgrade"));
                headers.insert("upgrade", hyper::header::HeaderValue::from_static(PROTOCOL));
                response
            }
            Err((status, why)) => reply(status, why),
        },
        "/corten/snapshot" => match check(request.headers(), node) {
            Ok(from) => match take_snapshot(request, from, node).await {
                Ok(()) => reply(StatusCode::NO_CONTENT, ""),
                Err(error) => reply(StatusCode::BAD_REQUEST, format!("{error}\n")),
            },
            Err((status, why)) => reply(status, why),
        },
        _ => reply(StatusCode::NOT_FOUND, "404 page not found\n"),
    };
    if let Ok(id) = hyper::header::HeaderValue::from_str(&format!("{:x}", node.setup.cluster_id)) {
        response.headers_mut().insert("x-etcd-cluster-id", id);
    }
    response
}

fn member_json(member: &crate::proto::Member) -> serde_json::Value {
    serde_json::json!({
        "id": member.id,
        "peerURLs": member.peer_ur_ls,
        "name": member.name,
        "clientURLs": member.client_ur_ls,
        "isLearner": member.is_learner,
    })
}

async fn receive(stream: impl AsyncRead + Unpin, from: u64, node: &Node) {
    let mut stream = tokio::io::BufReader::with_capacity(256 << 10, stream);
    while let Ok(message) = read_frame(&mut stream).await {
        let removed = node.state.read().members.is_removed(from);
        if message.from != from || message.to != node.setup.member_id || removed {
            return;
        }
        if message.kind() == Kind::Append {
            node.counts.appends_received.fetch_add(1, Ordering::Relaxed);
        }
        node.send(Input::Message(message));
    }
}

/// Takes a snapshot into a file, checks it, and hands it on.
async fn take_snapshot(request: Request<Incoming>, from: u64, node: &Node) -> io::Result<()> {
    let head = request.headers().get("x-message").and_then(|value| BASE64.decode(value.as_bytes()).ok());
    let message = head.and_then(|bytes| Message::decode(Bytes::from(bytes)).ok());
    let message = message.filter(|message| message.from == from && message.snapshot.is_some());
    let message = message.ok_or_else(|| io::Error::other("the message of the snapshot cannot be read"))?;
    let path: PathBuf = node.paths.snapshots.join(format!("arriving-{:x}.partial", node.unique()));
    let received = async {
        let mut file = tokio::fs::File::create(&path).await?;
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                file.write_all(&data).await?;
            }
        }
        file.sync_all().await?;
        let path = path.clone();
        let checked = tokio::task::spawn_blocking(move || snapshot::read(&path).map(drop)).await;
        checked.map_err(io::Error::other)?.map_err(io::Error::other)
    };
    match received.await {
        Ok(()) => {
            node.send(Input::Snapshot(message, path));
            Ok(())
        }
        Err(error) => {
            let _ = std::fs::remove_file(&path);
            Err(error)
        }
    }
}
