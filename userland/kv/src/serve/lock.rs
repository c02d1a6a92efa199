//! The services Lock and Election: waiting in a queue of keys, each tied to a lease.
//!
//! A place in the queue is the key `NAME/LEASE`; whoever was created first has it. Others wait for the one before
//! them alone to go, so that one release wakes one waiter.
//!
//! Source: etcd 3.4, clientv3/concurrency, api/v3lock and api/v3election.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::Api;
use super::watch::Stream;
use crate::fault::Fault;
use crate::proto::compare::{CompareTarget, TargetUnion};
use crate::proto::election::election_server::Election;
use crate::proto::election::*;
use crate::proto::lock::lock_server::Lock;
use crate::proto::lock::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use crate::proto::range_request::{SortOrder, SortTarget};
use crate::proto::request_op::Request as Op;
use crate::proto::response_op::Response as Answer;
use crate::proto::watch_create_request::FilterType;
use crate::proto::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
    WatchCreateRequest,
};
use crate::span::prefix_end;
use crate::state::auth::Caller;

fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn created_at(key: &Bytes, revision: i64) -> Compare {
    Compare {
        target: CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

/// A place in a queue.
struct Place {
    key: Bytes,
    revision: i64,
}

impl Api {
    /// Takes a place in the queue of `prefix`, or finds the one that the lease has.
    async fn queue(&self, caller: &Caller, prefix: &[u8], lease: i64, value: &Bytes) -> Result<Place, Fault> {
        let key = Bytes::from([prefix, format!("{lease:x}").as_bytes()].concat());
        let put = PutRequest { key: key.clone(), value: value.clone(), lease, ..PutRequest::default() };
        let get = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let txn = TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![op(Op::RequestPut(put))],
            failure: vec![op(Op::RequestRange(get))],
        };
        let response = self.write(caller.clone(), txn).await?;
        let own = response.header.map_or(0, |header| header.revision);
        let found = response.responses.into_iter().next().and_then(|response| response.response);
        let revision = match found {
            Some(Answer::ResponseRange(range)) => range.kvs.first().map_or(own, |kv| kv.create_revision),
            _ => own,
        };
        Ok(Place { key, revision })
    }

    /// Waits until everyone before this place has gone.
    async fn wait_turn(
        &self,
        caller: &Caller,
        prefix: &Bytes,
        place: &Place,
    ) -> Result<ResponseHeader, Fault> {
        loop {
            let before = RangeRequest {
                key: prefix.clone(),
                range_end: prefix_end(prefix),
                max_create_revision: place.revision - 1,
                sort_order: SortOrder::Descend.into(),
                sort_target: SortTarget::Create.into(),
                limit: 1,
                ..RangeRequest::default()
            };
            let range = self.read(caller, &before).await?;
            let header = range.header.unwrap_or_default();
            let Some(last) = range.kvs.first() else { return Ok(header) };
            let stream = Stream::open(&self.node);
            stream.create(&WatchCreateRequest {
                key: last.key.clone(),
                start_revision: header.revision + 1,
                filters: vec![FilterType::Noput.into()],
                ..WatchCreateRequest::default()
            });
            // It may have gone between the two.
            if !stream.collect().is_empty() {
                continue;
            }
            tokio::select! {
                () = stream.waker.notified() => {}
                () = self.node.end.notified() => return Err(Fault::Stopped),
            }
        }
    }

    /// Whether the place is still there after waiting: its lease may have run out.
    async fn check_place(&self, caller: &Caller, place: &Place) -> Result<(), Fault> {
        let get = RangeRequest { key: place.key.clone(), ..RangeRequest::default() };
        let found = self.read(caller, &get).await?;
        match found.kvs.first() {
            Some(kv) if kv.create_revision == place.revision => Ok(()),
            _ => Err(Fault::LeaseNotFound),
        }
    }

    async fn remove(&self, caller: &Caller, key: Bytes) -> Result<Option<ResponseHeader>, Fault> {
        let delete = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
        let txn = TxnRequest { success: vec![op(Op::RequestDeleteRange(delete))], ..TxnRequest::default() };
        Ok(self.write(caller.clone(), txn).await?.header)
    }

    async fn leader_of(
        &self,
        caller: &Caller,
        name: &Bytes,
    ) -> Result<(Option<KeyValue>, ResponseHeader), Fault> {
        let prefix = slash(name);
        let range = RangeRequest {
            range_end: prefix_end(&prefix),
            key: prefix,
            sort_order: SortOrder::Ascend.into(),
            sort_target: SortTarget::Create.into(),
            limit: 1,
            ..RangeRequest::default()
        };
        let found = self.read(caller, &range).await?;
        Ok((found.kvs.into_iter().next(), found.header.unwrap_or_default()))
    }
}

fn slash(name: &Bytes) -> Bytes {
    Bytes::from([name.as_ref(), b"/"].concat())
}

#[tonic::async_trait]
impl Lock for Api {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        let caller = self.ready(&request)?;
        let mut request = request.into_inner();
        if request.lease == 0 {
            request.lease = self.new_lease().await?;
        }
        let prefix = slash(&request.name);
        let place = self.queue(&caller, &prefix, request.lease, &Bytes::new()).await?;
        let waited = self.wait_turn(&caller, &prefix, &place).await;
        let header = match waited {
            Ok(header) => header,
            Err(fault) => {
                let _ = self.remove(&caller, place.key).await;
                return Err(fault.into());
            }
        };
        self.check_place(&caller, &place).await?;
        Ok(Response::new(LockResponse { header: Some(header), key: place.key }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let caller = self.ready(&request)?;
        let header = self.remove(&caller, request.into_inner().key).await?;
        Ok(Response::new(UnlockResponse { header }))
    }
}

impl Api {
    /// A lease of a minute, as etcd makes for who brings none.
    async fn new_lease(&self) -> Result<i64, Fault> {
        let grant = crate::proto::LeaseGrantRequest {
            ttl: 60.max(self.manners.min_lease),
            id: (self.node.unique() >> 1) as i64 | 1,
        };
        let id = grant.id;
        self.node
            .propose(Caller::default(), crate::proto::internal::command::Request::LeaseGrant(grant))
            .await?;
        Ok(id)
    }
}

#[tonic::async_trait]
impl Election for Api {
    async fn campaign(
        &self,
        request: Request<CampaignRequest>,
    ) -> Result<Response<CampaignResponse>, Status> {
        let caller = self.ready(&request)?;
        let mut request = request.into_inner();
        if request.lease == 0 {
            request.lease = self.new_lease().await?;
        }
        let prefix = slash(&request.name);
        let place = self.queue(&caller, &prefix, request.lease, &request.value).await?;
        let header = match self.wait_turn(&caller, &prefix, &place).await {
            Ok(header) => header,
            Err(fault) => {
                let _ = self.remove(&caller, place.key).await;
                return Err(fault.into());
            }
        };
        self.check_place(&caller, &place).await?;
        let (name, lease) = (request.name, request.lease);
        let leader = LeaderKey { name, key: place.key, rev: place.revision, lease };
        Ok(Response::new(CampaignResponse { header: Some(header), leader: Some(leader) }))
    }

    async fn proclaim(
        &self,
        request: Request<ProclaimRequest>,
    ) -> Result<Response<ProclaimResponse>, Status> {
        let caller = self.ready(&request)?;
        let request = request.into_inner();
        let leader =
            request.leader.ok_or_else(|| Status::invalid_argument("\"leader\" field must be provided"))?;
        let put = PutRequest {
            key: leader.key.clone(),
            value: request.value,
            lease: leader.lease,
            ..PutRequest::default()
        };
        let txn = TxnRequest {
            compare: vec![created_at(&leader.key, leader.rev)],
            success: vec![op(Op::RequestPut(put))],
            failure: Vec::new(),
        };
        let response = self.write(caller, txn).await?;
        if !response.succeeded {
            return Err(Status::unknown("election: not leader"));
        }
        Ok(Response::new(ProclaimResponse { header: response.header }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        let caller = self.ready(&request)?;
        match self.leader_of(&caller, &request.into_inner().name).await? {
            (Some(kv), header) => Ok(Response::new(LeaderResponse { header: Some(header), kv: Some(kv) })),
            _ => Err(Status::unknown("election: no leader")),
        }
    }

    type ObserveStream = ReceiverStream<Result<LeaderResponse, Status>>;

    async fn observe(
        &self,
        request: Request<LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        let caller = self.ready(&request)?;
        let name = request.into_inner().name;
        let (out, answers) = mpsc::channel(4);
        let api = self.clone();
        tokio::spawn(async move {
            let stream = Stream::open(&api.node);
            let prefix = slash(&name);
            stream.create(&WatchCreateRequest {
                range_end: prefix_end(&prefix),
                key: prefix,
                ..WatchCreateRequest::default()
            });
            let mut last = 0;
            loop {
                let answer = api.leader_of(&caller, &name).await;
                let sent = match answer {
                    Ok((Some(kv), header)) if kv.mod_revision != last => {
                        last = kv.mod_revision;
                        out.send(Ok(LeaderResponse { header: Some(header), kv: Some(kv) })).await
                    }
                    Ok(_) => Ok(()),
                    Err(fault) => {
                        let _ = out.send(Err(fault.into())).await;
                        return;
                    }
                };
                if sent.is_err() {
                    return;
                }
                tokio::select! {
                    () = stream.waker.notified() => drop(stream.collect()),
                    () = out.closed() => return,
                    () = api.node.end.notified() => return,
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let caller = self.ready(&request)?;
        let leader = request.into_inner().leader;
        let leader = leader.ok_or_else(|| Status::invalid_argument("\"leader\" field must be provided"))?;
        let delete = DeleteRangeRequest { key: leader.key.clone(), ..DeleteRangeRequest::default() };
        let txn = TxnRequest {
            compare: vec![created_at(&leader.key, leader.rev)],
            success: vec![op(Op::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        let header = self.write(caller, txn).await?.header;
        Ok(Response::new(ResignResponse { header }))
    }
}
