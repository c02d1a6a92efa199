//! The v3 API as JSON over HTTP: each path stands for a method of gRPC, which is called with what the JSON says.
//!
//! The mapping is protobuf's own, with the names of the fields as they are; 64-bit numbers are texts and bytes are
//! base64. Answers of streams are lines of `{"result":…}`.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{HeaderMap, Request, Response, StatusCode};
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MethodDescriptor, SerializeOptions};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Status};

use super::{AnyBody, Api, Peer};

/// Paths below `/v3` and the methods that they stand for.
const PATHS: &[(&str, &str)] = &[
    ("kv/range", "etcdserverpb.KV/Range"),
    ("kv/put", "etcdserverpb.KV/Put"),
    ("kv/deleterange", "etcdserverpb.KV/DeleteRange"),
    ("kv/txn", "etcdserverpb.KV/Txn"),
    ("kv/compaction", "etcdserverpb.KV/Compact"),
    ("watch", "etcdserverpb.Watch/Watch"),
    ("lease/grant", "etcdserverpb.Lease/LeaseGrant"),
    ("lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("kv/lease/revoke", "etcdserverpb.Lease/LeaseRevoke"),
    ("lease/keepalive", "etcdserverpb.Lease/LeaseKeepAlive"),
    ("lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("kv/lease/timetolive", "etcdserverpb.Lease/LeaseTimeToLive"),
    ("lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("kv/lease/leases", "etcdserverpb.Lease/LeaseLeases"),
    ("cluster/member/add", "etcdserverpb.Cluster/MemberAdd"),
    ("cluster/member/remove", "etcdserverpb.Cluster/MemberRemove"),
    ("cluster/member/update", "etcdserverpb.Cluster/MemberUpdate"),
    ("cluster/member/list", "etcdserverpb.Cluster/MemberList"),
    ("cluster/member/promote", "etcdserverpb.Cluster/MemberPromote"),
    ("maintenance/alarm", "etcdserverpb.Maintenance/Alarm"),
    ("maintenance/status", "etcdserverpb.Maintenance/Status"),
    ("maintenance/defragment", "etcdserverpb.Maintenance/Defragment"),
    ("maintenance/hash", "etcdserverpb.Maintenance/HashKV"),
    ("maintenance/snapshot", "etcdserverpb.Maintenance/Snapshot"),
    ("maintenance/transfer-leadership", "etcdserverpb.Maintenance/MoveLeader"),
    ("auth/enable", "etcdserverpb.Auth/AuthEnable"),
    ("auth/disable", "etcdserverpb.Auth/AuthDisable"),
    ("auth/status", "etcdserverpb.Auth/AuthStatus"),
    ("auth/authenticate", "etcdserverpb.Auth/Authenticate"),
    ("auth/user/add", "etcdserverpb.Auth/UserAdd"),
    ("auth/user/get", "etcdserverpb.Auth/UserGet"),
    ("auth/user/list", "etcdserverpb.Auth/UserList"),
    ("auth/user/delete", "etcdserverpb.Auth/UserDelete"),
    ("auth/user/changepw", "etcdserverpb.Auth/UserChangePassword"),
    ("auth/user/grant", "etcdserverpb.Auth/UserGrantRole"),
    ("auth/user/revoke", "etcdserverpb.Auth/UserRevokeRole"),
    ("auth/role/add", "etcdserverpb.Auth/RoleAdd"),
    ("auth/role/get", "etcdserverpb.Auth/RoleGet"),
    ("auth/role/list", "etcdserverpb.Auth/RoleList"),
    ("auth/role/delete", "etcdserverpb.Auth/RoleDelete"),
    ("auth/role/grant", "etcdserverpb.Auth/RoleGrantPermission"),
    ("auth/role/revoke", "etcdserverpb.Auth/RoleRevokePermission"),
    ("lock/lock", "v3lockpb.Lock/Lock"),
    ("lock/unlock", "v3lockpb.Lock/Unlock"),
    ("election/campaign", "v3electionpb.Election/Campaign"),
    ("election/proclaim", "v3electionpb.Election/Proclaim"),
    ("election/leader", "v3electionpb.Election/Leader"),
    ("election/observe", "v3electionpb.Election/Observe"),
    ("election/resign", "v3electionpb.Election/Resign"),
];

/// The descriptors, read once.
pub fn descriptors() -> Option<&'static DescriptorPool> {
    static POOL: std::sync::OnceLock<Option<DescriptorPool>> = std::sync::OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(crate::proto::DESCRIPTORS).ok()).as_ref()
}

/// What can be asked for, as paths below `/v3`.
pub fn paths() -> impl Iterator<Item = &'static str> {
    PATHS.iter().map(|(path, _)| *path)
}

/// The method that a path stands for.
pub fn find(path: &str) -> Option<(MethodDescriptor, &'static str)> {
    let (_, full) = PATHS.iter().find(|(name, _)| *name == path)?;
    let (service, method) = full.split_once('/')?;
    let service = descriptors()?.get_service_by_name(service)?;
    let method = service.methods().find(|candidate| candidate.name() == method)?;
    Some((method, full))
}

/// A message as JSON.
pub fn to_json(message: &DynamicMessage) -> Option<serde_json::Value> {
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

/// The message that a method is asked with, of a body.
///
/// # Errors
/// `InvalidArgument`, with the place.
pub fn from_json(method: &MethodDescriptor, body: &[u8]) -> Result<DynamicMessage, Status> {
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let text: &[u8] = if body.iter().all(u8::is_ascii_whitespace) { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(text);
    DynamicMessage::deserialize_with_options(method.input(), &mut reader, &options)
        .map_err(|error| Status::invalid_argument(error.to_string()))
}

fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The HTTP status that stands for a code of gRPC.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn error_json(status: &Status) -> serde_json::Value {
    let (message, code) = (status.message(), status.code() as i32);
    serde_json::json!({ "error": message, "message": message, "code": code })
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<AnyBody> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {});
    let mut response = Response::new(AnyBody::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// Takes the messages out of the frames of an answer.
struct Frames {
    body: Body,
    buffer: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Frames {
    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<5>() {
                let [_, length @ ..] = *head;
                let length = u32::from_be_bytes(length) as usize;
                if self.buffer.len() >= 5 + length {
                    let mut message = self.buffer.split_to(5 + length);
                    return Ok(Some(message.split_off(5).freeze()));
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.buffer.extend_from_slice(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(status)) => return Err(status),
                None => {
                    return match self.trailers.as_ref().and_then(Status::from_header_map) {
                        Some(status) if status.code() != Code::Ok => Err(status),
                        _ => Ok(None),
                    };
                }
            }
        }
    }
}

impl Api {
    /// Answers a request for `path` below `/v3`.
    pub(super) async fn gateway(
        &self,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        peer: Peer,
    ) -> Response<AnyBody> {
        let Some((method, full)) = find(path) else {
            return json(StatusCode::NOT_FOUND, &error_json(&Status::not_found("Not Found")));
        };
        let message = match from_json(&method, body) {
            Ok(message) => message.encode_to_vec(),
            Err(status) => return json(http_status(status.code()), &error_json(&status)),
        };
        let mut request = Request::new(Body::new(Full::new(frame(&message)).map_err(|never| match never {})));
        *request.method_mut() = hyper::Method::POST;
        if let Ok(uri) = format!("http://localhost/{full}").parse() {
            *request.uri_mut() = uri;
        }
        request
            .headers_mut()
            .insert("content-type", hyper::header::HeaderValue::from_static("application/grpc"));
        for name in ["authorization", "token"] {
            if let Some(value) = headers.get(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        request.extensions_mut().insert(peer);
        let response = self.grpc(request).await;
        if let Some(status) = Status::from_header_map(response.headers())
            && status.code() != Code::Ok
        {
            return json(http_status(status.code()), &error_json(&status));
        }
        let mut frames = Frames { body: response.into_body(), buffer: BytesMut::new(), trailers: None };
        if method.is_server_streaming() {
            return self.stream(method, frames);
        }
        let answer = async {
            let message = frames.next().await?.ok_or_else(|| Status::internal("no answer"))?;
            frames.next().await?;
            Ok::<_, Status>(message)
        };
        match answer.await {
            Ok(message) => {
                let decoded = DynamicMessage::decode(method.output(), message).ok();
                json(StatusCode::OK, &decoded.and_then(|message| to_json(&message)).unwrap_or_default())
            }
            Err(status) => json(http_status(status.code()), &error_json(&status)),
        }
    }

    fn stream(&self, method: MethodDescriptor, mut frames: Frames) -> Response<AnyBody> {
        let (out, lines) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let line = tokio::select! {
                    message = frames.next() => match message {
                        Ok(Some(message)) => {
                            let decoded = DynamicMessage::decode(method.output(), message).ok();
                            let result = decoded.and_then(|message| to_json(&message)).unwrap_or_default();
                            serde_json::json!({ "result": result })
                        }
                        Ok(None) => return,
                        Err(status) => serde_json::json!({ "error": {
                            "grpc_code": status.code() as i32,
                            "http_code": http_status(status.code()).as_u16(),
                            "message": status.message(),
                            "http_status": http_status(status.code()).canonical_reason(),
                        }}),
                    },
                    () = out.closed() => return,
                };
                let failed = line.get("error").is_some();
                let data = Frame::data(Bytes::from(format!("{line}\n")));
                if out.send(Ok(data)).await.is_err() || failed {
                    return;
                }
            }
        });
        let mut response = Response::new(AnyBody::new(StreamBody::new(ReceiverStream::new(lines))));
        response
            .headers_mut()
            .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
        response
    }
}
