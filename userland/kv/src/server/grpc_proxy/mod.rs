//! `etcd grpc-proxy start`: stands between clients and members. Calls go to the members in turn, those who watch the
//! same keys share one watcher there, and with a namespace clients see only what begins with it.
//!
//! Without a namespace nothing but watches is read: the rest passes as it is. With one, locks and elections are still
//! those of the whole store, as are the keys that a lease names.
//!
//! Source: etcd 3.4, Documentation/op-guide/grpc_proxy.md and proxy/grpcproxy.

mod keys;
mod namespace;
mod watch;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response, StatusCode};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::relay::Relay;
use crate::applet;
use crate::proto::RangeRequest;
use crate::proto::kv_client::KvClient;
use crate::proto::kv_server::KvServer;
use crate::proto::watch_server::WatchServer;
use crate::serve::http::text;
use crate::serve::{AnyBody, Peer, connection, tls};
use keys::Keys;
use namespace::Namespace;
use watch::Watchers;

/// How it calls itself.
const NAME: &str = "etcd: grpc-proxy";

/// Stands between clients and members
#[derive(Parser)]
#[command(name = "etcd grpc-proxy", version = crate::serve::VERSION)]
enum Arguments {
    /// Start the proxy
    Start(Box<Start>),
}

#[derive(clap::Args)]
struct Start {
    #[command(flatten)]
    relay: Relay,
    /// What clients' keys begin with in the store
    #[arg(long, default_value = "")]
    namespace: String,
    /// Our certificate for the members
    #[arg(long)]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    key: Option<PathBuf>,
    /// Who signs the members' certificates
    #[arg(long)]
    cacert: Option<PathBuf>,
    /// Our certificate for clients
    #[arg(long)]
    cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// Who signs the clients' certificates
    #[arg(long)]
    trusted_ca_file: Option<PathBuf>,
    /// Taken for etcd's sake: nothing is registered
    #[arg(long)]
    advertise_client_url: Option<String>,
    /// Taken for etcd's sake: there is nothing to keep
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Who a client says he is; it goes with what is asked for him.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Token(String);

impl Token {
    fn of(metadata: &MetadataMap) -> Token {
        let said = metadata.get("token").or_else(|| metadata.get("authorization"));
        Token(said.and_then(|said| said.to_str().ok()).unwrap_or_default().to_owned())
    }
}

/// A request on behalf of who has this token.
fn with_token<T>(message: T, token: &Token) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Ok(value) = token.0.parse()
        && !token.0.is_empty()
    {
        request.metadata_mut().insert("token", value);
    }
    request
}

/// Runs the proxy.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match applet::parse(args) {
        Ok(Arguments::Start(start)) => applet::serve(NAME, run(*start)),
        Err(code) => code,
    }
}

impl Start {
    /// A connection to each member; calls are spread over those that answer.
    fn channel(&self, endpoints: &[String]) -> Result<Channel, String> {
        let secure = self.cacert.is_some() || self.cert.is_some();
        let all = endpoints.iter().map(|endpoint| self.endpoint(endpoint, secure));
        let all: Vec<Endpoint> = all.collect::<Result<_, _>>()?;
        Ok(Channel::balance_list(all.into_iter()))
    }

    fn endpoint(&self, endpoint: &str, secure: bool) -> Result<Endpoint, String> {
        let url = crate::cli::url(endpoint, secure);
        let bad = |error: tonic::transport::Error| format!("{url}: {error}");
        let read =
            |path: &PathBuf| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        let mut builder =
            Endpoint::from_shared(url.clone()).map_err(bad)?.connect_timeout(Duration::from_secs(5));
        builder = builder.http2_keep_alive_interval(Duration::from_secs(10)).tcp_nodelay(true);
        if url.starts_with("https") {
            let mut tls = ClientTlsConfig::new();
            if let Some(ca) = &self.cacert {
                tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
            }
            if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
                tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
            }
            builder = builder.tls_config(tls).map_err(bad)?;
        }
        Ok(builder)
    }
}

async fn run(start: Start) -> Result<(), String> {
    let endpoints = start.relay.endpoints().await?;
    let files = tls::Files {
        cert: start.cert_file.clone(),
        key: start.key_file.clone(),
        ca: start.trusted_ca_file.clone(),
        client_auth: start.trusted_ca_file.is_some(),
    };
    let tls = files.cert.is_some().then(|| files.server().map(Arc::new)).transpose();
    let tls = tls.map_err(|error| error.to_string())?;
    let proxy = Proxy::new(start.channel(&endpoints)?, Namespace(start.namespace.clone().into()));
    let listener = start.relay.listen(NAME, &endpoints).await?;
    let serve = connection::serve(listener, tls, move |request, _: Peer| {
        let proxy = proxy.clone();
        async move { proxy.answer(request).await }
    });
    let end = super::until_told();
    tokio::select! {
        () = serve => Ok(()),
        result = end => result.map_err(|error| error.to_string()),
    }
}

/// What every connection needs.
#[derive(Clone)]
struct Proxy {
    channel: Channel,
    keys: Option<Keys>,
    watchers: Watchers,
    forwarded: Arc<AtomicU64>,
}

impl Proxy {
    fn new(channel: Channel, space: Namespace) -> Proxy {
        let keys = (!space.0.is_empty()).then(|| Keys::new(channel.clone(), space.clone()));
        let watchers = Watchers::new(channel.clone(), space);
        Proxy { channel, keys, watchers, forwarded: Arc::default() }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
        let kind = request.headers().get(CONTENT_TYPE);
        if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
            return Ok(self.http(request.uri().path()).await);
        }
        let request = request.map(Body::new);
        let service = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
        let response = match (service, &self.keys) {
            ("etcdserverpb.Watch", _) => {
                let mut server = WatchServer::new(self.watchers.clone());
                server = server.max_encoding_message_size(usize::MAX);
                server.call(request).await?
            }
            ("etcdserverpb.KV", Some(keys)) => {
                let mut server = KvServer::new(keys.clone()).max_encoding_message_size(usize::MAX);
                server.call(request).await?
            }
            _ => self.forward(request).await,
        };
        Ok(response.map(|body| AnyBody::new(body.map_err(Into::into))))
    }

    /// Hands a call on as it is, and its answer back.
    async fn forward(&self, mut request: Request<Body>) -> Response<Body> {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        // The host is that of the member; the rest of the address stays.
        request.headers_mut().remove("host");
        let mut channel = self.channel.clone();
        let ready = std::future::poll_fn(|context| channel.poll_ready(context)).await;
        let answer = match ready {
            Ok(()) => channel.call(request).await,
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| {
            let text = format!("there is no connection to a member: {error}");
            tonic::Status::unavailable(text).into_http()
        })
    }

    async fn http(&self, path: &str) -> Response<AnyBody> {
        match path {
            "/health" => {
                let range = RangeRequest { key: Bytes::from_static(b"health"), ..RangeRequest::default() };
                let asked = KvClient::new(self.channel.clone()).range(range).await;
                match asked {
                    // Who may not read is answered all the same.
                    Err(status) if status.code() == tonic::Code::Unavailable => {
                        let status = StatusCode::SERVICE_UNAVAILABLE;
                        text(status, "application/json", r#"{"health":"false"}"#)
                    }
                    _ => text(StatusCode::OK, "application/json", r#"{"health":"true"}"#),
                }
            }
            "/metrics" => {
                let watchers = self.watchers.len();
                let forwarded = self.forwarded.load(Ordering::Relaxed);
                let body = format!(
                    "# HELP etcd_grpc_proxy_watchers_coalescing_total Watchers at the members.\n\
                     # TYPE etcd_grpc_proxy_watchers_coalescing_total gauge\n\
                     etcd_grpc_proxy_watchers_coalescing_total {watchers}\n\
                     # HELP etcd_grpc_proxy_forwarded_total Calls that were handed on.\n\
                     # TYPE etcd_grpc_proxy_forwarded_total counter\n\
                     etcd_grpc_proxy_forwarded_total {forwarded}\n"
                );
                text(StatusCode::OK, "text/plain; version=0.0.4", body)
            }
            _ => text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
        }
    }
}
