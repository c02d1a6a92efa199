//! The way back: blobs and manifests into a repository.
//!
//! A blob that is there is not sent. One that another repository of the same registry has is mounted from
//! there. The rest is sent in one request, or if it is large in pieces, so that a connection which breaks
//! costs one piece and not all. The registry names the URL to send to; our credentials go there only if that
//! is the registry itself. Source: OCI distribution specification 1.1, "Push".

use std::fs::File;
use std::sync::Arc;

use http_client::{Content, HttpError, Response, Url};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use hyper::{Method, StatusCode};

use super::{RESUMES, Registry, RegistryError};

/// What is larger is sent in pieces of this many bytes.
const PIECE: u64 = 64 << 20;

/// A blob to send.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its digest.
    pub digest: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes, from the file's beginning.
    pub file: Arc<File>,
}

/// How a blob came to be in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is now mounted from the other repository.
    Mounted,
    /// The registry does not mount it.
    Not,
}

impl Registry {
    /// Whether the repository has this blob.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn has_blob(&self, digest: &str) -> Result<bool, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let response = self.ask(&Method::HEAD, &url, HeaderMap::new(), &Content::Empty).await?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refused("the presence of a layer", response).await),
        }
    }

    /// Takes a blob over from another repository of the same registry, if that is possible.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub async fn mount(&self, digest: &str, from: &str) -> Result<Placed, RegistryError> {
        let url = self.url(&format!("blobs/uploads/?mount={digest}&from={from}"))?;
        let response = self.ask(&Method::POST, &url, HeaderMap::new(), &Content::Empty).await?;
        match response.status() {
            StatusCode::CREATED => return Ok(Placed::Mounted),
            // It began an upload instead. That one is not used: it is dropped, or left to expire.
            StatusCode::ACCEPTED => {
                if let Ok(url) = self.upload_url(&url, &response) {
                    let _ = self.ask(&Method::DELETE, &url, HeaderMap::new(), &Content::Empty).await;
                }
            }
            _ => {}
        }
        Ok(Placed::Not)
    }

    /// Sends a blob, telling `sent` how many bytes are there.
    ///
    /// # Errors
    /// When the registry does not take it, or the connection breaks more often than we are willing to mend it.
    pub async fn upload(&self, blob: &Blob, sent: &mut dyn FnMut(u64)) -> Result<(), RegistryError> {
        let (mut url, mut at) = (self.begin_upload().await?, 0);
        let (mut furthest, mut attempt) = (0, 0);
        loop {
            match self.send_piece(&url, blob, at).await {
                Ok(None) => break,
                Ok(Some(next)) => {
                    (url, at) = (next, at + PIECE);
                    sent(at);
                }
                Err(RegistryError::Http { source, .. }) if source.may_pass() && attempt < RESUMES => {
                    attempt += 1;
                    tokio::time::sleep(std::time::Duration::from_millis(200 << attempt)).await;
                    // What was lost may have been the answer to the last piece.
                    if self.has_blob(&blob.digest).await.unwrap_or(false) {
                        break;
                    }
                    (url, at) = match self.progress(&url, blob.size).await {
                        Ok(there) => there,
                        // A registry that gives up what was interrupted has all of it sent again.
                        Err(_) => (self.begin_upload().await?, 0),
                    };
                }
                Err(error) => return Err(error),
            }
            if at > furthest {
                (furthest, attempt) = (at, 0);
            }
        }
        sent(blob.size);
        Ok(())
    }

    async fn begin_upload(&self) -> Result<Url, RegistryError> {
        let start = self.url("blobs/uploads/")?;
        let response = self.ask(&Method::POST, &start, HeaderMap::new(), &Content::Empty).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.refused("the upload of a layer", response).await);
        }
        self.upload_url(&start, &response)
    }

    /// Sends what comes at this place; returns where the next piece goes, or nothing when that was the last.
    async fn send_piece(&self, url: &Url, blob: &Blob, at: u64) -> Result<Option<Url>, RegistryError> {
        let left = blob.size - at;
        let last = left <= PIECE;
        let length = left.min(PIECE);
        let piece = Content::Part { file: Arc::clone(&blob.file), from: at, length };
        let mut headers = octets();
        let (method, url) = if last {
            let end =
                url.with(&format!("digest={}", blob.digest)).map_err(|source| self.http_error(source))?;
            (Method::PUT, end)
        } else {
            if let Ok(range) = HeaderValue::from_str(&format!("{at}-{}", at + length - 1)) {
                headers.insert(hyper::header::CONTENT_RANGE, range);
            }
            (Method::PATCH, url.clone())
        };
        let response = self.ask(&method, &url, headers, &piece).await?;
        match (response.status(), last) {
            (StatusCode::CREATED, true) => Ok(None),
            (StatusCode::ACCEPTED, false) => self.upload_url(&url, &response).map(Some),
            _ => Err(self.refused("the upload of a layer", response).await),
        }
    }

    /// How far an upload got that was interrupted, and where it goes on.
    async fn progress(&self, url: &Url, size: u64) -> Result<(Url, u64), RegistryError> {
        let response = self.ask(&Method::GET, url, HeaderMap::new(), &Content::Empty).await?;
        if response.status() != StatusCode::NO_CONTENT {
            return Err(self.refused("the state of an upload", response).await);
        }
        let range = response.headers().get(RANGE).and_then(|value| value.to_str().ok()).unwrap_or("0-0");
        let last: u64 = range.rsplit('-').next().and_then(|last| last.parse().ok()).unwrap_or(0);
        let at = if last == 0 { 0 } else { (last + 1).min(size) };
        Ok((self.upload_url(url, &response)?, at))
    }

    /// Where the registry wants the data. From TLS it may not lead to plain HTTP.
    fn upload_url(&self, asked: &Url, response: &Response) -> Result<Url, RegistryError> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let url = asked.join(location.unwrap_or_default()).map_err(|source| self.http_error(source))?;
        if asked.is_secure() && !url.is_secure() {
            return Err(self.http_error(HttpError::Redirect(location.unwrap_or_default().to_owned())));
        }
        Ok(url)
    }

    /// Puts a manifest under a tag or its digest.
    ///
    /// # Errors
    /// When the registry does not take it: it knows blobs that are missing, and who may push.
    pub async fn put_manifest(
        &self,
        selector: &str,
        kind: &str,
        bytes: Vec<u8>,
    ) -> Result<(), RegistryError> {
        let mut headers = HeaderMap::new();
        if let Ok(kind) = HeaderValue::from_str(kind) {
            headers.insert(CONTENT_TYPE, kind);
        }
        let url = self.url(&format!("manifests/{selector}"))?;
        let response = self.ask(&Method::PUT, &url, headers, &Content::Whole(bytes.into())).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::OK => Ok(()),
            _ => Err(self.refused("the push of the manifest", response).await),
        }
    }
}

fn octets() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers
}
