//! The faces of a member: gRPC for v3, and HTTP for its JSON form, for v2, health, version and metrics, all on one
//! port.

mod auth;
mod authority;
mod cluster;
pub mod connection;
pub mod gateway;
pub(crate) mod http;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod metrics;
mod stats;
pub mod tls;
mod v2;
mod v2_auth;
pub mod v2_users;
mod watch;

pub(crate) use gateway::descriptors;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::{Request, Response};
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::fault::Fault;
use crate::node::Node;
use crate::proto::auth_server::AuthServer;
use crate::proto::cluster_server::ClusterServer;
use crate::proto::election::election_server::ElectionServer;
use crate::proto::health::health_server::HealthServer;
use crate::proto::kv_server::KvServer;
use crate::proto::lease_server::LeaseServer;
use crate::proto::lock::lock_server::LockServer;
use crate::proto::maintenance_server::MaintenanceServer;
use crate::proto::watch_server::WatchServer;
use crate::state::auth::Caller;

/// The version of etcd that this is the like of; clients look at it.
pub const VERSION: &str = "3.4.23";
/// The same for a cluster.
pub const CLUSTER_VERSION: &str = "3.4.0";

/// A body of any kind.
pub type AnyBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What a face is set up with.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Operations in a transaction.
    pub max_txn_ops: usize,
    /// Seconds of the shortest lease.
    pub min_lease: i64,
    /// How often a watcher that asked for it is told that nothing happened.
    pub progress: Duration,
    /// Refuse changes of membership that would lose the quorum.
    pub strict_reconfig: bool,
    /// Whether the v2 API is there.
    pub v2: bool,
    /// The name that a member's number is made of, beside its URLs.
    pub token: String,
    /// Where clients find this member.
    pub client_urls: Vec<String>,
    /// The member's name.
    pub name: String,
}

/// Paths of calls that are counted; there are fewer calls.
const PATHS: usize = 256;

fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._".contains(&byte))
}

/// The faces of a member.
#[derive(Clone)]
pub struct Api {
    node: Node,
    manners: Arc<Manners>,
    /// Calls that were answered, by path and code.
    handled: Arc<Mutex<BTreeMap<String, BTreeMap<i32, u64>>>>,
    v2_counts: Arc<stats::Counts>,
    reign: Arc<Mutex<stats::Reign>>,
}

/// Who is at the other end, by its certificate.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The common name of the certificate that was checked.
    pub common_name: Option<String>,
}

/// A message over the limit is refused in the words of etcd's library, which clients look for.
fn worded_as_gos(mut response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    let sizes = status.message().strip_prefix("Error, decoded message length too large: found ");
    let sizes = sizes.and_then(|rest| rest.strip_suffix(" bytes")?.split_once(" bytes, the limit is: "));
    if let Some((found, limit)) = sizes {
        let text = format!("grpc: received message larger than max ({found} vs. {limit})");
        let refusal = Status::resource_exhausted(text).into_http::<Body>();
        response.headers_mut().extend(refusal.headers().clone());
    }
    response
}

impl Api {
    /// The faces of this member.
    pub fn new(node: Node, manners: Manners) -> Api {
        let reign = Arc::default();
        tokio::spawn(stats::follow(node.standing.clone(), Arc::clone(&reign)));
        Api { node, manners: Arc::new(manners), handled: Arc::default(), v2_counts: Arc::default(), reign }
    }

    /// Who asks.
    fn caller<T>(&self, request: &tonic::Request<T>) -> Result<Caller, Status> {
        let (enabled, revision) = {
            let state = self.node.state.read();
            (state.auth.is_enabled(), state.auth.revision())
        };
        if !enabled {
            return Ok(Caller::default());
        }
        let metadata = request.metadata();
        let token = metadata.get("token").or_else(|| metadata.get("authorization"));
        let user = match token {
            Some(token) => {
                let token = token.to_str().unwrap_or_default();
                let token = token.strip_prefix("Bearer ").unwrap_or(token);
                self.node.user_of(token).ok_or(Fault::InvalidAuthToken)?
            }
            None => request
                .extensions()
                .get::<Peer>()
                .and_then(|peer| peer.common_name.clone())
                .unwrap_or_default(),
        };
        Ok(Caller { user, revision })
    }

    /// Refuses what this member cannot do now: as a learner, or without a leader where the client wants one.
    fn ready<T>(&self, request: &tonic::Request<T>) -> Result<Caller, Status> {
        if self.node.is_learner() {
            return Err(Fault::NotForLearner.into());
        }
        self.check_leader(request)?;
        self.caller(request)
    }

    fn check_leader<T>(&self, request: &tonic::Request<T>) -> Result<(), Status> {
        let wanted = request.metadata().get("hasleader").is_some_and(|value| value == "true");
        if wanted && self.node.standing.borrow().leader == 0 {
            return Err(Fault::NoLeader.into());
        }
        Ok(())
    }

    /// Answers a request, whichever face it is for.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Peer,
    ) -> Result<Response<AnyBody>, Infallible> {
        let is_grpc = request
            .headers()
            .get(hyper::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if !is_grpc {
            return Ok(self.http(request, peer).await);
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        Ok(self
            .grpc(request)
            .await
            .map(|body| UnsyncBoxBody::new(http_body_util::BodyExt::map_err(body, Into::into))))
    }

    /// Answers a call of gRPC, and counts it.
    async fn grpc(&self, request: Request<Body>) -> Response<Body> {
        let uri = request.uri().clone();
        let path = uri.path();
        let limit = self.node.setup.max_request + (512 << 10);
        macro_rules! call {
            ($server:ident) => {{
                let mut server = $server::new(self.clone()).max_decoding_message_size(limit);
                server = server.max_encoding_message_size(usize::MAX);
                match server.call(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }};
        }
        let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        let response = match service {
            "etcdserverpb.KV" => call!(KvServer),
            "etcdserverpb.Watch" => call!(WatchServer),
            "etcdserverpb.Lease" => call!(LeaseServer),
            "etcdserverpb.Cluster" => call!(ClusterServer),
            "etcdserverpb.Maintenance" => call!(MaintenanceServer),
            "etcdserverpb.Auth" => call!(AuthServer),
            "v3lockpb.Lock" => call!(LockServer),
            "v3electionpb.Election" => call!(ElectionServer),
            "grpc.health.v1.Health" => call!(HealthServer),
            _ => Status::unimplemented(format!("unknown service {service}")).into_http(),
        };
        let response = worded_as_gos(response);
        let code = response
            .headers()
            .get("grpc-status")
            .and_then(|code| code.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        let mut handled = self.handled.lock();
        let has_room = handled.len() < PATHS;
        match handled.get_mut(path) {
            Some(codes) => *codes.entry(code).or_default() += 1,
            // The client names the path: what it makes up is not kept.
            None if has_room && is_plain(path) => {
                handled.insert(path.to_owned(), BTreeMap::from([(code, 1)]));
            }
            None => {}
        }
        drop(handled);
        response
    }
}
