//! Questions over HTTP to the first member that answers, and how they fail.

use std::fmt;
use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::form::encode;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// An answer: its status, the index of its headers, and its JSON.
pub struct Answer {
    pub status: u16,
    pub index: u64,
    pub json: Value,
}

impl Answer {
    /// The text at a place in the JSON; nothing where there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn number(&self, pointer: &str) -> u64 {
        self.json.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
    }

    pub fn is(&self, pointer: &str) -> bool {
        self.json.pointer(pointer).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// Why a verb failed.
#[derive(Debug)]
pub enum Failure {
    /// What was asked makes no sense.
    Usage(String),
    /// The same, in words that stand alone.
    Plain(String),
    /// No member answers: what each said.
    Unreachable(Vec<String>),
    /// The store refused, with its number.
    Store(String),
}

impl Failure {
    /// The exit code, as etcdctl's.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::Plain(_) => 1,
            Failure::Unreachable(_) => 2,
            Failure::Store(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) | Failure::Store(text) => write!(f, "Error:  {text}"),
            Failure::Plain(text) => f.write_str(text),
            Failure::Unreachable(all) => {
                let lines: String = all
                    .iter()
                    .enumerate()
                    .map(|(number, text)| format!("error #{number}: {text}\n"))
                    .collect();
                write!(f, "Error:  client: etcd cluster is unavailable or misconfigured; {lines}\n{lines}")
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Usage(error.to_string())
    }
}

pub struct Client {
    pub endpoints: Vec<String>,
    pub timeout: Duration,
    /// A user's name and password.
    pub login: Option<(String, String)>,
}

/// What is asked of a member.
struct Question<'a> {
    method: &'a str,
    path: &'a str,
    body: &'a str,
    /// What the body is.
    kind: &'a str,
}

impl Client {
    async fn ask(&self, question: &Question<'_>, wait: bool) -> Result<Answer, Failure> {
        let mut all = Vec::new();
        for endpoint in &self.endpoints {
            let asked = self.ask_at(endpoint, question);
            let answer = if wait { Ok(asked.await) } else { tokio::time::timeout(self.timeout, asked).await };
            match answer {
                Ok(Ok(answer)) => return check(answer),
                Ok(Err(error)) => all.push(dial_error(endpoint, &error)),
                Err(_) => all.push(format!("client: endpoint {endpoint} exceeded header timeout")),
            }
        }
        Err(Failure::Unreachable(all))
    }

    /// Asks about members and the like, in JSON.
    pub async fn json(&self, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
        self.ask(&Question { method, path, body, kind: JSON }, false).await
    }

    /// Asks for a key, or changes one.
    pub async fn keys(&self, method: &str, key: &str, fields: &[(&str, String)]) -> Result<Answer, Failure> {
        let path = format!("/v2/keys/{}", encode(key.trim_matches('/')));
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let fields = fields.join("&");
        match method {
            "PUT" | "POST" => {
                self.ask(&Question { method, path: &path, body: &fields, kind: FORM }, false).await
            }
            _ => {
                let path = &format!("{path}?{fields}");
                let question = Question { method, path, body: "", kind: FORM };
                self.ask(&question, fields.contains("wait=true")).await
            }
        }
    }

    /// Asks one member how it is.
    pub async fn health(&self, endpoint: &str) -> io::Result<Answer> {
        let question = Question { method: "GET", path: "/health", body: "", kind: JSON };
        let asked = self.ask_at(endpoint, &question);
        tokio::time::timeout(self.timeout, asked).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    async fn ask_at(&self, endpoint: &str, question: &Question<'_>) -> io::Result<Answer> {
        let url = crate::cli::client::url(endpoint, false);
        let uri: Uri = url.parse().map_err(io::Error::other)?;
        let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let stream = TcpStream::connect(&authority).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header("host", authority)
            .header("content-type", question.kind);
        if let Some((name, password)) = &self.login {
            let code = BASE64.encode(format!("{name}:{password}"));
            request = request.header("authorization", format!("Basic {code}"));
        }
        let body = Full::new(Bytes::copy_from_slice(question.body.as_bytes()));
        let request = request.body(body).map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let index =
            response.headers().get("x-etcd-index").and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let json = serde_json::from_slice(&body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
        Ok(Answer { status, index: index.unwrap_or(0), json })
    }
}

/// As Go words it.
pub fn dial_error(endpoint: &str, error: &io::Error) -> String {
    let place = endpoint.split_once("://").map_or(endpoint, |(_, place)| place);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("dial tcp {place}: connect: connection refused"),
        _ => format!("{place}: {error}"),
    }
}

fn check(answer: Answer) -> Result<Answer, Failure> {
    if answer.status < 300 {
        return Ok(answer);
    }
    let (message, code) = (answer.text("/message"), answer.number("/errorCode"));
    Err(match code {
        0 if message.is_empty() => {
            Failure::Plain(format!("the member answers {}: {}", answer.status, answer.json))
        }
        0 => Failure::Plain(message.to_owned()),
        _ => {
            let index = answer.number("/index");
            Failure::Store(format!("{code}: {message} ({}) [{index}]", answer.text("/cause")))
        }
    })
}
