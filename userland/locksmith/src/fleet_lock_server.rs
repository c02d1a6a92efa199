//! `fleet-lock-server`: FleetLock for machines that reach no store, over the semaphores in one.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use http_body_util::{BodyExt, Full, Limited};
use http_client::{Bytes, Http, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore as Places;

use crate::fleet_lock::{Client, HEADER, Refusal, Verb};
use crate::semaphore::key;
use crate::store::{Api, Store, StoreError};

/// Connections at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;
const HEAD_TIME: Duration = Duration::from_secs(30);
const LONGEST: usize = 64 << 10;

/// Serve FleetLock over the reboot semaphores in etcd
#[derive(Parser)]
#[command(name = "fleet-lock-server", version)]
struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:3333")]
    listen: SocketAddr,
    /// Members of the store, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:2379")]
    endpoints: Vec<String>,
    /// Which of etcd's APIs to speak
    #[arg(long, value_enum, default_value = "v3")]
    api: Api,
    /// A certificate that the members' are signed by, in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// The applet.
pub fn fleet_lock_server(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let run = || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind(arguments.listen).await?;
            println!("Listening on {}.", listener.local_addr()?);
            let certificates = arguments.ca_file.into_iter().collect();
            let stores = Stores { endpoints: arguments.endpoints, api: arguments.api, certificates };
            serve(listener, stores).await
        })
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet-lock-server: {}: {error}", arguments.listen);
            ExitCode::FAILURE
        }
    }
}

/// Where the semaphores are.
#[derive(Debug)]
pub struct Stores {
    /// Members of the store.
    pub endpoints: Vec<String>,
    /// Which of its APIs is spoken.
    pub api: Api,
    /// Files of certificates that the members' are signed by.
    pub certificates: Vec<PathBuf>,
}

impl Stores {
    fn change(&self, verb: Verb, client: &Client) -> Result<(), StoreError> {
        let group = if client.group == "default" { "" } else { &client.group };
        let http = Http::new(&self.certificates)?;
        let store = Store::new(http, self.endpoints.clone(), self.api, key(group))?;
        store.change(|semaphore| verb.change(semaphore, &client.id)).map(drop)
    }
}

/// Serves until the process ends.
///
/// # Errors
/// None in practice: a connection that cannot be taken is waited for.
pub async fn serve(listener: TcpListener, stores: Stores) -> io::Result<()> {
    let (stores, places) = (Arc::new(stores), Arc::new(Places::new(CONNECTIONS)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let stores = Arc::clone(&stores);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let stores = Arc::clone(&stores);
                async move { Ok::<_, Infallible>(answer(request, stores).await) }
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>, stores: Arc<Stores>) -> Response<Full<Bytes>> {
    let refuse = |status, kind: &str, value: String| {
        let refusal = Refusal { kind: kind.to_owned(), value };
        let body = serde_json::to_vec(&refusal).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    };
    let Some(verb) = Verb::at(request.uri().path()).filter(|_| request.method() == Method::POST) else {
        return refuse(StatusCode::NOT_FOUND, "not_found", "there is nothing here".to_owned());
    };
    let header = request.headers().get(HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = match Limited::new(request.into_body(), LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, "bad_request", error.to_string()),
    };
    let client = match Client::read(header.as_deref(), &body) {
        Ok(client) => client,
        Err(refusal) => return refuse(StatusCode::BAD_REQUEST, &refusal.kind, refusal.value),
    };
    let changed = tokio::task::spawn_blocking(move || stores.change(verb, &client)).await;
    match changed {
        Ok(Ok(())) => Response::new(Full::new(Bytes::new())),
        Ok(Err(StoreError::Refused(refused))) => {
            refuse(StatusCode::CONFLICT, "failed_lock", refused.to_string())
        }
        Ok(Err(error)) => refuse(StatusCode::SERVICE_UNAVAILABLE, "store", error.to_string()),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()),
    }
}
