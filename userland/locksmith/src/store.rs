//! The semaphore in etcd: the JSON face of its v3 API, or the v2 API where the cluster's machines speak that.
//!
//! A change is a compare-and-swap, tried again while others are faster. An answer that got lost is no harm: who holds
//! the lock may take it again.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_client::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_client::{Content, Http, HttpError, Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::semaphore::{Refused, Semaphore};

/// How often a change is tried while others are faster.
const RACES: u32 = 30;
/// How long a member may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: usize = 1 << 20;

/// Which of etcd's APIs is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Api {
    /// That of etcd 3.
    V3,
    /// That of CoreOS's time.
    V2,
}

/// Why the semaphore cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No member answers.
    #[error("no etcd member answers; the last: {0}")]
    Unreachable(#[from] HttpError),
    /// Nobody to ask.
    #[error("no etcd member is named")]
    NoEndpoint,
    /// It answers something else.
    #[error("{url} answers {status}: {text}")]
    Answer {
        /// Which.
        url: String,
        /// Its status.
        status: StatusCode,
        /// What it says.
        text: String,
    },
    /// The key holds something else.
    #[error("{key} holds no reboot semaphore: {source}")]
    Semaphore {
        /// Which.
        key: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The semaphore says no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Others were always faster.
    #[error("others change the semaphore all the time; try again")]
    Raced,
    /// There are no threads.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The semaphore's place.
#[derive(Debug)]
pub struct Store {
    runtime: Runtime,
    http: Http,
    endpoints: Vec<String>,
    api: Api,
    key: String,
}

/// What was read, and its revision; `None`: the key is not there.
type Read = Option<(Semaphore, u64)>;

impl Store {
    /// A key in the cluster of these members.
    ///
    /// # Errors
    /// There are no threads.
    pub fn new(http: Http, endpoints: Vec<String>, api: Api, key: String) -> Result<Store, StoreError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Store { runtime, http: http.patient_for(PATIENCE), endpoints, api, key })
    }

    /// The semaphore; one with a single place where there is none yet.
    ///
    /// # Errors
    /// As [`StoreError`] says.
    pub fn read(&self) -> Result<Semaphore, StoreError> {
        Ok(self.get()?.map(|(semaphore, _)| semaphore).unwrap_or_default())
    }

    /// Changes it, and returns what it is now.
    ///
    /// # Errors
    /// As [`StoreError`] says; the semaphore is as it was then.
    pub fn change(
        &self,
        how: impl Fn(Semaphore) -> Result<Semaphore, Refused>,
    ) -> Result<Semaphore, StoreError> {
        for _ in 0..RACES {
            let read = self.get()?;
            let revision = read.as_ref().map(|(_, revision)| *revision);
            let before = read.map(|(semaphore, _)| semaphore);
            let after = how(before.clone().unwrap_or_default())?;
            if before.as_ref() == Some(&after) || self.swap(revision, &after)? {
                return Ok(after);
            }
        }
        Err(StoreError::Raced)
    }

    fn get(&self) -> Result<Read, StoreError> {
        let (text, revision) = match self.api {
            Api::V3 => {
                // Names of v3 have no folders; the first slash is the v2 API's.
                let answer = self.post("/v3/kv/range", &json!({ "key": STANDARD.encode(&self.key) }))?;
                let Some(pair) = answer.pointer("/kvs/0") else { return Ok(None) };
                let value = STANDARD.decode(pair["value"].as_str().unwrap_or_default()).unwrap_or_default();
                (String::from_utf8_lossy(&value).into_owned(), number(&pair["mod_revision"]))
            }
            Api::V2 => {
                let path = format!("/v2/keys/{}?quorum=true", self.key);
                let (status, answer) = self.ask(&Method::GET, &path, "", &[StatusCode::NOT_FOUND])?;
                if status == StatusCode::NOT_FOUND {
                    return Ok(None);
                }
                let node = &answer["node"];
                (node["value"].as_str().unwrap_or_default().to_owned(), number(&node["modifiedIndex"]))
            }
        };
        let semaphore = Semaphore::parse(&text)
            .map_err(|source| StoreError::Semaphore { key: self.key.clone(), source })?;
        Ok(Some((semaphore, revision)))
    }

    /// Writes it if it is still of this revision, or not there; false: it is another one by now.
    fn swap(&self, revision: Option<u64>, semaphore: &Semaphore) -> Result<bool, StoreError> {
        match self.api {
            Api::V3 => {
                let key = STANDARD.encode(&self.key);
                let answer = self.post(
                    "/v3/kv/txn",
                    &json!({
                        "compare": [{
                            "key": key, "target": "MOD", "result": "EQUAL",
                            "mod_revision": revision.unwrap_or(0).to_string(),
                        }],
                        "success": [{ "request_put": { "key": key, "value": STANDARD.encode(semaphore.text()) } }],
                    }),
                )?;
                Ok(answer["succeeded"] == Value::Bool(true))
            }
            Api::V2 => {
                let condition = match revision {
                    Some(revision) => format!("prevIndex={revision}"),
                    None => "prevExist=false".to_owned(),
                };
                let path = format!("/v2/keys/{}?{condition}", self.key);
                let body = format!("value={}", form(&semaphore.text()));
                let faster = [StatusCode::PRECONDITION_FAILED, StatusCode::NOT_FOUND];
                let (status, _) = self.ask(&Method::PUT, &path, &body, &faster)?;
                Ok(status.is_success())
            }
        }
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value, StoreError> {
        self.ask(&Method::POST, path, &body.to_string(), &[]).map(|(_, answer)| answer)
    }

    /// Asks one member after the other until one answers.
    fn ask(
        &self,
        method: &Method,
        path: &str,
        body: &str,
        expected: &[StatusCode],
    ) -> Result<(StatusCode, Value), StoreError> {
        let kind = if self.api == Api::V2 { "application/x-www-form-urlencoded" } else { "application/json" };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let content = match body {
            "" => Content::Empty,
            text => Content::Whole(text.to_owned().into_bytes().into()),
        };
        let mut last = StoreError::NoEndpoint;
        for endpoint in &self.endpoints {
            let named = format!("{}{path}", endpoint.trim_end_matches('/'));
            let answered = self.runtime.block_on(async {
                let url = Url::parse(&named)?;
                let response = self.http.send(method, &url, &headers, &content).await?;
                let status = response.status();
                Ok((status, response.bytes(LONGEST_ANSWER).await?))
            });
            let (status, bytes) = match answered {
                Ok(answered) => answered,
                Err(error) => {
                    last = StoreError::Unreachable(error);
                    continue;
                }
            };
            if status.is_success() || expected.contains(&status) {
                return Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()));
            }
            let text: String =
                String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(200).collect();
            last = StoreError::Answer { url: named, status, text };
        }
        Err(last)
    }
}

/// etcd's JSON has 64-bit numbers as text, in v2 as numbers.
fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// A value in a form.
fn form(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            escaped.push(byte.into())
        } else {
            escaped.push_str(&format!("%{byte:02X}"))
        }
    }
    escaped
}
