//! A client of HTTP/1.1 over TCP or TLS, as much of it as registries, update servers and stores need.
//!
//! Every wait has an end: a connection, an answer, the next piece of a body. Every body has a limit. A
//! redirect is followed, but never from TLS to plain HTTP, and credentials stay behind when it leads to
//! another host. Names are resolved from `/etc/hosts` and by the servers of `/etc/resolv.conf`, without
//! the C library. Sources: RFC 9110, RFC 9112.

mod content;

pub use content::Content;
pub use hyper::body::Bytes;
pub use hyper::header;
pub use hyper::{Method, StatusCode};

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(15);
/// How long an answer, or the next piece of one, may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a body that is sent needs at most, on a line not worth calling one: bytes a second.
const SLOWEST: u64 = 16 << 10;
const REDIRECTS: usize = 5;
const AGENT: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));
/// Where distributions keep the certificates that the system trusts.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why there is no answer, or only half of one.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Not a URL that we can ask.
    #[error("{0:?} is not an http or https URL")]
    Url(String),
    /// The name has no address.
    #[error("cannot resolve {host}: {why}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// No address took the connection.
    #[error("cannot connect to {to}: {source}")]
    Connect {
        /// Address and port.
        to: String,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The other side does not speak TLS, or is not who it should be.
    #[error("TLS with {host}: {source}")]
    Tls {
        /// The name it should have.
        host: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// Our own certificates cannot be read.
    #[error("certificates: {0}")]
    Roots(String),
    /// Not HTTP, or the connection broke.
    #[error("{0}")]
    Protocol(#[from] hyper::Error),
    /// It took too long.
    #[error("no {0} in time")]
    Late(&'static str),
    /// More came than was announced or is allowed.
    #[error("more than {limit} bytes came")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Less came than was announced.
    #[error("the connection ended {missing} bytes early")]
    CutShort {
        /// How many bytes are missing.
        missing: u64,
    },
    /// Redirected in circles, or away from TLS.
    #[error("refused to follow a redirect to {0}")]
    Redirect(String),
}

impl HttpError {
    /// Whether the same request may work when made again.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Protocol(_) | Self::Late(_) | Self::CutShort { .. })
    }

    /// Whether the other side speaks TLS, and is not who it should be.
    #[must_use]
    pub fn is_of_a_stranger(&self) -> bool {
        let Self::Tls { source, .. } = self else { return false };
        let cause = source.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
    }

    /// Whether it was the TLS handshake that failed.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }
}

/// An absolute `http` or `https` URL.
#[derive(Clone, Debug)]
pub struct Url(Uri);

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Url {
    /// Parses it.
    ///
    /// # Errors
    /// When it is not absolute, or of another scheme.
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let bad = || HttpError::Url(text.chars().take(256).collect());
        let uri: Uri = text.parse().map_err(|_| bad())?;
        let known = matches!(uri.scheme_str(), Some("http" | "https"));
        // A user name in a URL is a trick to make one host look like another.
        let honest = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if known && honest { Ok(Self(uri)) } else { Err(bad()) }
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Whether both lead to the same host and port in the same way: what was told to one may be told to the other.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        (self.is_secure(), self.host(), self.port()) == (other.is_secure(), other.host(), other.port())
    }

    /// The URL with one more pair in its query, which must not need escaping.
    ///
    /// # Errors
    /// When it is no URL any more.
    pub fn with(&self, pair: &str) -> Result<Self, HttpError> {
        let text = self.0.to_string();
        Self::parse(&format!("{text}{}{pair}", if text.contains('?') { '&' } else { '?' }))
    }

    /// The host and the port that it leads to.
    #[must_use]
    pub fn server(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }

    fn host(&self) -> &str {
        host_of(self.authority())
    }

    fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// Where a `Location` header leads, as seen from here.
    ///
    /// # Errors
    /// When it is no URL that we can ask.
    pub fn join(&self, location: &str) -> Result<Self, HttpError> {
        if location.starts_with("//") {
            return Self::parse(&format!("{}:{location}", self.0.scheme_str().unwrap_or("https")));
        }
        if location.starts_with('/') {
            let scheme = self.0.scheme_str().unwrap_or("https");
            return Self::parse(&format!("{scheme}://{}{location}", self.authority()));
        }
        Self::parse(location)
    }
}

/// A client that trusts what this machine trusts.
pub struct Http {
    tls: tokio_rustls::TlsConnector,
    patience: Duration,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// A client that trusts the system's certificates (`SSL_CERT_FILE` names others) and those in these PEM files.
    ///
    /// # Errors
    /// When certificates are there but cannot be read.
    pub fn new(certificates: &[PathBuf]) -> Result<Self, HttpError> {
        let mut roots = rustls::RootCertStore::empty();
        let system = std::env::var_os("SSL_CERT_FILE").unwrap_or_else(|| SYSTEM_ROOTS.into());
        add_roots(&mut roots, Path::new(&system))?;
        for path in certificates {
            add_roots(&mut roots, path)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Roots(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: tokio_rustls::TlsConnector::from(Arc::new(config)), patience: PATIENCE })
    }

    /// The same, but an answer, and the next piece of one, may take no longer than this.
    #[must_use]
    pub fn patient_for(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks for `url`, following redirects. Any final status is an answer, not an error.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Response, HttpError> {
        self.follow(&Method::GET, url, headers).await
    }

    /// Asks as [`Self::get`] does, but for the headers only.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn head(&self, url: &Url, headers: HeaderMap) -> Result<Response, HttpError> {
        self.follow(&Method::HEAD, url, headers).await
    }

    async fn follow(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
    ) -> Result<Response, HttpError> {
        let mut url = url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(method, &url, &headers, &Content::Empty).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok())
            else {
                return Ok(response);
            };
            let next = url.join(location)?;
            if url.is_secure() && !next.is_secure() {
                return Err(HttpError::Redirect(location.chars().take(256).collect()));
            }
            if !next.is_same_server(&url) {
                headers.remove(AUTHORIZATION);
            }
            url = next;
        }
        Err(HttpError::Redirect(url.0.to_string()))
    }

    /// One request. A redirect is an answer like any other.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        content: &Content,
    ) -> Result<Response, HttpError> {
        let stream = connect(url.host(), url.port()).await?;
        if !url.is_secure() {
            return self.ask(TokioIo::new(stream), method, url, headers, content).await;
        }
        let host = url.host().to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| HttpError::Url(host.clone()))?;
        let stream = timeout(CONNECT, self.tls.connect(name, stream))
            .await
            .map_err(|_| HttpError::Late("TLS handshake"))?
            .map_err(|source| HttpError::Tls { host, source })?;
        self.ask(TokioIo::new(stream), method, url, headers, content).await
    }

    async fn ask<T>(
        &self,
        io: T,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        content: &Content,
    ) -> Result<Response, HttpError>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let (mut sender, connection) = timeout(CONNECT, hyper::client::conn::http1::handshake(io))
            .await
            .map_err(|_| HttpError::Late("handshake"))??;
        let connection = tokio::spawn(connection);
        let path = url.0.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(content.sending());
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().map_err(|_| HttpError::Url(path.to_owned()))?;
        *request.headers_mut() = headers.clone();
        let host =
            HeaderValue::from_str(url.authority()).map_err(|_| HttpError::Url(url.authority().to_owned()))?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let patience = self.patience + Duration::from_secs(content.length() / SLOWEST);
        let answer = timeout(patience, sender.send_request(request))
            .await
            .map_err(|_| HttpError::Late("answer"))??;
        Ok(Response { answer, connection, patience: self.patience })
    }
}

/// The host in `HOST[:PORT]`, without the brackets of an IPv6 address.
#[must_use]
pub fn host_of(endpoint: &str) -> &str {
    if let Some(rest) = endpoint.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match endpoint.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => endpoint,
    }
}

fn add_roots(roots: &mut rustls::RootCertStore, path: &Path) -> Result<(), HttpError> {
    if !path.exists() {
        return Ok(());
    }
    let bad = |why: String| HttpError::Roots(format!("{}: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| bad(error.to_string()))?;
    // One certificate of the system's hundreds that webpki does not like is no reason to trust none.
    roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    Ok(())
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, HttpError> {
    let mut last = None;
    for address in resolve(host).await? {
        let to = SocketAddr::new(address, port);
        let failed = match timeout(CONNECT, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => {
                // Small requests, large answers: waiting to fill a packet only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(source)) => HttpError::Connect { to: to.to_string(), source },
            Err(_) => HttpError::Late("connection"),
        };
        last = Some(failed);
    }
    Err(last
        .unwrap_or_else(|| HttpError::Resolve { host: host.to_owned(), why: "it has no address".to_owned() }))
}

async fn resolve(host: &str) -> Result<Vec<IpAddr>, HttpError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    if host == "localhost" {
        return Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
    }
    let failed = |why: String| HttpError::Resolve { host: host.to_owned(), why };
    let resolver = TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| failed(format!("/etc/resolv.conf: {error}")))?;
    let found = timeout(CONNECT, resolver.lookup_ip(host))
        .await
        .map_err(|_| HttpError::Late("answer from the name servers"))?
        .map_err(|error| failed(error.to_string()))?;
    Ok(found.iter().collect())
}

/// An answer whose body is still to come. Dropping it closes the connection.
#[derive(Debug)]
pub struct Response {
    answer: hyper::Response<Incoming>,
    connection: tokio::task::JoinHandle<hyper::Result<()>>,
    patience: Duration,
}

impl Drop for Response {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Response {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.answer.status()
    }

    /// Its headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.answer.headers()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// When the connection breaks or nothing comes in time.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, HttpError> {
        loop {
            let frame = timeout(self.patience, self.answer.body_mut().frame())
                .await
                .map_err(|_| HttpError::Late("more data"))?;
            match frame {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole body, of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is longer, or does not come whole.
    pub async fn bytes(mut self, limit: usize) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > limit {
                return Err(HttpError::TooLarge { limit: limit as u64 });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_urls_are_asked() {
        for bad in ["ftp://a/", "/v2/", "https://user@host/", "https://", "http:/x"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        let url = Url::parse("https://[::1]:5000/v2/?a=b").unwrap();
        assert_eq!((url.host(), url.port(), url.is_secure()), ("::1", 5000, true));
        assert_eq!(Url::parse("http://a/").unwrap().port(), 80);
    }

    #[test]
    fn a_location_may_be_relative() {
        let url = Url::parse("https://a:1/b/c").unwrap();
        assert_eq!(url.join("/d").unwrap().0.to_string(), "https://a:1/d");
        assert_eq!(url.join("//e/f").unwrap().0.to_string(), "https://e/f");
        assert_eq!(url.join("http://g/").unwrap().0.to_string(), "http://g/");
        assert!(url.join("gopher://h/").is_err());
    }
}
