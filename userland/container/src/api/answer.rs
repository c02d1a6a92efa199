//! Answers: a body that is there, or one that comes piece by piece; and errors in Docker's form.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use hyper::header::CONTENT_TYPE;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::bundle::BadOptions;
use crate::cli::CliError;
use crate::network::NetworkError;
use crate::pull::PullError;
use crate::reference::BadReference;
use crate::run::RunError;
use crate::state::StateError;
use crate::store::StoreError;

/// What is answered.
pub type Answer = Result<Response<Content>, Failure>;

/// The body of an answer.
#[derive(Debug)]
pub enum Content {
    /// All of it.
    Whole(Option<Bytes>),
    /// As it comes; ends when the sender is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Stream(pieces) => pieces.poll_recv(context),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                hyper::body::SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// Why a request is not answered with what it asked for.
#[derive(Debug)]
pub struct Failure {
    /// Docker's status for it.
    pub status: StatusCode,
    /// In words for the user.
    pub message: String,
}

impl Failure {
    /// One with this status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The request makes no sense.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What it is about is not there.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// It contradicts what is.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// It is our fault or the machine's.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    /// The answer that tells of it.
    #[must_use]
    pub fn into_response(self) -> Response<Content> {
        json_with(self.status, &json!({ "message": self.message }))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let status = match &error {
            StateError::Missing(_) => StatusCode::NOT_FOUND,
            StateError::Ambiguous(_) | StateError::BadName(_) => StatusCode::BAD_REQUEST,
            StateError::NameTaken { .. } | StateError::NotRunning(_) | StateError::Running(_) => {
                StatusCode::CONFLICT
            }
            StateError::Io { .. } | StateError::Stays(_) | StateError::Store(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<BadReference> for Failure {
    fn from(error: BadReference) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<BadOptions> for Failure {
    fn from(error: BadOptions) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::internal(error)
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        match error {
            CliError::State(error) => error.into(),
            CliError::Pull(error) => error.into(),
            CliError::Usage(text) => Self::bad(text),
            other => Self::internal(other),
        }
    }
}

impl From<PullError> for Failure {
    fn from(error: PullError) -> Self {
        Self::internal(error)
    }
}

impl From<NetworkError> for Failure {
    fn from(error: NetworkError) -> Self {
        let status = match &error {
            NetworkError::Missing(_) => StatusCode::NOT_FOUND,
            NetworkError::Exists(_) => StatusCode::CONFLICT,
            NetworkError::Predefined(_) | NetworkError::Busy { .. } => StatusCode::FORBIDDEN,
            NetworkError::Invalid(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::bad(format!("invalid JSON: {error}"))
    }
}

/// 200 with JSON.
pub fn json_ok(value: &Value) -> Answer {
    Ok(json_with(StatusCode::OK, value))
}

/// JSON with this status.
#[must_use]
pub fn json_with(status: StatusCode, value: &Value) -> Response<Content> {
    let mut text = value.to_string();
    text.push('\n');
    typed(status, "application/json", Content::Whole(Some(text.into())))
}

/// A status alone.
pub fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Content::Whole(None));
    *response.status_mut() = status;
    Ok(response)
}

/// A body of this type.
#[must_use]
pub fn typed(status: StatusCode, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

/// A body that comes piece by piece, and where to put the pieces.
#[must_use]
pub fn stream(kind: &'static str) -> (Response<Content>, mpsc::Sender<Bytes>) {
    let (send, receive) = mpsc::channel(16);
    (typed(StatusCode::OK, kind, Content::Stream(receive)), send)
}
