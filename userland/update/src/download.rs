//! The bytes of a payload from a server, as a stream that goes on where it broke.
//!
//! Invariants: no more is held than what came with one read of the network; bytes of two versions of a file are never
//! mixed (a strong `ETag` and the file's length must stay); every wait has an end. What the bytes are worth is for
//! the payload's signature and hashes to say, so a server may lie, but not do harm. Sources: RFC 9110, sections 13
//! and 14.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use http_client::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE,
};
use http_client::{Bytes, Http, HttpError, Response, StatusCode, Url};
use tokio::runtime::{Builder, Runtime};
use update_engine::payload::Data;

/// What is passed over on an open connection rather than with a new one, in bytes.
const SHORT: u64 = 256 << 10;
/// So much has to come before failures are forgotten, in bytes.
const PROGRESS: u64 = 256 << 10;
/// Between two tries, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How a server's failures are borne.
#[derive(Debug, Clone)]
pub struct Patience {
    /// How long an answer, or the next part of one, may take.
    pub answer: Duration,
    /// Before the second try; it doubles with each.
    pub pause: Duration,
    /// How often an URL may fail in a row before the next one is tried.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { answer: Duration::from_secs(30), pause: Duration::from_secs(2), tries: 10 }
    }
}

/// Why a payload does not come.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The connection, or what is said on it.
    #[error("{url}: {source}")]
    Http {
        /// From where.
        url: String,
        /// What is wrong.
        source: HttpError,
    },
    /// The server says no.
    #[error("{url}: the server answers {status}")]
    Status {
        /// From where.
        url: String,
        /// Its answer.
        status: StatusCode,
    },
    /// The file is another one than the one that was begun.
    #[error("{0}: the file has changed while it was fetched")]
    Changed(String),
    /// The server sends another part than the one that was asked for.
    #[error("{url}: the server was asked for the bytes from {at} on, and answers {answer:?}")]
    Range {
        /// From where.
        url: String,
        /// The first byte that was asked for.
        at: u64,
        /// Its `Content-Range`.
        answer: String,
    },
    /// It has another length than was announced.
    #[error("{url}: the file has {has} bytes, {announced} were announced")]
    Size {
        /// From where.
        url: String,
        /// As the server says.
        has: u64,
        /// As was announced.
        announced: u64,
    },
}

impl DownloadError {
    /// Whether the same may work when tried again.
    fn may_pass(&self) -> bool {
        match self {
            DownloadError::Http { source, .. } => {
                source.may_pass() || matches!(source, HttpError::Resolve { .. })
            }
            DownloadError::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            }
            _ => false,
        }
    }
}

impl From<DownloadError> for io::Error {
    fn from(error: DownloadError) -> io::Error {
        io::Error::other(error)
    }
}

/// A payload on its way.
#[derive(Debug)]
pub struct Download {
    runtime: Runtime,
    http: Http,
    /// The first is the one that is asked.
    urls: Vec<Url>,
    patience: Patience,
    /// Behind the last byte that was given out.
    at: u64,
    size: Option<u64>,
    etag: Option<HeaderValue>,
    response: Option<Response>,
    /// What came and was not given out yet.
    chunk: Bytes,
    failures: u32,
    /// Where the last failure was.
    failed_at: u64,
}

impl Download {
    /// One that begins with the first byte that is read. The same file is at each of the URLs; there is at least one.
    ///
    /// # Errors
    /// There are no threads.
    pub fn new(http: Http, urls: Vec<Url>, size: Option<u64>, patience: Patience) -> io::Result<Download> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let http = http.patient_for(patience.answer);
        Ok(Download {
            runtime,
            http,
            urls,
            patience,
            at: 0,
            size,
            etag: None,
            response: None,
            chunk: Bytes::new(),
            failures: 0,
            failed_at: 0,
        })
    }

    fn url(&self) -> String {
        self.urls.first().map(ToString::to_string).unwrap_or_default()
    }

    /// Gets the next chunk; false: the file is at its end.
    fn fetch(&mut self) -> Result<bool, DownloadError> {
        loop {
            if self.size.is_some_and(|size| self.at >= size) {
                return Ok(false);
            }
            let fetched = match self.response.take() {
                Some(response) => self.more(response),
                None => self.ask(),
            };
            match fetched {
                Ok(Some(more)) => return Ok(more),
                Ok(None) => {}
                Err(error) => self.bear(error)?,
            }
        }
    }

    /// Waits and tries again, or elsewhere, or gives up.
    fn bear(&mut self, error: DownloadError) -> Result<(), DownloadError> {
        if self.at >= self.failed_at + PROGRESS {
            self.failures = 0;
        }
        self.failed_at = self.at;
        self.failures += 1;
        if error.may_pass() && self.failures < self.patience.tries {
            let factor = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
            thread::sleep(self.patience.pause.saturating_mul(factor).min(LONGEST_PAUSE));
            return Ok(());
        }
        if self.urls.len() > 1 {
            eprintln!("update-engine: {error}; going on with the next URL");
            self.urls.remove(0);
            // Another server has other tags for the same file; its length stays.
            (self.failures, self.etag) = (0, None);
            return Ok(());
        }
        Err(error)
    }

    /// Asks for the file from where we are. `None`: the answer has begun.
    fn ask(&mut self) -> Result<Option<bool>, DownloadError> {
        let Some(url) = self.urls.first().cloned() else {
            return Err(DownloadError::Http { url: String::new(), source: HttpError::Url(String::new()) });
        };
        let failed = |source| DownloadError::Http { url: url.to_string(), source };
        let mut headers = HeaderMap::new();
        if self.at > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.at));
            headers.insert(RANGE, range.map_err(|_| failed(HttpError::Url(url.to_string())))?);
            if let Some(etag) = &self.etag {
                headers.insert(IF_RANGE, etag.clone());
            }
        }
        let response = self.runtime.block_on(self.http.get(&url, headers)).map_err(failed)?;
        let named = url.to_string();
        match response.status() {
            StatusCode::OK => {
                let length = response.headers().get(CONTENT_LENGTH).and_then(number);
                self.recognize(&named, &response, length)?;
                self.response = Some(response);
                self.pass_beginning()
            }
            StatusCode::PARTIAL_CONTENT => {
                let answer = response.headers().get(CONTENT_RANGE);
                let text = answer.and_then(|value| value.to_str().ok()).unwrap_or_default();
                match content_range(text) {
                    Some((first, size)) if first == self.at => {
                        self.recognize(&named, &response, size)?;
                        self.response = Some(response);
                        Ok(None)
                    }
                    _ => {
                        let answer = text.chars().take(100).collect();
                        Err(DownloadError::Range { url: named, at: self.at, answer })
                    }
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Err(DownloadError::Changed(named)),
            status => Err(DownloadError::Status { url: named, status }),
        }
    }

    /// Compares the file with the one that was begun.
    fn recognize(&mut self, url: &str, response: &Response, size: Option<u64>) -> Result<(), DownloadError> {
        if let Some(has) = size {
            match self.size {
                None => self.size = Some(has),
                Some(known) if known == has => {}
                Some(_) if self.etag.is_some() => return Err(DownloadError::Changed(url.to_owned())),
                Some(announced) => {
                    return Err(DownloadError::Size { url: url.to_owned(), has, announced });
                }
            }
        }
        // A weak tag says nothing of single bytes.
        let etag = response.headers().get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        if self.etag.is_some() && self.etag != etag {
            return Err(DownloadError::Changed(url.to_owned()));
        }
        self.etag = etag;
        Ok(())
    }

    /// A server that knows no ranges sends the file from its beginning, which we have.
    fn pass_beginning(&mut self) -> Result<Option<bool>, DownloadError> {
        let target = std::mem::take(&mut self.at);
        while self.at < target {
            let Some(response) = self.response.take() else { break };
            let come = self.more(response);
            let far = self.at + self.chunk.len() as u64;
            if !matches!(come, Ok(Some(true))) || far >= target {
                let skip = usize::try_from(target - self.at).unwrap_or(usize::MAX).min(self.chunk.len());
                self.chunk = self.chunk.slice(skip..);
                self.at = target;
                // The end before where we were: it is not the same file.
                return match come {
                    Ok(Some(false)) if far < target => Err(DownloadError::Changed(self.url())),
                    come => come,
                };
            }
            self.at = far;
            self.chunk = Bytes::new();
        }
        Ok(None)
    }

    /// The next chunk of an answer.
    fn more(&mut self, mut response: Response) -> Result<Option<bool>, DownloadError> {
        let chunk = self.runtime.block_on(response.chunk());
        match chunk.map_err(|source| DownloadError::Http { url: self.url(), source })? {
            Some(chunk) => {
                self.chunk = chunk;
                self.response = Some(response);
                Ok(if self.chunk.is_empty() { None } else { Some(true) })
            }
            None => match self.size {
                Some(size) if self.at < size => {
                    let source = HttpError::CutShort { missing: size - self.at };
                    Err(DownloadError::Http { url: self.url(), source })
                }
                _ => Ok(Some(false)),
            },
        }
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            if buffer.is_empty() || !self.fetch()? {
                return Ok(0);
            }
        }
        let count = self.chunk.len().min(buffer.len());
        buffer.iter_mut().zip(self.chunk.split_to(count)).for_each(|(to, from)| *to = from);
        self.at += count as u64;
        Ok(count)
    }
}

impl Data for Download {
    fn pass(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.at.checked_add(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        if self.size.is_some_and(|size| end > size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes > SHORT && bytes > self.chunk.len() as u64 && self.takes_ranges() {
            self.at = end;
            self.response = None;
            self.chunk = Bytes::new();
            return Ok(());
        }
        let passed = io::copy(&mut self.take(bytes), &mut io::sink())?;
        if passed < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Download {
    /// Whether a new connection can begin in the middle. Without an answer yet, that is to be tried.
    fn takes_ranges(&self) -> bool {
        self.response.as_ref().is_none_or(|response| {
            response.status() == StatusCode::PARTIAL_CONTENT
                || response.headers().get(ACCEPT_RANGES).is_some_and(|value| value == "bytes")
        })
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

/// First byte and the file's length, if it is told, of `bytes FIRST-LAST/LENGTH`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let length = if length == "*" { None } else { Some(length.trim().parse().ok()?) };
    let sound = first <= last && length.is_none_or(|length| last < length);
    sound.then_some((first, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_with_care() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for bad in
            ["", "bytes */10", "bytes 9-5/10", "bytes 5-10/10", "lines 5-9/10", "bytes 5-9", "bytes -1-2/3"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
