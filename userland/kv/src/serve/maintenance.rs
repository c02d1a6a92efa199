//! The service Maintenance, and gRPC's Health.

use std::io::Read;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Api, VERSION};
use crate::fault::Fault;
use crate::node::Input;
use crate::proto::alarm_request::AlarmAction;
use crate::proto::health::health_check_response::ServingStatus;
use crate::proto::health::health_server::Health;
use crate::proto::health::{HealthCheckRequest, HealthCheckResponse};
use crate::proto::internal::command::Request as Command;
use crate::proto::maintenance_server::Maintenance;
use crate::proto::*;
use crate::state::Reply;
use crate::storage::snapshot;

/// Bytes of a part of a snapshot on its way to a client.
const PART: usize = 32 << 10;

impl Api {
    fn check_admin<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = self.caller(request)?;
        Ok(self.node.state.read().auth.check_admin(&caller)?)
    }

    /// Bytes that the data takes; etcd counts whole pages, and clients expect never to see 0.
    pub(super) fn size(&self) -> i64 {
        (self.node.state.read().mvcc.size() as i64 / 4096 + 5) * 4096
    }
}

#[tonic::async_trait]
impl Maintenance for Api {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        if request.action() == AlarmAction::Get {
            let alarms = self.node.state.read().alarms().collect();
            return Ok(Response::new(AlarmResponse { header: None, alarms }));
        }
        match self.node.propose(caller, Command::Alarm(request)).await? {
            (Reply::Alarms(alarms), _) => Ok(Response::new(AlarmResponse { header: None, alarms })),
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.check_leader(&request)?;
        let standing = self.node.standing.borrow().clone();
        let mut errors: Vec<String> = Vec::new();
        if standing.leader == 0 {
            errors.push(Fault::NoLeader.to_string());
        }
        for alarm in self.node.state.read().alarms() {
            errors.push(format!("memberID:{} alarm:{} ", alarm.member_id, alarm.alarm().as_str_name()));
        }
        let size = self.size();
        Ok(Response::new(StatusResponse {
            header: Some(self.node.header()),
            version: VERSION.into(),
            db_size: size,
            leader: standing.leader,
            raft_index: standing.committed,
            raft_term: standing.term,
            raft_applied_index: standing.applied,
            errors,
            db_size_in_use: size,
            is_learner: self.node.is_learner(),
        }))
    }

    async fn defragment(
        &self,
        request: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        // Nothing is ever fragmented here: what is compacted is gone.
        self.check_admin(&request)?;
        Ok(Response::new(DefragmentResponse { header: None }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.check_admin(&request)?;
        let (view, compacted) = {
            let state = self.node.state.read();
            (state.view(), state.mvcc.compacted())
        };
        let hash = tokio::task::spawn_blocking(move || view.hash_keys(i64::MAX, compacted)).await;
        let hash = hash.map_err(|_| Fault::Stopped)?;
        Ok(Response::new(HashResponse { header: Some(self.node.header()), hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        self.check_admin(&request)?;
        let revision = request.into_inner().revision;
        let (view, compact_revision, at) = {
            let state = self.node.state.read();
            let at = state.mvcc.check_hash_revision(revision)?;
            (state.view(), state.mvcc.compacted(), at)
        };
        let hash = tokio::task::spawn_blocking(move || view.hash_keys(at, compact_revision)).await;
        let hash = hash.map_err(|_| Fault::Stopped)?;
        let compact_revision = if compact_revision == 0 { -1 } else { compact_revision };
        Ok(Response::new(HashKvResponse { header: Some(self.node.header()), hash, compact_revision }))
    }

    type SnapshotStream = ReceiverStream<Result<SnapshotResponse, Status>>;

    async fn snapshot(
        &self,
        request: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        self.check_admin(&request)?;
        let view = self.node.state.read().view();
        let path = self.node.paths.snapshots.join(format!("client-{:x}.tmp", self.node.unique()));
        let (out, parts) = mpsc::channel(4);
        let header = self.node.header();
        tokio::task::spawn_blocking(move || {
            let opened = snapshot::write(&path, &view).and_then(|()| {
                let file = std::fs::File::open(&path).map_err(crate::storage::Damage::io(&path));
                let _ = std::fs::remove_file(&path);
                file
            });
            let sent = opened.map_err(|error| error.to_string()).and_then(|mut file| {
                let total = file.metadata().map_err(|error| error.to_string())?.len();
                let mut left = total;
                let mut buffer = vec![0u8; PART];
                while left > 0 {
                    // The checksum goes alone, last.
                    let body = left.saturating_sub(snapshot::SUM as u64).min(PART as u64);
                    let size = if body == 0 { left } else { body };
                    let part = buffer.get_mut(..usize::try_from(size).unwrap_or(0)).unwrap_or_default();
                    file.read_exact(part).map_err(|error| error.to_string())?;
                    left -= size;
                    let blob = bytes::Bytes::copy_from_slice(part);
                    let response = SnapshotResponse { header: Some(header), remaining_bytes: left, blob };
                    if out.blocking_send(Ok(response)).is_err() {
                        return Ok(());
                    }
                }
                Ok(())
            });
            if let Err(error) = sent {
                let _ = out.blocking_send(Err(Status::internal(format!("etcdserver: no snapshot: {error}"))));
            }
        });
        Ok(Response::new(ReceiverStream::new(parts)))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        self.check_admin(&request)?;
        let target = request.into_inner().target_id;
        let mut standing = self.node.standing.clone();
        if standing.borrow().leader != self.node.setup.member_id {
            return Err(Fault::NotLeader.into());
        }
        let known = self.node.state.read().members.get(target).is_some_and(|member| !member.is_learner);
        if !known {
            return Err(Fault::BadTransferee.into());
        }
        self.node.send(Input::Transfer(target));
        let changed = standing.wait_for(|standing| standing.leader == target);
        match tokio::time::timeout(5 * self.node.setup.election, changed).await {
            Ok(Ok(_)) => {}
            _ => return Err(Fault::Timeout.into()),
        }
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }
}

#[tonic::async_trait]
impl Health for Api {
    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }))
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (out, answers) = mpsc::channel(1);
        let _ = out.send(Ok(HealthCheckResponse { status: ServingStatus::Serving.into() })).await;
        let node = self.node.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = node.end.notified() => {}
                () = out.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
