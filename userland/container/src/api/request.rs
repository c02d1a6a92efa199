//! A request taken apart: version, path, query, body.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Method, Request as Http};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::answer::Failure;
use crate::pipe::Chunks;

/// No JSON that a client sends is larger.
const BODY_LIMIT: usize = 4 << 20;
/// Chunks of a body on their way to who reads them.
const CHUNKS_AHEAD: usize = 16;

/// What was asked, without its body.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The segments of the path, decoded, without the version.
    pub path: Vec<String>,
    /// The query, decoded; of a name that comes twice the first.
    pub query: HashMap<String, String>,
    /// The headers.
    pub headers: HeaderMap,
    /// The connection, to be taken over, and the body.
    pub http: Http<Incoming>,
}

impl Request {
    /// Takes one apart.
    ///
    /// # Errors
    /// When its path is no text, or its version is one that is not spoken.
    pub fn new(http: Http<Incoming>) -> Result<Self, Failure> {
        let uri = http.uri();
        let mut path = Vec::new();
        for segment in uri.path().split('/').filter(|segment| !segment.is_empty()) {
            path.push(decode(segment, false).ok_or_else(|| Failure::bad("the path is not UTF-8"))?);
        }
        if let Some(version) = path.first().and_then(|first| version(first)) {
            check(version)?;
            path.remove(0);
        }
        let mut query = HashMap::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(name), Some(value)) = (decode(name, true), decode(value, true)) {
                query.entry(name).or_insert(value);
            }
        }
        Ok(Self { method: http.method().clone(), path, query, headers: http.headers().clone(), http })
    }

    /// A value of the query; none if it is not there or empty.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All values of the query under one name.
    pub fn values(&self, name: &str) -> Vec<String> {
        let pairs = self.http.uri().query().unwrap_or_default().split('&');
        let values = pairs.filter_map(|pair| pair.split_once('=').filter(|(known, _)| *known == name));
        values.filter_map(|(_, value)| decode(value, true)).filter(|value| !value.is_empty()).collect()
    }

    /// A switch of the query, as Docker reads them.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.value(name).unwrap_or_default().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A number of the query.
    ///
    /// # Errors
    /// When it is none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        let bad = |value| Failure::bad(format!("{name}: {value:?} is not a number that it can be"));
        self.value(name).map(|value| value.parse().map_err(|_| bad(value))).transpose()
    }

    /// The body, read whole.
    ///
    /// # Errors
    /// When it is too large or the connection breaks.
    pub async fn body(&mut self) -> Result<Bytes, Failure> {
        let body = Limited::new(self.http.body_mut(), BODY_LIMIT).collect().await;
        Ok(body.map_err(|error| Failure::bad(format!("request body: {error}")))?.to_bytes())
    }

    /// The body as a reader for a thread that may block. A connection that breaks is an error there, and all that the
    /// client has to say is taken, for many read an answer only then.
    pub fn reader(self) -> Chunks {
        let mut body = self.http.into_body();
        let (send, receive) = mpsc::channel(CHUNKS_AHEAD);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let chunk: io::Result<Bytes> = match frame {
                    Ok(frame) => frame.into_data().map_or_else(|_| Ok(Bytes::new()), Ok),
                    Err(error) => Err(io::Error::other(error)),
                };
                if send.send(chunk).await.is_err() {
                    break;
                }
            }
            drop(send);
            while let Some(Ok(_)) = body.frame().await {}
        });
        Chunks::new(receive)
    }

    /// Lets the client say all it has to say, for as long as is patient: many read an answer only then.
    pub async fn discard(&mut self) {
        const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
        let all = async { while let Some(Ok(_)) = self.http.body_mut().frame().await {} };
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }

    /// The body as JSON; an empty one is an empty object.
    ///
    /// # Errors
    /// When it is no JSON of that form.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let body = self.body().await?;
        Ok(serde_json::from_slice(if body.is_empty() { b"{}" } else { &body })?)
    }
}

fn version(segment: &str) -> Option<(u32, u32)> {
    let (major, minor) = segment.strip_prefix('v')?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn check(version: (u32, u32)) -> Result<(), Failure> {
    let (major, minor) = version;
    if version > (1, 50) {
        let newest = super::VERSION;
        return Err(Failure::bad(format!(
            "client version {major}.{minor} is too new. Maximum supported API version is {newest}"
        )));
    }
    if version < (1, 24) {
        let oldest = super::OLDEST;
        return Err(Failure::bad(format!(
            "client version {major}.{minor} is too old. Minimum supported API version is {oldest}, please upgrade \
             your client to a newer version"
        )));
    }
    Ok(())
}

/// Percent-decoding; in a query `+` is a space.
fn decode(text: &str, query: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?
            }
            b'+' if query => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Does blocking work on a thread of its own.
///
/// # Errors
/// What the work says.
pub async fn blocking<T: Send + 'static>(
    api: &Arc<super::Api>,
    work: impl FnOnce(&super::Api) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let api = Arc::clone(api);
    tokio::task::spawn_blocking(move || work(&api)).await.map_err(Failure::internal)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_once() {
        assert_eq!(decode("a%2Fb%252f+c", true).as_deref(), Some("a/b%2f c"));
        assert_eq!(decode("a+b", false).as_deref(), Some("a+b"));
        for bad in ["%", "%2", "%zz", "%ff", "%00"] {
            assert_eq!(decode(bad, true), None, "{bad}");
        }
    }

    #[test]
    fn versions_have_bounds() {
        assert_eq!(version("v1.41"), Some((1, 41)));
        assert_eq!((version("version"), version("v1")), (None, None));
        assert!(check((1, 24)).is_ok() && check((1, 50)).is_ok());
        assert!(check((1, 51)).unwrap_err().message.contains("too new"));
        assert!(check((1, 23)).unwrap_err().message.contains("too old"));
    }
}
