//! `--proxy on|readonly`: no member, but a door to the members for who has none beside it. It learns where they are
//! from their peer URLs, asks them again from time to time, and keeps what it learned.
//!
//! Invariants: it passes on what it gets as it is; a member that failed is left out for a while; what it keeps is
//! replaced whole.
//!
//! Source: etcd 3.4, etcdmain/etcd.go and proxy/httpproxy; 2.3, Documentation/proxy.md.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::boot::{BootError, ask_members, data_dir, parse_cluster};
use super::config::Config;
use super::http_client::HttpClient;
use super::{founders, listen, ready};
use crate::serve::AnyBody;

/// Bytes of a request that is passed on.
const LARGEST: usize = 2 << 20;
/// How long a client may take for its head.
const PATIENCE: Duration = Duration::from_secs(30);
/// What concerns one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A member as a place to pass requests to.
#[derive(Clone, Debug)]
struct Endpoint {
    url: String,
    /// It is left out until then.
    failed_until: Option<Instant>,
}

/// The proxy.
struct Proxy {
    endpoints: Mutex<Vec<Endpoint>>,
    client: HttpClient,
    failure_wait: Duration,
    readonly: bool,
}

/// Where a proxy keeps what it learned.
fn directory(config: &Config) -> PathBuf {
    data_dir(config).join("proxy")
}

/// Whether this was a proxy before.
pub fn has_data(config: &Config) -> bool {
    directory(config).is_dir()
}

/// Runs a proxy until a signal comes.
///
/// # Errors
/// Why it cannot begin.
pub async fn run(config: &Config) -> Result<(), BootError> {
    let peer_tls = super::peer_files(config).client_if_any().map_err(super::text)?;
    let file = directory(config).join("cluster");
    fs::create_dir_all(directory(config))
        .map_err(|error| BootError::Config(format!("{}: {error}", directory(config).display())))?;
    let members = learned(&file, config).await?;
    let proxy = Arc::new(Proxy {
        endpoints: Mutex::default(),
        client: HttpClient { tls: peer_tls.clone(), proxy: None },
        failure_wait: Duration::from_millis(config.proxy_failure_wait),
        readonly: config.proxy == "readonly",
    });
    let listeners = listen(&config.listen_client_urls).await?;
    let interval = Duration::from_millis(config.proxy_refresh_interval);
    tokio::spawn(proxy.clone().follow(members, file, interval, peer_tls));
    let files = super::client_files(config);
    for (listener, secure) in listeners {
        let tls = secure.then(|| files.server().map(Arc::new)).transpose().map_err(super::text)?;
        tokio::spawn(serve(listener, tls, proxy.clone()));
    }
    println!("etcd: proxy: listening for client requests on {}", config.listen_client_urls.join(","));
    if let Err(error) = ready() {
        eprintln!("etcd: the service manager could not be told: {error}");
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(super::text)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(super::text)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Peer URLs of the members: those that were kept, else those that we are told.
async fn learned(file: &Path, config: &Config) -> Result<Vec<String>, BootError> {
    match fs::read(file) {
        Ok(bytes) => {
            if config.discovery.is_some() || config.discovery_srv.is_some() {
                eprintln!(
                    "etcd: discovery token ignored since the proxy has already been initialized. Valid cluster \
                     file found at {:?}",
                    file.display()
                );
            }
            let json: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
            let urls = json.as_ref().and_then(|json| json.get("PeerURLs")?.as_array());
            let bad = || BootError::Config(format!("{}: it cannot be read; remove it", file.display()));
            let urls = urls.ok_or_else(bad)?.iter();
            Ok(urls.filter_map(|url| url.as_str().map(str::to_owned)).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let members = parse_cluster(&founders::of_others(config).await?, "")?;
            Ok(members.into_iter().flat_map(|member| member.peer_ur_ls).collect())
        }
        Err(error) => Err(BootError::Config(format!("{}: {error}", file.display()))),
    }
}

/// Writes the file whole or not at all.
fn keep(file: &Path, urls: &[String]) -> io::Result<()> {
    let new = file.with_extension("bak");
    fs::write(&new, json!({ "PeerURLs": urls }).to_string())?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, file)
}

impl Proxy {
    /// Asks the members who they are, again and again; more often while nobody is known.
    async fn follow(
        self: Arc<Proxy>,
        mut peers: Vec<String>,
        file: PathBuf,
        interval: Duration,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) {
        let mut kept = Vec::new();
        loop {
            match ask_members(&peers, tls.clone()).await {
                Ok((_, members)) => {
                    let urls: Vec<String> =
                        members.iter().flat_map(|member| member.peer_ur_ls.clone()).collect();
                    if kept != urls {
                        match keep(&file, &urls) {
                            Ok(()) => kept = urls.clone(),
                            Err(error) => eprintln!("etcd: proxy: {}: {error}", file.display()),
                        }
                    }
                    if !urls.is_empty() {
                        peers = urls;
                    }
                    self.replace(members.into_iter().flat_map(|member| member.client_ur_ls).collect());
                }
                Err(error) => eprintln!("etcd: proxy: could not retrieve cluster information: {error}"),
            }
            let known = !self.endpoints.lock().is_empty();
            tokio::time::sleep(if known { interval } else { Duration::from_secs(1) }).await;
        }
    }

    fn replace(&self, urls: Vec<String>) {
        let mut endpoints = self.endpoints.lock();
        let old = std::mem::take(&mut *endpoints);
        let failed = |url: &String| old.iter().find(|known| known.url == *url)?.failed_until;
        *endpoints = urls.into_iter().map(|url| Endpoint { failed_until: failed(&url), url }).collect();
    }

    /// Those that are not left out now.
    fn available(&self) -> Vec<String> {
        let now = Instant::now();
        let endpoints = self.endpoints.lock();
        let well = endpoints.iter().filter(|endpoint| endpoint.failed_until.is_none_or(|until| until <= now));
        well.map(|endpoint| endpoint.url.clone()).collect()
    }

    fn failed(&self, url: &str) {
        let until = Instant::now() + self.failure_wait;
        if let Some(endpoint) = self.endpoints.lock().iter_mut().find(|endpoint| endpoint.url == url) {
            endpoint.failed_until = Some(until);
        }
    }

    async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Response<AnyBody> {
        if self.readonly && request.method() != Method::GET {
            return reply(StatusCode::NOT_IMPLEMENTED, "");
        }
        if request.uri().path() == "/v2/config/local/proxy" {
            if request.method() != Method::GET {
                return reply(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
            }
            return reply(StatusCode::OK, format!("{}\n", json!({ "endpoints": self.available() })));
        }
        let endpoints = self.available();
        if endpoints.is_empty() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "httpproxy: zero endpoints currently available");
        }
        let (mut head, body) = request.into_parts();
        drop_hop_by_hop(&mut head.headers);
        forwarded_for(&mut head.headers, from);
        let Ok(body) = Limited::new(body, LARGEST).collect().await else {
            return reply(StatusCode::BAD_REQUEST, "the request cannot be read\n");
        };
        let body = body.to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        for endpoint in &endpoints {
            let mut request = Request::new(Full::new(body.clone()));
            let Ok(uri) = format!("{}{path}", endpoint.trim_end_matches('/')).parse() else { continue };
            *request.uri_mut() = uri;
            *request.method_mut() = head.method.clone();
            *request.headers_mut() = head.headers.clone();
            match self.client.send(request).await {
                Ok(response) => {
                    let (mut head, body) = response.into_parts();
                    drop_hop_by_hop(&mut head.headers);
                    return Response::from_parts(head, AnyBody::new(body.map_err(Into::into)));
                }
                Err(error) => {
                    eprintln!("etcd: proxy: failed to direct request to {endpoint}: {error}");
                    self.failed(endpoint);
                }
            }
        }
        let text = format!("httpproxy: unable to get response from {} endpoint(s)", endpoints.len());
        refuse(StatusCode::BAD_GATEWAY, &text)
    }
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    HOP_BY_HOP.iter().for_each(|name| drop(headers.remove(*name)));
}

fn forwarded_for(headers: &mut HeaderMap, from: SocketAddr) {
    let name = HeaderName::from_static("x-forwarded-for");
    let before = headers.get_all(&name).iter().filter_map(|value| value.to_str().ok());
    let all = before.map(str::to_owned).chain([from.ip().to_string()]).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&all) {
        headers.insert(name, value);
    }
}

fn reply(status: StatusCode, body: impl Into<Bytes>) -> Response<AnyBody> {
    let mut response = Response::new(AnyBody::new(Full::new(body.into()).map_err(|never| match never {})));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: StatusCode, message: &str) -> Response<AnyBody> {
    reply(status, json!({ "message": message }).to_string())
}

async fn serve(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, proxy: Arc<Proxy>) {
    let acceptor = tls.map(tokio_rustls::TlsAcceptor::from);
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (acceptor, proxy) = (acceptor.clone(), proxy.clone());
        tokio::spawn(async move {
            let stream: Box<dyn super::peer::Stream> = match acceptor {
                None => Box::new(stream),
                Some(acceptor) => match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    _ => return,
                },
            };
            let service = service_fn(move |request| {
                let proxy = proxy.clone();
                async move { Ok::<_, Infallible>(proxy.answer(request, from).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
