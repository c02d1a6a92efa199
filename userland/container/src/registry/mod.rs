//! A client of registries, following the OCI distribution specification 1.1 and Docker's registry API v2.
//!
//! [`Registry`] speaks to one repository of one registry: it finds the scheme, answers challenges
//! ([`auth`]), and hands out manifests, configurations and layers. Small things come whole with their
//! digests checked; a layer comes as a stream of chunks whose digest the receiver checks
//! ([`crate::layer`]). A stream that breaks off is taken up again where it broke. [`upload`] is the way back.

pub mod auth;
pub mod config;
pub mod http;
pub mod login;
pub mod manifest;
pub mod upload;

use std::sync::{Mutex, PoisonError};

use http_client::{Content, Http, HttpError, Response, Url};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, RANGE};
use hyper::{Method, StatusCode};
use oci_spec::image::Descriptor;
use tokio::sync::mpsc::Sender;

use crate::reference::Reference;
use crate::store::digest::{BadDigest, Sha256};
use auth::{Challenge, Credentials};
use config::Trust;
use http::{client, complaint};
use manifest::BadManifest;

/// A manifest or index larger than this is refused, as Docker and containerd do.
pub(crate) const MANIFEST_LIMIT: usize = 4 << 20;
/// A larger image configuration is refused.
pub(crate) const CONFIG_LIMIT: usize = 8 << 20;
/// How often a broken stream is taken up again.
const RESUMES: u32 = 5;

/// Why a registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It could not be reached or did not speak HTTP.
    #[error("registry {registry}: {source}")]
    Http {
        /// Host and port.
        registry: String,
        /// What went wrong.
        source: HttpError,
    },
    /// It answered, but not with what was asked for.
    #[error("registry {registry}: {what} of {repository}: {status}{detail}")]
    Status {
        /// Host and port.
        registry: String,
        /// The repository asked for.
        repository: String,
        /// What was asked for.
        what: String,
        /// Its answer.
        status: StatusCode,
        /// What it says about it and what to do.
        detail: String,
    },
    /// It wants credentials that we do not have or that it does not take.
    #[error("registry {registry}: access to {repository} denied: {why}")]
    Denied {
        /// Host and port.
        registry: String,
        /// The repository asked for.
        repository: String,
        /// Its reason and what to do.
        why: String,
    },
    /// What it sent is not what its digest says.
    #[error("registry {registry} sent something else than asked for: {source}; nothing of it was kept")]
    Lied {
        /// Host and port.
        registry: String,
        /// Expected and found.
        source: BadDigest,
    },
    /// The manifest cannot be used.
    #[error("registry {registry}: {source}")]
    Manifest {
        /// Host and port.
        registry: String,
        /// What is wrong with it.
        source: BadManifest,
    },
    /// The receiver of a stream went away; its own error says why.
    #[error("the transfer was given up")]
    GivenUp,
}

/// A manifest with the digest it goes by.
#[derive(Debug)]
pub struct Manifest {
    /// The digest of `bytes`.
    pub digest: String,
    /// The digest of the index that led to it, if one did.
    pub index: Option<String>,
    /// The document as the registry sent it.
    pub bytes: Vec<u8>,
    /// The same, parsed.
    pub parsed: oci_spec::image::ImageManifest,
}

/// What is wanted of a registry, and by whom.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Who asks; without it, whom the user's own configuration names.
    pub credentials: Option<Credentials>,
    /// Whether something will be pushed.
    pub push: bool,
    /// Other repositories of the same registry that layers may be taken from.
    pub mounts: Vec<String>,
}

/// One repository on one registry.
#[derive(Debug)]
pub struct Registry {
    http: Http,
    endpoint: String,
    repository: String,
    scheme: &'static str,
    access: Access,
    /// A token lives for minutes; when it has expired, another one is got.
    authorization: Mutex<Option<HeaderValue>>,
}

impl Registry {
    /// Finds out how to speak to the registry of this reference, and logs in if it asks for that.
    ///
    /// HTTPS is tried first. Plain HTTP is tried only where `trust` allows it.
    ///
    /// # Errors
    /// When it cannot be reached or denies access.
    pub async fn connect(
        reference: &Reference,
        trust: &Trust,
        access: Access,
    ) -> Result<Self, RegistryError> {
        Self::connect_to(reference.endpoint(), reference, trust, access).await
    }

    /// Connects as [`Self::connect`] does, but to this `HOST[:PORT]`, which mirrors the reference's registry.
    ///
    /// # Errors
    /// When it cannot be reached or denies access.
    pub async fn connect_to(
        endpoint: &str,
        reference: &Reference,
        trust: &Trust,
        access: Access,
    ) -> Result<Self, RegistryError> {
        Self::open(endpoint, reference.repository(), trust, access).await
    }

    async fn open(
        endpoint: &str,
        repository: &str,
        trust: &Trust,
        access: Access,
    ) -> Result<Self, RegistryError> {
        let endpoint = endpoint.to_owned();
        let http =
            client(&endpoint).map_err(|source| RegistryError::Http { registry: endpoint.clone(), source })?;
        let mut registry = Self {
            http,
            endpoint,
            repository: repository.to_owned(),
            scheme: "https",
            access,
            authorization: Mutex::default(),
        };
        let ping = match registry.ping().await {
            // Whoever speaks TLS is not spoken to in the clear.
            Err(secure) if !secure.is_of_a_stranger() && trust.allows_plain_http(&registry.endpoint) => {
                registry.scheme = "http";
                // If neither works, the secure attempt tells more unless nobody speaks TLS there.
                registry.ping().await.map_err(|plain| if secure.is_tls() { plain } else { secure })
            }
            answer => answer,
        };
        let ping = ping.map_err(|source| registry.http_error(source))?;
        if ping.status() == StatusCode::UNAUTHORIZED {
            registry.log_in(ping.headers()).await?;
        }
        Ok(registry)
    }

    /// The manifest that the reference means on this machine's architecture; an index is followed.
    ///
    /// # Errors
    /// When there is none, it is no manifest, or its digest is not the one asked for.
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest, RegistryError> {
        let (digest, bytes) = self.manifest_bytes(reference.selector(), reference.digest()).await?;
        let wanted = match manifest::read(&bytes).map_err(|source| self.bad_manifest(source))? {
            manifest::Document::Manifest(parsed) => {
                return Ok(Manifest { digest, index: None, bytes, parsed: *parsed });
            }
            manifest::Document::Index(index) => {
                let entry = manifest::choose(&index).map_err(|source| self.bad_manifest(source))?;
                entry.digest().to_string()
            }
        };
        let index = Some(digest);
        let (digest, bytes) = self.manifest_bytes(&wanted, Some(&wanted)).await?;
        match manifest::read(&bytes).map_err(|source| self.bad_manifest(source))? {
            manifest::Document::Manifest(parsed) => Ok(Manifest { digest, index, bytes, parsed: *parsed }),
            manifest::Document::Index(_) => Err(self.bad_manifest(BadManifest::NestedIndex)),
        }
    }

    /// A small blob whole, its size and digest checked.
    ///
    /// # Errors
    /// When it is missing, too large, or not what its digest says.
    pub async fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        let digest = descriptor.digest().to_string();
        let response = self.get(&format!("blobs/{digest}"), "the configuration", HeaderMap::new()).await?;
        let bytes = response.bytes(CONFIG_LIMIT).await.map_err(|source| self.http_error(source))?;
        self.check(&bytes, &digest)?;
        Ok(bytes)
    }

    /// Sends the bytes of a blob into `chunks`, unchecked, and ends when all were sent.
    ///
    /// A connection that breaks or stalls is opened again with a `Range` from where it ended.
    ///
    /// # Errors
    /// When the registry fails more often in one place than we are willing to ask again, or sends more than announced.
    pub async fn stream(
        &self,
        descriptor: &Descriptor,
        chunks: &Sender<std::io::Result<Bytes>>,
    ) -> Result<(), RegistryError> {
        let path = format!("blobs/{}", descriptor.digest());
        let mut sent: u64 = 0;
        let mut attempt = 0;
        loop {
            let before = sent;
            let done = self.stream_from(&path, descriptor.size(), &mut sent, chunks).await;
            if sent > before {
                attempt = 0;
            }
            match done {
                Ok(()) => return Ok(()),
                Err(RegistryError::Http { registry, source }) if source.may_pass() && attempt < RESUMES => {
                    attempt += 1;
                    eprintln!(
                        "{registry}: {source}; going on from byte {sent} (attempt {attempt} of {RESUMES})"
                    );
                    tokio::time::sleep(std::time::Duration::from_millis(200 << attempt)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn stream_from(
        &self,
        path: &str,
        size: u64,
        sent: &mut u64,
        chunks: &Sender<std::io::Result<Bytes>>,
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        if *sent > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={sent}-"))
        {
            headers.insert(RANGE, range);
        }
        let mut response = self.get(path, "a layer", headers).await?;
        // A registry that knows no ranges begins from the start again.
        let mut skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { *sent };
        while let Some(mut chunk) = response.chunk().await.map_err(|source| self.http_error(source))? {
            if skip > 0 {
                let over = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
                skip -= over as u64;
                chunk = chunk.slice(over..);
            }
            if chunk.is_empty() {
                continue;
            }
            *sent += chunk.len() as u64;
            if *sent > size {
                return Err(self.http_error(HttpError::TooLarge { limit: size }));
            }
            chunks.send(Ok(chunk)).await.map_err(|_| RegistryError::GivenUp)?;
        }
        if *sent < size {
            return Err(self.http_error(HttpError::CutShort { missing: size - *sent }));
        }
        Ok(())
    }

    /// A document under a tag, whatever it is; none if there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked, or sends more than a manifest may have.
    pub async fn document(&self, tag: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let url = self.url(&format!("manifests/{tag}"))?;
        let response = self.ask(&Method::GET, &url, headers, &Content::Empty).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let bytes = response.bytes(MANIFEST_LIMIT).await;
                bytes.map(Some).map_err(|source| self.http_error(source))
            }
            _ => Err(self.refused("a signature", response).await),
        }
    }

    async fn manifest_bytes(
        &self,
        selector: &str,
        expected: Option<&str>,
    ) -> Result<(String, Vec<u8>), RegistryError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let response = self.get(&format!("manifests/{selector}"), "the manifest", headers).await?;
        let bytes = response.bytes(MANIFEST_LIMIT).await.map_err(|source| self.http_error(source))?;
        if let Some(expected) = expected {
            self.check(&bytes, expected)?;
        }
        Ok((Sha256::of(&bytes), bytes))
    }

    fn check(&self, bytes: &[u8], digest: &str) -> Result<(), RegistryError> {
        crate::store::digest::check(bytes, digest)
            .map_err(|source| RegistryError::Lied { registry: self.endpoint.clone(), source })
    }

    async fn ping(&self) -> Result<Response, HttpError> {
        let url = Url::parse(&format!("{}://{}/v2/", self.scheme, self.endpoint))?;
        self.http.get(&url, HeaderMap::new()).await
    }

    async fn get(&self, path: &str, what: &str, headers: HeaderMap) -> Result<Response, RegistryError> {
        let response = self.ask(&Method::GET, &self.url(path)?, headers, &Content::Empty).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(what, response).await) }
    }

    fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let url = format!("{}://{}/v2/{}/{path}", self.scheme, self.endpoint, self.repository);
        Url::parse(&url).map_err(|source| self.http_error(source))
    }

    /// Asks with what we log in with, once more with a new token if the old one does not do any more. Credentials
    /// go to the registry itself and to no other server.
    async fn ask(
        &self,
        method: &Method,
        url: &Url,
        headers: HeaderMap,
        content: &Content,
    ) -> Result<Response, RegistryError> {
        let own = url.is_same_server(&self.url("")?);
        let mut renewed = false;
        loop {
            let mut headers = headers.clone();
            let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let known = authorization.is_some();
            if let Some(authorization) = authorization.filter(|_| own) {
                headers.insert(AUTHORIZATION, authorization);
            }
            let response = match *method {
                Method::GET => self.http.get(url, headers).await,
                Method::HEAD => self.http.head(url, headers).await,
                _ => self.http.send(method, url, &headers, content).await,
            };
            let response = response.map_err(|source| self.http_error(source))?;
            let expired = response.status() == StatusCode::UNAUTHORIZED && known && own && !renewed;
            if !expired || Challenge::of(response.headers()).is_none() {
                return Ok(response);
            }
            renewed = true;
            self.log_in(response.headers()).await?;
        }
    }

    /// What an answer means that is not the one hoped for.
    async fn refused(&self, what: &str, response: Response) -> RegistryError {
        let status = response.status();
        let said = complaint(response).await;
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                registry: self.endpoint.clone(),
                repository: self.repository.clone(),
                why: format!(
                    "{status}{said}; it may not exist or may need credentials in /root/.docker/config.json"
                ),
            },
            _ => RegistryError::Status {
                registry: self.endpoint.clone(),
                repository: self.repository.clone(),
                what: what.to_owned(),
                status,
                detail: said,
            },
        }
    }

    async fn log_in(&self, headers: &HeaderMap) -> Result<(), RegistryError> {
        let denied = |why: String| RegistryError::Denied {
            registry: self.endpoint.clone(),
            repository: self.repository.clone(),
            why,
        };
        let challenge = Challenge::of(headers).ok_or_else(|| {
            denied("it asks for a way to log in that is neither Basic nor Bearer".to_owned())
        })?;
        let credentials = match &self.access.credentials {
            Some(given) => Some(given.clone()),
            None => auth::credentials(&self.endpoint).map_err(|error| denied(error.to_string()))?,
        };
        let header = match challenge {
            Challenge::Basic => credentials
                .map(|credentials| credentials.basic())
                .ok_or_else(|| denied("no credentials for it in /root/.docker/config.json".to_owned()))?,
            Challenge::Bearer { realm, service } => {
                let verbs = if self.access.push { "pull,push" } else { "pull" };
                let mut scopes = Vec::new();
                // Who only logs in asks for no repository.
                if !self.repository.is_empty() {
                    scopes.push(format!("repository:{}:{verbs}", self.repository));
                }
                scopes.extend(self.access.mounts.iter().map(|other| format!("repository:{other}:pull")));
                let service = service.as_deref();
                auth::token(&self.http, self.scheme, &realm, service, &scopes, credentials.as_ref())
                    .await
                    .map_err(|error| denied(error.to_string()))?
            }
        };
        let mut header = HeaderValue::from_str(&header)
            .map_err(|_| denied("its token holds bytes that no header can carry".to_owned()))?;
        header.set_sensitive(true);
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = Some(header);
        Ok(())
    }

    fn http_error(&self, source: HttpError) -> RegistryError {
        RegistryError::Http { registry: self.endpoint.clone(), source }
    }

    fn bad_manifest(&self, source: BadManifest) -> RegistryError {
        RegistryError::Manifest { registry: self.endpoint.clone(), source }
    }
}
