//! The semaphore behind FleetLock: a machine without etcd asks a server over HTTP, before its reboot and when it is back.
//!
//! POST `/v1/pre-reboot` and `/v1/steady-state` with the header `fleet-lock-protocol: true` and who asks in JSON; both may
//! be asked again. Source: the FleetLock protocol of Zincati and Airlock. Pure but for [`ask`].

use http_client::header::{HeaderMap, HeaderName, HeaderValue};
use http_client::{Content, Http, Method, Url};
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

use crate::semaphore::{Refused, Semaphore};
use crate::turn::Answer;

/// The header that every request has, so that no other page can make one.
pub const HEADER: &str = "fleet-lock-protocol";
const LONGEST: usize = 64 << 10;
/// An ID or a group is no longer, in bytes.
const LONGEST_NAME: usize = 256;

/// What a machine wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It is about to reboot.
    PreReboot,
    /// It is back, and well.
    SteadyState,
}

impl Verb {
    /// Where it is asked.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Verb::PreReboot => "/v1/pre-reboot",
            Verb::SteadyState => "/v1/steady-state",
        }
    }

    /// What is asked at this path.
    #[must_use]
    pub fn at(path: &str) -> Option<Verb> {
        [Verb::PreReboot, Verb::SteadyState].into_iter().find(|verb| verb.path() == path)
    }

    /// What it does to the semaphore. Both may be asked again: who is back has nothing more to give.
    ///
    /// # Errors
    /// All places are taken.
    pub fn change(self, semaphore: Semaphore, id: &str) -> Result<Semaphore, Refused> {
        match self {
            Verb::PreReboot => semaphore.lock(id),
            Verb::SteadyState => match semaphore.clone().unlock(id) {
                Err(Refused::NotHeld(_)) => Ok(semaphore),
                given => given,
            },
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The machine.
    pub id: String,
    /// Its group.
    pub group: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    client_params: Client,
}

/// What a server says that refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// In words that a program knows.
    pub kind: String,
    /// In words for people.
    pub value: String,
}

impl Client {
    /// As a request's body.
    #[must_use]
    pub fn body(&self) -> String {
        serde_json::to_string(&Body { client_params: self.clone() }).unwrap_or_default()
    }

    /// Reads a request: its header and its body.
    ///
    /// # Errors
    /// It is none.
    pub fn read(header: Option<&str>, body: &[u8]) -> Result<Client, Refusal> {
        let bad = |value: &str| Refusal { kind: "bad_request".to_owned(), value: value.to_owned() };
        if header != Some("true") {
            return Err(bad("the header fleet-lock-protocol: true is missing"));
        }
        let body: Body = serde_json::from_slice(body).map_err(|error| bad(&error.to_string()))?;
        let client = body.client_params;
        let fits = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if !fits(&client.id) || !fits(&client.group) || !client.group.chars().all(plain) {
            return Err(bad("a machine has an id, and a group of letters, digits, dots and dashes"));
        }
        Ok(client)
    }
}

/// Asks a server.
///
/// # Errors
/// There are no threads.
pub fn ask(http: &Http, server: &str, verb: Verb, client: &Client) -> std::io::Result<Answer> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static(HEADER), HeaderValue::from_static("true"));
    let content = Content::Whole(client.body().into_bytes().into());
    let named = format!("{}{}", server.trim_end_matches('/'), verb.path());
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        let response = http.send(&Method::POST, &Url::parse(&named)?, &headers, &content).await?;
        let status = response.status();
        Ok::<_, http_client::HttpError>((status, response.bytes(LONGEST).await?))
    });
    Ok(match answered {
        Ok((status, _)) if status.is_success() => Answer::Done,
        Ok((status, body)) => {
            let said = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.value);
            let said: String =
                said.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
            Answer::Unreachable(format!("{named} answers {status}: {said}"))
        }
        Err(error) => Answer::Unreachable(error.to_string()),
    })
}
