//! Logging in: challenges, credentials, tokens.
//!
//! Credentials are Docker's: `auths` in `$DOCKER_CONFIG/config.json`, by default in `~/.docker`. They go to
//! the registry they are for, and to the token server that this registry names, over TLS (or in the
//! clear if the registry itself may be spoken to in the clear), and never along with a redirect.
//!
//! Sources: RFC 7235 (challenges), RFC 7617 (Basic), Docker's "Token Authentication Specification".

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http_client::{Http, HttpError, Url};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use super::http::complaint;

const CONFIG_LIMIT: usize = 1 << 20;
const TOKEN_LIMIT: usize = 256 << 10;

/// Why there is no header to log in with.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file with the credentials cannot be used.
    #[error("{path}: {why}")]
    Credentials {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The token server cannot be reached.
    #[error("token server {realm}: {source}")]
    Server {
        /// Where it is.
        realm: String,
        /// What went wrong.
        source: HttpError,
    },
    /// The token server gives no token.
    #[error("token server {realm}: {why}")]
    Refused {
        /// Where it is.
        realm: String,
        /// Its answer.
        why: String,
    },
}

/// How a registry wants to know who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A name and a password with each request.
    Basic,
    /// A token from another server.
    Bearer {
        /// The URL of that server.
        realm: String,
        /// What the token is for.
        service: Option<String>,
    },
}

impl Challenge {
    /// The challenge of an answer that we can answer.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::choose(headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()))
    }

    /// The challenge that we can answer, tokens first.
    pub fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        let all: Vec<Self> = headers.filter_map(Self::parse).collect();
        let bearer = all.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(all.first()).cloned()
    }

    fn parse(header: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut realm = None;
        let mut service = None;
        for (key, value) in parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service })
    }
}

/// The `key="value"` pairs of a challenge.
fn parameters(mut rest: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_matches([' ', ',']);
        let mut value = String::new();
        let mut chars = after.char_indices();
        let mut end = after.len();
        if after.starts_with('"') {
            chars.next();
            let mut escaped = false;
            for (at, char) in chars {
                match char {
                    '\\' if !escaped => escaped = true,
                    '"' if !escaped => {
                        end = at + 1;
                        break;
                    }
                    _ => {
                        escaped = false;
                        value.push(char);
                    }
                }
            }
        } else {
            end = after.find(',').unwrap_or(after.len());
            value.push_str(after.get(..end).unwrap_or_default().trim());
        }
        found.push((key, value));
        rest = after.get(end..).unwrap_or_default();
    }
    found
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

impl Credentials {
    /// A name and its password.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }

    /// What a client of the Docker Engine API sends along in `X-Registry-Auth`; none if it is anonymous.
    ///
    /// # Errors
    /// When it is not base64 of JSON.
    pub fn from_header(header: &str) -> Result<Option<Self>, String> {
        #[derive(serde::Deserialize, Default)]
        #[serde(default)]
        struct Sent {
            username: String,
            password: String,
            auth: String,
        }
        let bytes =
            URL_SAFE_NO_PAD.decode(header.trim_end_matches('=')).map_err(|error| error.to_string())?;
        if bytes.is_empty() || bytes == b"null" {
            return Ok(None);
        }
        let sent: Sent = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if sent.username.is_empty() && !sent.auth.is_empty() {
            return decode(&sent.auth)
                .map(Some)
                .ok_or_else(|| "auth is not base64 of USER:PASSWORD".to_owned());
        }
        Ok((!sent.username.is_empty()).then(|| Self::new(&sent.username, &sent.password)))
    }

    /// The value of the `Authorization` header.
    #[must_use]
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// Where the user's credentials are kept, as Docker does.
#[must_use]
pub fn config_file() -> PathBuf {
    match std::env::var_os("DOCKER_CONFIG") {
        Some(dir) => PathBuf::from(dir).join("config.json"),
        None => PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()))
            .join(".docker/config.json"),
    }
}

/// The credentials for this registry, if the user has any.
///
/// # Errors
/// When the file is there but cannot be read.
pub fn credentials(endpoint: &str) -> Result<Option<Credentials>, AuthError> {
    let path = config_file();
    let bad = |why: String| AuthError::Credentials { path: path.display().to_string(), why };
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
        Ok(text) if text.len() > CONFIG_LIMIT => return Err(bad("larger than 1 MiB".to_owned())),
        Ok(text) => text,
    };
    find(&text, endpoint).map_err(bad)
}

fn find(text: &[u8], endpoint: &str) -> Result<Option<Credentials>, String> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        auths: std::collections::BTreeMap<String, Entry>,
    }
    #[derive(serde::Deserialize, Default)]
    struct Entry {
        #[serde(default)]
        auth: String,
    }
    let file: File = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let names: &[&str] = match endpoint {
        "registry-1.docker.io" => &["docker.io", "index.docker.io", "registry-1.docker.io"],
        other => &[other],
    };
    for (server, entry) in &file.auths {
        let host = server.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        if !names.contains(&host) || entry.auth.is_empty() {
            continue;
        }
        let found = decode(&entry.auth);
        return found
            .map(Some)
            .ok_or_else(|| format!("the entry of {server} is not the base64 form of USER:PASSWORD"));
    }
    Ok(None)
}

fn decode(auth: &str) -> Option<Credentials> {
    let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::new(user, password))
}

/// Gets a token and returns the value of the `Authorization` header.
///
/// # Errors
/// When the token server is not to be trusted, cannot be reached, or gives none.
pub async fn token(
    http: &Http,
    registry_scheme: &str,
    realm: &str,
    service: Option<&str>,
    scopes: &[String],
    credentials: Option<&Credentials>,
) -> Result<String, AuthError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let refused = |why: String| AuthError::Refused { realm: realm.to_owned(), why };
    let server = |source| AuthError::Server { realm: realm.to_owned(), source };
    let mut url = Url::parse(realm).map_err(server)?;
    for scope in scopes {
        url = url.with(&format!("scope={}", escape(scope))).map_err(server)?;
    }
    if let Some(service) = service {
        url = url.with(&format!("service={}", escape(service))).map_err(server)?;
    }
    if !url.is_secure() && registry_scheme == "https" {
        return Err(refused("it would take the credentials over plain HTTP; refused".to_owned()));
    }
    let mut headers = HeaderMap::new();
    if let Some(credentials) = credentials
        && let Ok(mut value) = HeaderValue::from_str(&credentials.basic())
    {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let response = http.get(&url, headers).await.map_err(server)?;
    if !response.status().is_success() {
        return Err(refused(format!("{}{}", response.status(), complaint(response).await)));
    }
    let bytes = response.bytes(TOKEN_LIMIT).await.map_err(server)?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    Ok(format!("Bearer {}", token.ok_or_else(|| refused("its answer holds no token".to_owned()))?))
}

/// Percent-encodes all but what a query may hold as it is.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b',' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_preferred() {
        let headers = [
            "Basic realm=\"x\"",
            "Bearer realm=\"https://auth.example/token\",service=\"a \\\"b\\\", c\",scope=\"d\"",
        ];
        assert_eq!(
            Challenge::choose(headers.into_iter()),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".to_owned(),
                service: Some("a \"b\", c".to_owned())
            })
        );
        assert_eq!(Challenge::choose(["basic"].into_iter()), Some(Challenge::Basic));
        assert_eq!(Challenge::choose(["Negotiate", "Bearer service=\"no realm\""].into_iter()), None);
    }

    #[test]
    fn credentials_are_found_by_host() {
        let text = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}},"10.0.2.2:5000":{{"auth":"bm8="}},"helper":{{}}}}}}"#,
            STANDARD.encode("me:se:cret")
        );
        let hub = find(text.as_bytes(), "registry-1.docker.io").unwrap().unwrap();
        assert_eq!((hub.user.as_str(), hub.password.as_str()), ("me", "se:cret"));
        assert_eq!(hub.basic(), format!("Basic {}", STANDARD.encode("me:se:cret")));
        assert!(!format!("{hub:?}").contains("cret"));
        assert_eq!(find(text.as_bytes(), "quay.io").unwrap(), None);
        assert!(find(text.as_bytes(), "10.0.2.2:5000").unwrap_err().contains("10.0.2.2:5000"));
    }

    #[test]
    fn a_client_of_the_api_sends_credentials_along() {
        let header = |text: &str| base64::engine::general_purpose::URL_SAFE.encode(text);
        let sent = |text: &str| Credentials::from_header(&header(text));
        let me = Some(Credentials::new("me", "se:cret"));
        assert_eq!(sent(r#"{"username":"me","password":"se:cret","serveraddress":"x"}"#), Ok(me.clone()));
        assert_eq!(sent(&format!(r#"{{"auth":"{}"}}"#, STANDARD.encode("me:se:cret"))), Ok(me));
        assert_eq!((sent("{}"), sent("null"), sent("")), (Ok(None), Ok(None), Ok(None)));
        assert!(sent("{").is_err() && Credentials::from_header("*").is_err());
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(escape("repository:a/b:pull"), "repository:a/b:pull");
        assert_eq!(escape("a&b=c d"), "a%26b%3Dc%20d");
    }

    proptest! {
        #[test]
        fn no_challenge_makes_it_panic(header in ".{0,100}") {
            let _ = Challenge::parse(&header);
            let _ = Challenge::parse(&format!("Bearer {header}"));
        }
    }
}
