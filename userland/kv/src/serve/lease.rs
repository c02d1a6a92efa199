//! The service Lease.

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Api;
use crate::fault::Fault;
use crate::proto::internal::command::Request as Command;
use crate::proto::lease_server::Lease;
use crate::proto::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use crate::span::Span;
use crate::state::lease::TTL_MAX;

#[tonic::async_trait]
impl Lease for Api {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let caller = self.ready(&request)?;
        let mut request = request.into_inner();
        if request.ttl > TTL_MAX {
            return Err(Fault::LeaseTtlTooLarge.into());
        }
        self.node.check_quota(0).await?;
        request.ttl = request.ttl.max(self.manners.min_lease);
        while request.id == 0 {
            request.id = (self.node.unique().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1) as i64;
        }
        let (id, ttl) = (request.id, request.ttl);
        let (_, revision) = self.node.propose(caller, Command::LeaseGrant(request)).await?;
        let header = Some(self.node.header_at(revision));
        Ok(Response::new(LeaseGrantResponse { header, id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, revision) = self.node.propose(caller, Command::LeaseRevoke(request.into_inner())).await?;
        Ok(Response::new(LeaseRevokeResponse { header: Some(self.node.header_at(revision)) }))
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.ready(&request)?;
        let mut requests = request.into_inner();
        let (out, answers) = mpsc::channel(16);
        let node = self.node.clone();
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    request = requests.next() => request,
                    () = node.end.notified() => Some(Err(Fault::Stopped.into())),
                    () = out.closed() => return,
                };
                let answer = match request {
                    Some(Ok(request)) => node.keep_alive(request.id).await.map_err(Status::from).map(|ttl| {
                        let header = Some(node.header());
                        LeaseKeepAliveResponse { header, id: request.id, ttl: ttl.unwrap_or(0) }
                    }),
                    Some(Err(status)) => Err(status),
                    None => return,
                };
                let failed = answer.is_err();
                if out.send(answer).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let caller = self.ready(&request)?;
        let request = request.into_inner();
        let left = self.node.time_to_live(request.id).await?;
        let state = self.node.state.read();
        let lease = state.leases.get(request.id);
        if request.keys {
            for key in lease.into_iter().flat_map(|lease| &lease.keys) {
                state.auth.check(&caller, &Span::Key(key.clone()), false)?;
            }
        }
        let header = Some(self.node.header_at(state.mvcc.revision()));
        let mut response = LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, ..Default::default() };
        if let (Some(lease), Some(left)) = (lease, left) {
            response.ttl = left;
            response.granted_ttl = lease.ttl;
            if request.keys {
                response.keys = lease.keys.iter().cloned().collect();
            }
        }
        Ok(Response::new(response))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.ready(&request)?;
        let state = self.node.state.read();
        let leases = state.leases.iter().map(|(id, _)| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse {
            header: Some(self.node.header_at(state.mvcc.revision())),
            leases,
        }))
    }
}
