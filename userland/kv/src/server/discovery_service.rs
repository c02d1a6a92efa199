//! `etcd-discovery`: gives out tokens for new clusters, and lets members meet at them. What it knows is in a v2 store,
//! below `_etcd/registry`; requests for a token go there as they are, waiting ones too.
//!
//! Source: coreos/discovery.etcd.io and etcd 3.4, Documentation/dev-internal/discovery_protocol.md.

use std::convert::Infallible;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::http_client::HttpClient;
use crate::applet;
use crate::form;
use crate::serve::AnyBody;

/// Where tokens are in the store.
const REGISTRY: &str = "/v2/keys/_etcd/registry";
/// Bytes of a token; it is written in hexadecimal.
const TOKEN: usize = 16;
/// Bytes of a registration.
const LARGEST: usize = 64 << 10;
/// How long a client may take for its head.
const PATIENCE: Duration = Duration::from_secs(30);
/// Members of a cluster where nobody says how many.
const DEFAULT_SIZE: &str = "3";

/// Lets the members of new clusters find each other: `curl 'http://HOST:8087/new?size=3'` gives a URL for
/// `etcd --discovery`.
#[derive(Parser)]
#[command(name = "etcd-discovery", version, disable_help_flag = true)]
struct Arguments {
    /// Where to listen
    #[arg(short, long, env = "DISC_ADDR", default_value = ":8087")]
    addr: String,
    /// The v2 store that keeps the tokens
    #[arg(short, long, env = "DISC_ETCD", default_value = "http://127.0.0.1:2379")]
    etcd: String,
    /// How the URLs that are given out begin; without it, as the client has called this server
    #[arg(short, long, env = "DISC_HOST")]
    host: Option<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,
}

/// Runs the service.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match applet::parse(args) {
        Ok(arguments) => applet::serve("etcd-discovery", run(arguments)),
        Err(code) => code,
    }
}

struct Service {
    store: String,
    host: Option<String>,
    client: HttpClient,
}

async fn run(arguments: Arguments) -> Result<(), String> {
    // `:8087` is Go's way of saying: on every address.
    let addr = match arguments.addr.strip_prefix(':') {
        Some(port) => format!("[::]:{port}"),
        None => arguments.addr.clone(),
    };
    let listener =
        TcpListener::bind(&addr).await.map_err(|error| format!("cannot listen on {addr}: {error}"))?;
    let service = Arc::new(Service {
        store: arguments.etcd.trim_end_matches('/').to_owned(),
        host: arguments.host.map(|host| host.trim_end_matches('/').to_owned()),
        client: HttpClient::default(),
    });
    println!("etcd-discovery: listening on {}, tokens are in {}", arguments.addr, service.store);
    if let Err(error) = super::ready() {
        eprintln!("etcd-discovery: the service manager could not be told: {error}");
    }
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let service = service.clone();
                async move { Ok::<_, Infallible>(service.answer(request).await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    New,
    Health,
    /// A token's directory, or below it.
    Registry(&'a str),
    /// The number of members; only this service writes it.
    Size(&'a str),
    Nowhere,
}

fn place(path: &str) -> Place<'_> {
    match path {
        "/new" => return Place::New,
        "/health" => return Place::Health,
        _ => {}
    }
    let path = path.trim_end_matches('/');
    let mut parts = path.trim_start_matches('/').split('/');
    let token = parts.next().unwrap_or_default();
    let sound = token.len() == 2 * TOKEN && token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let rest: Vec<&str> = parts.collect();
    match rest.as_slice() {
        _ if !sound => Place::Nowhere,
        [] => Place::Registry(path),
        ["_config", "size"] => Place::Size(path),
        // A member's number.
        [id] if !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()) => Place::Registry(path),
        _ => Place::Nowhere,
    }
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<AnyBody> {
        let path = request.uri().path().to_owned();
        let method = request.method().clone();
        let reads = matches!(method, Method::GET | Method::HEAD);
        let is_token = path.trim_matches('/').len() == 2 * TOKEN;
        match place(&path) {
            Place::New if reads || matches!(method, Method::PUT | Method::POST) => {
                self.new_token(&request).await
            }
            Place::Health if reads => self.health().await,
            Place::Size(path) if reads => self.pass_on(path, request).await,
            Place::Registry(path)
                if reads || method == Method::PUT && !is_token || method == Method::DELETE && !is_token =>
            {
                self.pass_on(path, request).await
            }
            Place::Nowhere => text(StatusCode::NOT_FOUND, "404 page not found\n"),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, ""),
        }
    }

    async fn new_token(&self, request: &Request<Incoming>) -> Response<AnyBody> {
        let fields = form::parse(request.uri().query().unwrap_or_default());
        let size = fields.get("size").map_or(DEFAULT_SIZE, String::as_str);
        let Some(size) = size.parse::<u32>().ok().filter(|size| *size > 0) else {
            return text(StatusCode::BAD_REQUEST, format!("size={size}: a cluster has one member or more\n"));
        };
        let mut bytes = [0u8; TOKEN];
        if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).is_err() {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "there is no randomness for a token\n");
        }
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let url = format!("{}{REGISTRY}/{token}/_config/size?prevExist=false", self.store);
        match self.client.form("PUT", &url, &format!("value={size}")).await {
            Ok(answer) if answer.status().is_success() => {
                let called =
                    request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or("localhost");
                let begin = self.host.clone().unwrap_or_else(|| format!("http://{called}"));
                text(StatusCode::OK, format!("{begin}/{token}"))
            }
            Ok(answer) => unavailable(&format!("the store answers {}", answer.status())),
            Err(error) => unavailable(&error.to_string()),
        }
    }

    async fn health(&self) -> Response<AnyBody> {
        match self.client.form("GET", &format!("{}{REGISTRY}?quorum=true", self.store), "").await {
            Ok(answer) if answer.status().is_success() || answer.status() == StatusCode::NOT_FOUND => {
                text(StatusCode::OK, "OK")
            }
            Ok(answer) => unavailable(&format!("the store answers {}", answer.status())),
            Err(error) => unavailable(&error.to_string()),
        }
    }

    async fn pass_on(&self, path: &str, request: Request<Incoming>) -> Response<AnyBody> {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let url = format!("{}{REGISTRY}{path}{query}", self.store);
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, LARGEST).collect().await else {
            return text(StatusCode::BAD_REQUEST, "the request cannot be read\n");
        };
        let mut onward = Request::builder().method(head.method).uri(url);
        if let Some(kind) = head.headers.get(CONTENT_TYPE) {
            onward = onward.header(CONTENT_TYPE, kind);
        }
        let Ok(onward) = onward.body(Full::new(body.to_bytes())) else {
            return text(StatusCode::BAD_REQUEST, "the request makes no sense\n");
        };
        match self.client.send(onward).await {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                for name in ["connection", "keep-alive", "transfer-encoding"] {
                    head.headers.remove(name);
                }
                Response::from_parts(head, AnyBody::new(body.map_err(Into::into)))
            }
            Err(error) => unavailable(&error.to_string()),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<AnyBody> {
    let mut response = Response::new(AnyBody::new(Full::new(body.into()).map_err(|never| match never {})));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn unavailable(why: &str) -> Response<AnyBody> {
    eprintln!("etcd-discovery: {why}");
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_token_or_below_it() {
        let token = "/0123456789abcdef0123456789abcdef";
        assert_eq!(place("/new"), Place::New);
        assert_eq!(place(token), Place::Registry(token));
        let (size, member) = (format!("{token}/_config/size"), format!("{token}/8e9e05c52164694d"));
        assert_eq!(place(&size), Place::Size(&size));
        assert_eq!(place(&member), Place::Registry(&member));
        for nowhere in [
            "/",
            "/0123",
            "/new/x",
            &format!("{token}/../../secret"),
            &format!("{token}/a/b"),
            &format!("{token}/_config"),
        ] {
            assert_eq!(place(nowhere), Place::Nowhere, "{nowhere}");
        }
    }
}
