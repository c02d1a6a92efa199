//! Requests and their answers.
//!
//! Who may change something shows a token (`Authorization: Bearer …`), or, where the server was given none, comes from
//! the machine itself. Everybody may ask.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use ring::digest::{Context, SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fleet::{Channel, Fleet, Group, Package};
use crate::payload::{self, Body};
use crate::store::{Kind, Store, StoreError};

/// A document of an operator is no longer, in bytes.
const LONGEST_DOCUMENT: usize = 1 << 20;
/// The page that shows rollouts.
const PAGE: &str = include_str!("page.html");

/// A server.
#[derive(Debug)]
pub struct Server {
    fleet: Mutex<Fleet>,
    store: Store,
    /// Who may change something.
    token: Option<String>,
    /// What machines are told of where payloads are; none: where they asked.
    url: Option<String>,
    secure: bool,
}

/// A refusal: its status and what is wrong.
type Refusal = (StatusCode, String);

fn refusal(status: StatusCode, why: impl Into<String>) -> Refusal {
    (status, why.into())
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        eprintln!("corten-update-server: {error}");
        (StatusCode::INSUFFICIENT_STORAGE, error.to_string())
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Server {
    /// One over this store.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn new(
        store: Store,
        token: Option<String>,
        url: Option<String>,
        secure: bool,
    ) -> Result<Server, StoreError> {
        Ok(Server { fleet: Mutex::new(store.load()?), store, token, url, secure })
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request of somebody at this address.
    pub async fn answer(&self, request: Request<Incoming>, from: SocketAddr) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let answered = match (request.method(), &parts[..]) {
            (&Method::POST, ["v1", "update"]) => self.omaha(request).await,
            (&Method::GET | &Method::HEAD, ["payloads", name]) => {
                return payload::send(&self.store.payload(plain(name)), &request).await;
            }
            (&Method::GET, [""]) => Ok(page()),
            (&Method::GET, ["health"]) => Ok(json(StatusCode::OK, &"ok")),
            (&Method::GET, ["api", "v1", what]) => self.list(what, request.uri().query()),
            (&Method::PUT | &Method::POST | &Method::DELETE, ["api", "v1", what, name, rest @ ..]) => {
                let (what, name) = ((*what).to_owned(), (*name).to_owned());
                let rest: Vec<String> = rest.iter().map(|part| (*part).to_owned()).collect();
                match self.may_change(&request, from) {
                    Ok(()) => self.change(request, &what, &name, &rest).await,
                    Err(refused) => Err(refused),
                }
            }
            _ => Err(refusal(StatusCode::NOT_FOUND, "there is nothing here")),
        };
        answered.unwrap_or_else(|(status, why)| json(status, &serde_json::json!({ "error": why })))
    }

    fn may_change(&self, request: &Request<Incoming>, from: SocketAddr) -> Result<(), Refusal> {
        let Some(token) = &self.token else {
            let local = from.ip().to_canonical().is_loopback();
            let why = "without a token (--token-file) only this machine itself may change something";
            return if local { Ok(()) } else { Err(refusal(StatusCode::FORBIDDEN, why)) };
        };
        let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Of hashes, the time that comparing takes tells nothing.
        let hash = |text: &str| digest(&SHA256, text.as_bytes());
        if hash(shown).as_ref() == hash(token).as_ref() {
            return Ok(());
        }
        Err(refusal(StatusCode::UNAUTHORIZED, "the token is missing or wrong"))
    }

    /// A machine asks.
    async fn omaha(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let scheme = if self.secure { "https" } else { "http" };
        let base = self.url.clone().unwrap_or_else(|| format!("{scheme}://{host}"));
        let base = format!("{}/payloads/", base.trim_end_matches('/'));
        let text = document(request, omaha::LONGEST).await?;
        let asked = omaha::Request::parse(&text)
            .map_err(|error| refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        let mut response = omaha::Response { server: "corten".to_owned(), answers: Vec::new() };
        for app in &asked.apps {
            let mut fleet = self.fleet();
            let heard = fleet.hear(app, &base, now());
            response.answers.push(heard.answer);
            for told in &heard.told {
                self.store.note(told)?;
            }
            if let Some((machine, group)) = heard.changed {
                self.store.put(Kind::Machines, &machine, fleet.machines.get(&machine))?;
                self.store.put(Kind::Groups, &group, fleet.groups.get(&group))?;
            }
        }
        // A server that forgets what it granted grants it twice.
        self.store.flush().await?;
        let text = response.to_xml().map_err(|error| refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        Ok(answer(StatusCode::OK, "text/xml; charset=utf-8", text.into()))
    }

    fn list(&self, what: &str, query: Option<&str>) -> Result<Response<Body>, Refusal> {
        let fleet = self.fleet();
        Ok(match what {
            "packages" => json(StatusCode::OK, &fleet.packages),
            "channels" => json(StatusCode::OK, &fleet.channels),
            "groups" => json(StatusCode::OK, &fleet.groups),
            "machines" => json(StatusCode::OK, &fleet.machines),
            "events" => {
                drop(fleet);
                let after = query.and_then(|query| query.strip_prefix("after="));
                let after = after.and_then(|number| number.parse().ok()).unwrap_or(0);
                json(StatusCode::OK, &self.store.events(after)?)
            }
            _ => return Err(refusal(StatusCode::NOT_FOUND, format!("there are no {what}"))),
        })
    }

    async fn change(
        &self,
        request: Request<Incoming>,
        what: &str,
        name: &str,
        rest: &[String],
    ) -> Result<Response<Body>, Refusal> {
        if plain(name) != name || name.is_empty() {
            return Err(refusal(StatusCode::BAD_REQUEST, "a name has letters, digits, - _ and . only"));
        }
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        match (request.method().clone(), what, &rest[..]) {
            (Method::PUT, "packages", ["payload"]) => self.take_payload(request, name).await?,
            (Method::PUT, "packages", []) => {
                let mut package: Package = read(request).await?;
                let mut fleet = self.fleet();
                if let Some(known) = fleet.packages.get(name) {
                    (package.size, package.sha256) = (known.size, known.sha256.clone());
                } else {
                    (package.size, package.sha256) = (0, String::new());
                }
                self.store.put(Kind::Packages, name, Some(&package))?;
                fleet.packages.insert(name.to_owned(), package);
            }
            (Method::PUT, "channels", []) => {
                let channel: Channel = read(request).await?;
                let mut fleet = self.fleet();
                let there = |package: &Package| package.version == channel.version && package.size > 0;
                if !fleet.packages.values().any(there) {
                    let why =
                        format!("no package has the version {}: bring its payload first", channel.version);
                    return Err(refusal(StatusCode::CONFLICT, why));
                }
                self.store.put(Kind::Channels, name, Some(&channel))?;
                fleet.channels.insert(name.to_owned(), channel);
            }
            (Method::PUT, "groups", []) => {
                let mut group: Group = read(request).await?;
                let mut fleet = self.fleet();
                // What happened is not the operator's to write.
                group.rollouts =
                    fleet.groups.get(name).map(|group| group.rollouts.clone()).unwrap_or_default();
                self.store.put(Kind::Groups, name, Some(&group))?;
                fleet.groups.insert(name.to_owned(), group);
            }
            (Method::POST, "groups", ["resume"]) => {
                let mut fleet = self.fleet();
                let none = || refusal(StatusCode::NOT_FOUND, format!("there is no group {name}"));
                let group = fleet.groups.get_mut(name).ok_or_else(none)?;
                group.rollouts.values_mut().for_each(crate::rollout::Rollout::resume);
                self.store.put(Kind::Groups, name, Some(&*group))?;
            }
            (Method::DELETE, "packages", []) => {
                self.fleet().packages.remove(name);
                self.store.put(Kind::Packages, name, None::<&Package>)?;
                let _ = std::fs::remove_file(self.store.payload(name));
            }
            (Method::DELETE, "channels", []) => {
                self.fleet().channels.remove(name);
                self.store.put(Kind::Channels, name, None::<&Channel>)?;
            }
            (Method::DELETE, "groups", []) => {
                self.fleet().groups.remove(name);
                self.store.put(Kind::Groups, name, None::<&Group>)?;
            }
            _ => return Err(refusal(StatusCode::NOT_FOUND, "that cannot be changed")),
        }
        self.store.flush().await?;
        Ok(json(StatusCode::OK, &"ok"))
    }

    /// The bytes of a package that is known: they count when they are whole and on the disk.
    async fn take_payload(&self, request: Request<Incoming>, name: &str) -> Result<(), Refusal> {
        if !self.fleet().packages.contains_key(name) {
            let why = format!("there is no package {name}: say first which version it is");
            return Err(refusal(StatusCode::NOT_FOUND, why));
        }
        let (path, new) = (self.store.payload(name), self.store.payload(&format!(".{name}.new")));
        let received = receive(request, &new).await;
        let (size, sha256) = match received {
            Ok(received) => received,
            Err(refused) => {
                let _ = std::fs::remove_file(&new);
                return Err(refused);
            }
        };
        let full = |error: std::io::Error| refusal(StatusCode::INSUFFICIENT_STORAGE, error.to_string());
        std::fs::rename(&new, &path).map_err(full)?;
        let mut fleet = self.fleet();
        if let Some(package) = fleet.packages.get_mut(name) {
            (package.size, package.sha256) = (size, sha256);
            self.store.put(Kind::Packages, name, Some(&*package))?;
        }
        Ok(())
    }
}

/// Writes a body to a file: its length and SHA-256.
async fn receive(request: Request<Incoming>, path: &Path) -> Result<(u64, String), Refusal> {
    let full = |error: std::io::Error| refusal(StatusCode::INSUFFICIENT_STORAGE, error.to_string());
    let mut file = File::create(path).map_err(full)?;
    let (mut body, mut size, mut hash) = (request.into_body(), 0_u64, Context::new(&SHA256));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
        if let Ok(bytes) = frame.into_data() {
            file.write_all(&bytes).map_err(full)?;
            hash.update(&bytes);
            size += bytes.len() as u64;
        }
    }
    file.sync_all().map_err(full)?;
    Ok((size, STANDARD.encode(hash.finish())))
}

/// A whole body.
async fn document(request: Request<Incoming>, longest: usize) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), longest).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| refusal(StatusCode::BAD_REQUEST, error.to_string()))
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let text = document(request, LONGEST_DOCUMENT).await?;
    serde_json::from_slice(&text).map_err(|error| refusal(StatusCode::BAD_REQUEST, error.to_string()))
}

/// A name that cannot lead out of a folder, or nothing.
fn plain(name: &str) -> &str {
    let fits = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if name.len() <= 128 && !name.starts_with('.') && name.chars().all(fits) { name } else { "" }
}

fn page() -> Response<Body> {
    answer(StatusCode::OK, "text/html; charset=utf-8", PAGE.into())
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    answer(status, "application/json", serde_json::to_vec(value).unwrap_or_default().into())
}

pub(crate) fn answer(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
