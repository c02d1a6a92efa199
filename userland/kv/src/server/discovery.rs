//! Discovery by URL: the first members of a cluster meet in a directory of a v2 store, until as many are there as its
//! `_config/size` says. Those that come later learn that the cluster is full.
//!
//! Source: etcd 3.4, etcdserver/api/v2discovery, and Documentation/v2/discovery_protocol.md.

use std::io;
use std::time::Duration;

use hyper::Uri;
use serde_json::Value;

use super::boot::{BootError, parse_cluster};
use super::http_client::HttpClient;
use crate::form::encode;

/// How long one question may take; waiting for the others has no end.
const ANSWER: Duration = Duration::from_secs(5);
/// The longest that is waited between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(256);

/// Why a member does not find the others, in etcd's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// What a member registered is no `NAME=URL`.
    #[error("discovery: invalid URL")]
    InvalidUrl,
    /// The directory's size is no number.
    #[error("discovery: size key is bad")]
    BadSize,
    /// This member was here before: a token serves once.
    #[error("discovery: found duplicate id")]
    DuplicateId,
    /// Two members have the same name.
    #[error("discovery: found duplicate name")]
    DuplicateName,
    /// As many are here as are wanted.
    #[error("discovery: cluster is full")]
    Full,
    /// What answers is no v2 store.
    #[error("discovery: bad discovery endpoint")]
    BadEndpoint,
    /// The store refuses: the token was never given out, mostly.
    #[error("{0}")]
    Refused(String),
}

/// What a question came to.
enum Asked {
    /// The store is not there, or not well: it may be later.
    Unavailable(String),
    /// There is something already.
    Exists,
    /// The end.
    Failed(DiscoveryError),
}

/// A member's line in the directory.
#[derive(Clone, Debug)]
struct Registered {
    key: String,
    value: String,
    created: u64,
}

impl Registered {
    fn of(node: &Value) -> Option<Registered> {
        Some(Registered {
            key: node.get("key")?.as_str()?.to_owned(),
            value: node.get("value").and_then(Value::as_str).unwrap_or_default().to_owned(),
            created: node.get("createdIndex")?.as_u64()?,
        })
    }

    fn is(&self, id: &str) -> bool {
        self.key.rsplit('/').next() == Some(id)
    }
}

/// What is in the directory.
struct Found {
    nodes: Vec<Registered>,
    size: usize,
    index: u64,
    /// Whether the first `size` are there, and the asking member is not among them.
    full: bool,
}

/// The directory that a token stands for.
pub struct Directory {
    url: String,
    client: HttpClient,
    /// The first pause after a failure; it doubles.
    pause: Duration,
}

impl Directory {
    /// The directory behind a discovery URL.
    ///
    /// # Errors
    /// Where it is no URL.
    pub fn new(url: &str, client: HttpClient) -> Result<Directory, BootError> {
        let uri: Uri =
            url.parse().map_err(|_| BootError::Config(format!("--discovery: {url:?} is no URL")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(BootError::Config(format!("--discovery: {url:?} is no http or https URL")));
        }
        let url = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('/').to_owned();
        Ok(Directory { url, client, pause: Duration::from_secs(2) })
    }

    /// Registers a member and waits for the others. Returns all of them, as `--initial-cluster` names them.
    ///
    /// # Errors
    /// Why it cannot be one of them.
    pub async fn join(&self, id: u64, own: &str) -> Result<String, DiscoveryError> {
        let id = format!("{id:x}");
        if self.look(&id).await?.full {
            return Err(DiscoveryError::Full);
        }
        self.register(&id, own).await?;
        let found = self.look(&id).await?;
        if found.full {
            return Err(DiscoveryError::Full);
        }
        self.wait_for_all(found).await
    }

    /// Waits until all members are there, as one who will not be of them: a proxy.
    ///
    /// # Errors
    /// Why they cannot be learned.
    pub async fn members(&self) -> Result<String, DiscoveryError> {
        let found = self.look("").await?;
        self.wait_for_all(found).await
    }

    /// One question. A body that is no JSON is the answer of something else than a store.
    async fn ask(&self, method: &str, key: &str, query: &str, form: &str) -> Result<(Value, u64), Asked> {
        let url = format!("{}{key}{query}", self.url);
        let answer = self.client.form(method, &url, form).await;
        let answer = answer.map_err(|error: io::Error| Asked::Unavailable(format!("{url}: {error}")))?;
        let header =
            |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        let index: u64 = header("x-etcd-index").unwrap_or(0);
        let json: Option<Value> = serde_json::from_slice(answer.body()).ok();
        if answer.status().is_success() {
            return json.map(|json| (json, index)).ok_or(Asked::Failed(DiscoveryError::BadEndpoint));
        }
        if answer.status().is_server_error() {
            return Err(Asked::Unavailable(format!("{url}: it answers {}", answer.status())));
        }
        let Some(json) = json else { return Err(Asked::Failed(DiscoveryError::BadEndpoint)) };
        let text = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
        match json.get("errorCode").and_then(Value::as_u64) {
            Some(105) => Err(Asked::Exists),
            Some(code) => {
                let index = json.get("index").and_then(Value::as_u64).unwrap_or(index);
                let text = format!("{code}: {} ({}) [{index}]", text("message"), text("cause"));
                Err(Asked::Failed(DiscoveryError::Refused(text)))
            }
            None => Err(Asked::Failed(DiscoveryError::BadEndpoint)),
        }
    }

    /// One question that must be answered soon.
    async fn ask_soon(
        &self,
        method: &str,
        key: &str,
        query: &str,
        form: &str,
    ) -> Result<(Value, u64), Asked> {
        match tokio::time::timeout(ANSWER, self.ask(method, key, query, form)).await {
            Ok(answer) => answer,
            Err(_) => Err(Asked::Unavailable(format!("{}{key}: no answer in {ANSWER:?}", self.url))),
        }
    }

    /// The same question again, with longer and longer pauses, until the store is there.
    async fn ask_until_there(&self, key: &str) -> Result<(Value, u64), DiscoveryError> {
        let mut pause = self.pause;
        loop {
            match self.ask_soon("GET", key, "", "").await {
                Ok(answer) => return Ok(answer),
                Err(Asked::Exists) => return Err(DiscoveryError::DuplicateId),
                Err(Asked::Failed(error)) => return Err(error),
                Err(Asked::Unavailable(why)) => {
                    eprintln!("etcd: error connecting to discovery url, retrying in {pause:?}: {why}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Who is there, oldest first.
    async fn look(&self, id: &str) -> Result<Found, DiscoveryError> {
        let size = self.ask_until_there("/_config/size").await?;
        let size = size.0.pointer("/node/value").and_then(Value::as_str).and_then(|text| text.parse().ok());
        let size: usize = size.filter(|size| *size > 0).ok_or(DiscoveryError::BadSize)?;
        let (json, index) = self.ask_until_there("").await?;
        let nodes = json.pointer("/node/nodes").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut nodes: Vec<Registered> =
            nodes.iter().filter_map(Registered::of).filter(|node| !node.is("_config")).collect();
        nodes.sort_by_key(|node| node.created);
        let full = nodes.len() >= size && !nodes.iter().take(size).any(|node| node.is(id));
        nodes.truncate(size);
        Ok(Found { nodes, size, index, full })
    }

    async fn register(&self, id: &str, own: &str) -> Result<(), DiscoveryError> {
        let form = format!("value={}", encode(own));
        match self.ask_soon("PUT", &format!("/{id}"), "?prevExist=false", &form).await {
            Ok(_) => Ok(()),
            Err(Asked::Exists) => Err(DiscoveryError::DuplicateId),
            Err(Asked::Unavailable(why)) => Err(DiscoveryError::Refused(why)),
            Err(Asked::Failed(error)) => Err(error),
        }
    }

    async fn wait_for_all(&self, mut found: Found) -> Result<String, DiscoveryError> {
        let mut pause = self.pause;
        while found.nodes.len() < found.size {
            eprintln!("etcd: found {} of {} members, waiting for more", found.nodes.len(), found.size);
            let query = format!("?recursive=true&wait=true&waitIndex={}", found.index + 1);
            match self.ask("GET", "", &query, "").await {
                Ok((json, _)) => {
                    pause = self.pause;
                    let Some(node) = json.get("node").and_then(Registered::of) else { continue };
                    let index = json.pointer("/node/modifiedIndex").and_then(Value::as_u64);
                    found.index = index.unwrap_or(0).max(found.index + 1);
                    let created = json.get("action").and_then(Value::as_str) == Some("create");
                    if created && !node.key.contains("/_config") {
                        found.nodes.push(node);
                    }
                }
                // A wait that took too long ends with an empty answer; a history that is gone, with an error.
                Err(why) => {
                    if let Asked::Unavailable(why) = why {
                        eprintln!("etcd: waiting for other nodes, retrying in {pause:?}: {why}");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    found = self.look("").await?;
                }
            }
        }
        let all: Vec<String> = found.nodes.into_iter().map(|node| node.value).collect();
        let text = all.join(",");
        let members = parse_cluster(&text, "").map_err(|_| DiscoveryError::InvalidUrl)?;
        if members.len() == found.size { Ok(text) } else { Err(DiscoveryError::DuplicateName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discovery_url_is_one_of_http() {
        let sound = |url: &str| Directory::new(url, HttpClient::default()).is_ok();
        assert!(sound("https://discovery.example/0123"));
        for bad in ["discovery.example/0123", "ftp://discovery.example/0123", "https://", ""] {
            assert!(!sound(bad), "{bad:?}");
        }
    }
}
