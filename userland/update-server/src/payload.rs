//! Payloads by HTTP, whole or from a byte on (RFC 9110, section 14), in bounded memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, IF_RANGE, RANGE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc::{Receiver, channel};

use crate::api::answer;

const PIECE: usize = 128 << 10;
const PIECES_AHEAD: usize = 4;

/// A body: in one, or from a file.
#[derive(Debug)]
pub struct Body {
    whole: Option<Bytes>,
    pieces: Option<Receiver<io::Result<Bytes>>>,
    left: u64,
}

impl Body {
    pub(crate) fn whole(bytes: Bytes) -> Body {
        Body { left: bytes.len() as u64, whole: Some(bytes).filter(|bytes| !bytes.is_empty()), pieces: None }
    }

    /// The next so many bytes of a file.
    fn file(mut file: File, length: u64) -> Body {
        let (send, pieces) = channel(PIECES_AHEAD);
        tokio::task::spawn_blocking(move || {
            let mut left = length;
            while left > 0 {
                let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
                left -= piece.len() as u64;
                let read = file.read_exact(&mut piece).map(|()| Bytes::from(piece));
                let failed = read.is_err();
                if send.blocking_send(read).is_err() || failed {
                    return;
                }
            }
        });
        Body { whole: None, pieces: Some(pieces), left: length }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(whole) = self.whole.take() {
            self.left = 0;
            return Poll::Ready(Some(Ok(Frame::data(whole))));
        }
        let Some(pieces) = &mut self.pieces else { return Poll::Ready(None) };
        let Poll::Ready(piece) = pieces.poll_recv(context) else { return Poll::Pending };
        Poll::Ready(piece.map(|piece| {
            let piece = piece?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Sends a file, or the part of it that is asked for.
pub(crate) async fn send(path: &Path, request: &Request<Incoming>) -> Response<Body> {
    let failed = |status| answer(status, "application/json", Bytes::from_static(b"{}"));
    let opened = File::open(path).and_then(|file| file.metadata().map(|data| (file, data)));
    let Ok((mut file, data)) = opened else { return failed(StatusCode::NOT_FOUND) };
    if !data.is_file() {
        return failed(StatusCode::NOT_FOUND);
    }
    let size = data.len();
    // A payload that is brought anew is another file.
    let etag = format!("\"{:x}-{:x}-{size:x}\"", data.ino(), data.mtime_nsec());
    let header = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let wanted = header(RANGE).filter(|_| header(IF_RANGE).is_none_or(|tag| tag == etag));
    let from = match wanted.map(first_byte) {
        Some(Some(from)) if from < size => Some(from),
        Some(Some(_)) => {
            let mut response = failed(StatusCode::RANGE_NOT_SATISFIABLE);
            put(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
            return response;
        }
        // Other ranges than those to the end are answered with the whole, as the protocol lets us.
        _ => None,
    };
    let start = from.unwrap_or(0);
    if file.seek(SeekFrom::Start(start)).is_err() {
        return failed(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let length = size - start;
    let body =
        if *request.method() == Method::HEAD { Body::whole(Bytes::new()) } else { Body::file(file, length) };
    let mut response = Response::new(body);
    if from.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        put(&mut response, CONTENT_RANGE, &format!("bytes {start}-{}/{size}", size - 1));
    }
    put(&mut response, CONTENT_LENGTH, &length.to_string());
    put(&mut response, CONTENT_TYPE, "application/octet-stream");
    put(&mut response, ACCEPT_RANGES, "bytes");
    put(&mut response, ETAG, &etag);
    response
}

fn put(response: &mut Response<Body>, name: hyper::header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The first byte of `bytes=FIRST-`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
