//! What is not gRPC: the JSON gateway, v2, health, version and metrics.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{AnyBody, Api, CLUSTER_VERSION, Peer, VERSION};
use crate::proto::AlarmType;

/// A slow client must say all that it wants within this.
const BODY_TIME: Duration = Duration::from_secs(30);

/// An answer with a text.
pub fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<AnyBody> {
    let mut response = Response::new(AnyBody::new(Full::new(body.into()).map_err(|never| match never {})));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The body of a request, if it is not too large and comes in time.
pub async fn body(request: Request<Incoming>, limit: usize) -> Result<Bytes, Response<AnyBody>> {
    let collected = tokio::time::timeout(BODY_TIME, Limited::new(request.into_body(), limit).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) => Err(text(StatusCode::BAD_REQUEST, "text/plain", format!("{error}\n"))),
        Err(_) => Err(text(StatusCode::REQUEST_TIMEOUT, "text/plain", "the request did not come in time\n")),
    }
}

impl Api {
    pub(super) async fn http(&self, request: Request<Incoming>, peer: Peer) -> Response<AnyBody> {
        let path = request.uri().path().to_owned();
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        for prefix in ["/v3/", "/v3beta/"] {
            if let Some(rest) = path.strip_prefix(prefix) {
                if request.method() != Method::POST {
                    return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n");
                }
                let headers = request.headers().clone();
                return match body(request, 2 * self.node.setup.max_request + (1 << 20)).await {
                    Ok(body) => self.gateway(rest, &headers, &body, peer).await,
                    Err(response) => response,
                };
            }
        }
        match path.as_str() {
            "/version" if get => {
                let cluster = self.node.state.read().cluster_version().to_owned();
                let cluster = if cluster.is_empty() { CLUSTER_VERSION.to_owned() } else { cluster };
                let json = serde_json::json!({ "etcdserver": VERSION, "etcdcluster": cluster });
                text(StatusCode::OK, "application/json", json.to_string())
            }
            "/health" if get => self.health().await,
            "/metrics" if get => text(StatusCode::OK, "text/plain; version=0.0.4", self.metrics()),
            "/health" | "/version" | "/metrics" => {
                text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n")
            }
            _ if path == "/v2" || path.starts_with("/v2/") => self.v2(request, &peer).await,
            _ => text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
        }
    }

    async fn health(&self) -> Response<AnyBody> {
        let alarmed = {
            let state = self.node.state.read();
            state.has_alarm(AlarmType::Nospace) || state.has_alarm(AlarmType::Corrupt)
        };
        let leaderless = self.node.standing.borrow().leader == 0;
        let sick = alarmed
            || leaderless
            || tokio::time::timeout(Duration::from_secs(1), self.node.linearize()).await.is_err_or_failed();
        if sick {
            return text(StatusCode::SERVICE_UNAVAILABLE, "application/json", r#"{"health":"false"}"#);
        }
        text(StatusCode::OK, "application/json", r#"{"health":"true"}"#)
    }
}

/// Late or refused.
trait Failed {
    fn is_err_or_failed(&self) -> bool;
}

impl<T, E, L> Failed for Result<Result<T, E>, L> {
    fn is_err_or_failed(&self) -> bool {
        !matches!(self, Ok(Ok(_)))
    }
}
