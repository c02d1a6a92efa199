//! The v2 API over HTTP: keys, members, statistics, machines.
//!
//! Source: etcd 2.3, Documentation/api.md, members_api.md, errors.md.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio_stream::wrappers::ReceiverStream;

use super::http::{body, text};
use super::stats;
use super::v2_auth::{Asker, unauthorized};
use super::{AnyBody, Api, Peer};
use crate::fault::Fault;
use crate::form;
use crate::node::wall_clock;
use crate::proto::Member;
use crate::proto::internal::command::Request as Command;
use crate::proto::internal::{V2Request, v2_request};
use crate::state::Reply;
use crate::state::auth::Caller;
use crate::state::v2::{Shown, V2Error, V2Event, clean};

/// How long a watcher waits before it is told that nothing came.
const WAIT: Duration = Duration::from_secs(300);
/// Bytes of a form.
pub(super) const FORM_MAX: usize = 2 << 20;

fn member_json(member: &Member) -> Value {
    json!({
        "id": format!("{:x}", member.id),
        "name": member.name,
        "peerURLs": member.peer_ur_ls,
        "clientURLs": member.client_ur_ls,
    })
}

fn node_json(node: &Shown, now: u64, sorted: bool) -> Value {
    let mut map = Map::new();
    map.insert("key".into(), node.key.clone().into());
    if node.key == "/" {
        map.remove("key");
    }
    if node.dir {
        map.insert("dir".into(), true.into());
    } else if let Some(value) = &node.value {
        map.insert("value".into(), value.clone().into());
    }
    if node.expires != 0 {
        let when =
            jiff::Timestamp::from_millisecond(i64::try_from(node.expires).unwrap_or(0)).unwrap_or_default();
        map.insert("expiration".into(), format!("{when}").into());
        let left = node.expires.saturating_sub(now).div_ceil(1000);
        map.insert("ttl".into(), left.into());
    }
    if !node.nodes.is_empty() {
        let mut nodes: Vec<&Shown> = node.nodes.iter().collect();
        if sorted {
            nodes.sort_by(|a, b| a.key.cmp(&b.key));
        }
        map.insert("nodes".into(), nodes.into_iter().map(|node| node_json(node, now, sorted)).collect());
    }
    if node.key != "/" {
        map.insert("modifiedIndex".into(), node.modified.into());
        map.insert("createdIndex".into(), node.created.into());
    }
    map.into()
}

fn event_json(event: &V2Event, sorted: bool) -> Value {
    let now = wall_clock();
    let mut json = json!({ "action": event.action, "node": node_json(&event.node, now, sorted) });
    if let (Some(previous), Some(map)) = (&event.previous, json.as_object_mut()) {
        map.insert("prevNode".into(), node_json(previous, now, false));
    }
    json
}

fn v2_status(event: &V2Event) -> StatusCode {
    if event.is_created && event.action != "get" { StatusCode::CREATED } else { StatusCode::OK }
}

type Fields = HashMap<String, String>;

/// Reads a field that is a truth value.
fn truth(fields: &Fields, name: &str, index: u64) -> Result<Option<bool>, V2Error> {
    match fields.get(name).map(String::as_str) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        // So etcd words it.
        Some(_) if matches!(name, "prevExist" | "refresh") => {
            Err(V2Error { code: 209, cause: format!("invalid value for {name}"), index })
        }
        Some(_) => Err(V2Error { code: 209, cause: format!("invalid value for \"{name}\""), index }),
    }
}

fn count(fields: &Fields, name: &str, code: u32, index: u64) -> Result<Option<u64>, V2Error> {
    let Some(text) = fields.get(name) else { return Ok(None) };
    let bad = |_| V2Error { code, cause: format!("invalid value for \"{name}\""), index };
    text.parse().map(Some).map_err(bad)
}

impl Api {
    fn v2_headers(&self, mut response: Response<AnyBody>, index: u64) -> Response<AnyBody> {
        let standing = self.node.standing.borrow().clone();
        let fields = [
            ("x-etcd-index", index.to_string()),
            ("x-raft-index", standing.applied.to_string()),
            ("x-raft-term", standing.term.to_string()),
        ];
        for (name, value) in fields {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }

    fn v2_error(&self, error: &V2Error) -> Response<AnyBody> {
        let json = json!({
            "errorCode": error.code,
            "message": error.message(),
            "cause": error.cause,
            "index": error.index,
        });
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
        self.v2_headers(text(status, "application/json", format!("{json}\n")), error.index)
    }

    fn v2_event(&self, event: &V2Event, sorted: bool, index: u64) -> Response<AnyBody> {
        let json = format!("{}\n", event_json(event, sorted));
        self.v2_headers(text(v2_status(event), "application/json", json), index)
    }

    fn v2_index(&self) -> u64 {
        self.node.state.read().v2.index()
    }

    pub(super) async fn v2(&self, request: Request<Incoming>, peer: &Peer) -> Response<AnyBody> {
        if !self.manners.v2 {
            return text(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n");
        }
        let path = request.uri().path().to_owned();
        let mut response = if path == "/v2/keys" || path.starts_with("/v2/keys/") {
            self.v2_keys(request, peer).await
        } else if let Some(path) = path.strip_prefix("/v2/auth/") {
            self.v2_auth(path, request, peer).await
        } else {
            self.v2_other(&path, request, peer).await
        };
        let cluster = format!("{:x}", self.node.setup.cluster_id);
        if let Ok(value) = HeaderValue::from_str(&cluster) {
            response.headers_mut().insert("x-etcd-cluster-id", value);
        }
        response
    }

    async fn v2_keys(&self, request: Request<Incoming>, peer: &Peer) -> Response<AnyBody> {
        let path = request.uri().path();
        let path = clean(&form::decode(path.strip_prefix("/v2/keys").unwrap_or(path), false));
        let mut fields = form::parse(request.uri().query().unwrap_or_default());
        let method = request.method().clone();
        let asker = Asker::of(request.headers(), peer);
        if matches!(method, Method::PUT | Method::POST) {
            let bytes = match body(request, FORM_MAX).await {
                Ok(bytes) => bytes,
                Err(response) => return response,
            };
            // What is in the form is stronger than what is in the address.
            fields.extend(form::parse(&String::from_utf8_lossy(&bytes)));
        }
        let answer = match method {
            Method::GET | Method::HEAD => self.v2_get(&asker, path, &fields).await,
            Method::PUT | Method::POST | Method::DELETE => {
                self.v2_change(&asker, &method, &path, &fields).await
            }
            _ => return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n"),
        };
        answer.unwrap_or_else(|error| self.v2_error(&error))
    }

    async fn v2_get(
        &self,
        asker: &Asker,
        path: String,
        fields: &Fields,
    ) -> Result<Response<AnyBody>, V2Error> {
        // What makes no sense has no place in history.
        let index = 0;
        let recursive = truth(fields, "recursive", index)?.unwrap_or(false);
        let sorted = truth(fields, "sorted", index)?.unwrap_or(false);
        let since = count(fields, "waitIndex", 203, index)?;
        let stream = truth(fields, "stream", index)?.unwrap_or(false);
        let wait = truth(fields, "wait", index)?.unwrap_or(false);
        let quorum = truth(fields, "quorum", index)?.unwrap_or(false);
        self.v2_check(asker, &path, false, recursive).await?;
        if wait {
            return self.v2_watch(path, recursive, since.filter(|since| *since > 0), stream);
        }
        if quorum {
            self.node.linearize().await.map_err(|fault| raft_error(fault, self.v2_index()))?;
        }
        let state = self.node.state.read();
        let event = self.v2_counts.get(state.v2.get(&path, recursive))?;
        let index = state.v2.index();
        drop(state);
        Ok(self.v2_event(&event, sorted, index))
    }

    /// The head of the answer leaves at once, the event when it comes.
    fn v2_watch(
        &self,
        path: String,
        recursive: bool,
        since: Option<u64>,
        stream: bool,
    ) -> Result<Response<AnyBody>, V2Error> {
        let (index, mut next) = {
            let state = self.node.state.read();
            let index = state.v2.index();
            let next = since.unwrap_or(index + 1);
            state.v2.event_since(&path, recursive, next)?;
            (index, next)
        };
        let (out, events) = tokio::sync::mpsc::channel(4);
        let api = self.clone();
        let watching = self.v2_counts.watching();
        tokio::spawn(async move {
            let _watching = watching;
            let mut moved = api.node.v2_index.clone();
            let end = tokio::time::sleep(WAIT);
            tokio::pin!(end);
            loop {
                moved.borrow_and_update();
                let found = api.node.state.read().v2.event_since(&path, recursive, next);
                match found {
                    Ok(Some(event)) => {
                        next = event.index + 1;
                        let line = Bytes::from(format!("{}\n", event_json(&event, false)));
                        if out.send(Ok(Frame::data(line))).await.is_err() || !stream {
                            return;
                        }
                        continue;
                    }
                    Ok(None) => {}
                    Err(_) => return,
                }
                tokio::select! {
                    changed = moved.changed() => if changed.is_err() { return },
                    () = out.closed() => return,
                    () = api.node.end.notified() => return,
                    () = &mut end => return,
                }
            }
        });
        let mut response = Response::new(AnyBody::new(StreamBody::new(ReceiverStream::new(events))));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        Ok(self.v2_headers(response, index))
    }

    async fn v2_change(
        &self,
        asker: &Asker,
        method: &Method,
        path: &str,
        fields: &Fields,
    ) -> Result<Response<AnyBody>, V2Error> {
        let index = 0;
        let now = wall_clock();
        let prev_value = fields.get("prevValue");
        if prev_value.is_some_and(String::is_empty) {
            return Err(V2Error { code: 201, cause: "\"prevValue\" cannot be empty".into(), index });
        }
        let ttl = fields.get("ttl").filter(|ttl| !ttl.is_empty());
        let ttl = match ttl {
            Some(ttl) => {
                let bad = |_| V2Error { code: 202, cause: "invalid value for \"ttl\"".into(), index };
                Some(ttl.parse::<u64>().map_err(bad)?)
            }
            None => None,
        };
        let refresh = truth(fields, "refresh", index)?.unwrap_or(false);
        if refresh && fields.contains_key("value") {
            return Err(V2Error { code: 211, cause: "A value was provided on a refresh".into(), index });
        }
        if refresh && ttl.is_none() {
            return Err(V2Error { code: 212, cause: "No TTL value set".into(), index });
        }
        let prev_exist = match truth(fields, "prevExist", index)? {
            None => 0,
            Some(false) => 1,
            Some(true) => 2,
        };
        let kind = match *method {
            Method::POST => v2_request::Method::CreateInOrder,
            Method::DELETE => v2_request::Method::Delete,
            _ => v2_request::Method::Set,
        };
        let request = V2Request {
            method: kind.into(),
            path: path.to_owned(),
            value: fields.get("value").cloned().unwrap_or_default(),
            dir: truth(fields, "dir", index)?.unwrap_or(false),
            recursive: truth(fields, "recursive", index)?.unwrap_or(false),
            prev_value: prev_value.cloned().unwrap_or_default(),
            has_prev_value: prev_value.is_some(),
            prev_index: count(fields, "prevIndex", 203, index)?.unwrap_or(0),
            prev_exist,
            refresh,
            // A time to live of nothing is over at once.
            expires: ttl.map_or(0, |ttl| now.saturating_add(ttl.saturating_mul(1000))),
            now,
            ..V2Request::default()
        };
        let no_value = truth(fields, "noValueOnSuccess", index)?.unwrap_or(false);
        self.v2_check(asker, path, true, request.recursive).await?;
        match self.node.propose(Caller::default(), Command::V2(request)).await {
            Ok((Reply::V2(Ok(event)), _)) => {
                if no_value && matches!(event.action, "set" | "compareAndSwap" | "create" | "update") {
                    let json = format!("{}\n", json!({ "action": event.action }));
                    let response = text(v2_status(&event), "application/json", json);
                    return Ok(self.v2_headers(response, event.index));
                }
                Ok(self.v2_event(&event, false, event.index))
            }
            Ok((Reply::V2(Err(error)), _)) => Err(error),
            Ok(_) => Err(raft_error(Fault::Stopped, self.v2_index())),
            Err(fault) => Err(raft_error(fault, self.v2_index())),
        }
    }

    async fn v2_other(&self, path: &str, request: Request<Incoming>, peer: &Peer) -> Response<AnyBody> {
        let ok = |json: &Value| text(StatusCode::OK, "application/json", format!("{json}\n"));
        let method = request.method().clone();
        let changes_members =
            path.starts_with("/v2/members") && matches!(method, Method::POST | Method::PUT | Method::DELETE);
        if changes_members && !self.v2_is_root(&Asker::of(request.headers(), peer)).await {
            return unauthorized();
        }
        match (path.trim_end_matches('/'), &method) {
            ("/v2/machines", &Method::GET) => {
                let urls: Vec<String> =
                    self.members().into_iter().flat_map(|member| member.client_ur_ls).collect();
                text(StatusCode::OK, "text/plain; charset=utf-8", urls.join(", "))
            }
            ("/v2/members", &Method::GET) => {
                let members: Vec<Value> = self.members().iter().map(member_json).collect();
                ok(&json!({ "members": members }))
            }
            ("/v2/members/leader", &Method::GET) => {
                let leader = self.node.standing.borrow().leader;
                match self.members().iter().find(|member| member.id == leader) {
                    Some(member) => ok(&member_json(member)),
                    None => v2_members_error(StatusCode::SERVICE_UNAVAILABLE, "During election"),
                }
            }
            ("/v2/members", &Method::POST) => self.v2_add_member(request).await,
            ("/v2/stats/self", &Method::GET) => ok(&self.v2_self()),
            ("/v2/stats/store", &Method::GET) => {
                let (gets, watchers) = (self.v2_counts.gets(), self.v2_counts.watchers());
                ok(&stats::store(&self.node.state.read().v2.counts(), gets, watchers))
            }
            ("/v2/stats/leader", &Method::GET) => {
                let standing = self.node.standing.borrow().clone();
                if standing.leader != self.node.setup.member_id {
                    return v2_members_error(StatusCode::FORBIDDEN, "not current leader");
                }
                let latencies = self.node.latencies.lock().clone();
                let followers: Map<String, Value> = standing
                    .matched
                    .iter()
                    .map(|(id, _)| (format!("{id:x}"), stats::follower(&latencies.of(*id))))
                    .collect();
                ok(&json!({ "leader": format!("{:x}", standing.leader), "followers": followers }))
            }
            ("/v2/machines" | "/v2/stats/self" | "/v2/stats/store" | "/v2/stats/leader", _) => {
                text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n")
            }
            _ => match path.strip_prefix("/v2/members/") {
                Some(id) => self.v2_change_member(id, &method, request).await,
                None => text(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n"),
            },
        }
    }

    fn v2_self(&self) -> Value {
        let (name, id) = (&self.manners.name, self.node.setup.member_id);
        let standing = self.node.standing.borrow().clone();
        stats::member(name, id, &standing, &self.reign.lock(), &self.node.counts)
    }

    async fn v2_urls(&self, request: Request<Incoming>) -> Result<Vec<String>, Response<AnyBody>> {
        let bytes = body(request, FORM_MAX).await?;
        let json: Value = serde_json::from_slice(&bytes)
            .map_err(|error| v2_members_error(StatusCode::BAD_REQUEST, &error.to_string()))?;
        let urls = json.get("peerURLs").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(urls.iter().filter_map(|url| url.as_str().map(str::to_owned)).collect())
    }

    async fn v2_add_member(&self, request: Request<Incoming>) -> Response<AnyBody> {
        let urls = match self.v2_urls(request).await {
            Ok(urls) => urls,
            Err(response) => return response,
        };
        match self.add_member(&urls, false).await {
            Ok(member) => {
                text(StatusCode::CREATED, "application/json", format!("{}\n", member_json(&member)))
            }
            Err(fault) => v2_members_fault(fault),
        }
    }

    async fn v2_change_member(
        &self,
        id: &str,
        method: &Method,
        request: Request<Incoming>,
    ) -> Response<AnyBody> {
        if method == Method::GET {
            return v2_members_error(StatusCode::NOT_FOUND, "Not found");
        }
        let Ok(id) = u64::from_str_radix(id, 16) else {
            return v2_members_error(StatusCode::NOT_FOUND, &format!("No such member: {id}"));
        };
        let result = match *method {
            Method::DELETE if self.node.state.read().members.is_removed(id) => {
                return v2_members_error(StatusCode::GONE, &format!("Member permanently removed: {id:x}"));
            }
            Method::DELETE => self.remove_member(id).await,
            Method::PUT => match self.v2_urls(request).await {
                Ok(urls) => self.update_member(id, &urls).await,
                Err(response) => return response,
            },
            _ => return text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "Method Not Allowed\n"),
        };
        match result {
            Ok(()) => text(StatusCode::NO_CONTENT, "application/json", ""),
            Err(Fault::MemberNotFound) => {
                v2_members_error(StatusCode::NOT_FOUND, &format!("No such member: {id:x}"))
            }
            Err(fault) => v2_members_fault(fault),
        }
    }
}

fn raft_error(fault: Fault, index: u64) -> V2Error {
    let code = if fault == Fault::NoLeader { 301 } else { 300 };
    V2Error { code, cause: fault.to_string(), index }
}

pub(super) fn v2_members_error(status: StatusCode, message: &str) -> Response<AnyBody> {
    text(status, "application/json", json!({ "message": message }).to_string())
}

fn v2_members_fault(fault: Fault) -> Response<AnyBody> {
    let status = match fault {
        Fault::MemberNotFound => StatusCode::NOT_FOUND,
        Fault::MemberExists | Fault::PeerUrlExists => StatusCode::CONFLICT,
        Fault::BadMemberUrls => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    v2_members_error(status, &fault.to_string())
}
