//! The service KV.

use prost::Message;
use tonic::{Request, Response, Status};

use super::Api;
use crate::fault::Fault;
use crate::proto::internal::command::Request as Command;
use crate::proto::kv_server::Kv;
use crate::proto::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::state::auth::Caller;
use crate::state::{Reply, txn};

impl Api {
    /// Answers a range, after everything that was committed before it unless it is `serializable`.
    pub(super) async fn read(&self, caller: &Caller, request: &RangeRequest) -> Result<RangeResponse, Fault> {
        txn::check_range(request)?;
        if !request.serializable {
            self.node.linearize().await?;
        }
        let state = self.node.state.read();
        state.auth.check_range(caller, request)?;
        let mut response = state.range(request)?;
        response.header = Some(self.node.header_at(state.mvcc.revision()));
        Ok(response)
    }

    fn check_size(&self, message: &impl Message) -> Result<(), Fault> {
        if message.encoded_len() > self.node.setup.max_request { Err(Fault::RequestTooLarge) } else { Ok(()) }
    }

    pub(super) async fn write(&self, caller: Caller, request: TxnRequest) -> Result<TxnResponse, Fault> {
        txn::check_txn(&request, self.manners.max_txn_ops)?;
        if !txn::is_write(&request) {
            self.node.linearize().await?;
            let state = self.node.state.read();
            state.auth.check_txn(&caller, &request)?;
            let mut response = state.read_txn(&request)?;
            response.header = Some(self.node.header_at(state.mvcc.revision()));
            return Ok(response);
        }
        self.check_size(&request)?;
        if txn::has_put(&request) {
            self.node.check_quota(request.encoded_len()).await?;
        }
        match self.node.propose(caller, Command::Txn(request)).await? {
            (Reply::Txn(mut response), revision) => {
                response.header = Some(self.node.header_at(revision));
                Ok(response)
            }
            _ => Err(Fault::Stopped),
        }
    }
}

#[tonic::async_trait]
impl Kv for Api {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        self.check_leader(&request)?;
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        if !request.serializable && self.node.is_learner() {
            return Err(Fault::NotForLearner.into());
        }
        Ok(Response::new(self.read(&caller, &request).await?))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let caller = self.ready(&request)?;
        let request = request.into_inner();
        txn::check_put(&request)?;
        self.check_size(&request)?;
        self.node.check_quota(request.encoded_len()).await?;
        match self.node.propose(caller, Command::Put(request)).await? {
            (Reply::Put(mut response), revision) => {
                response.header = Some(self.node.header_at(revision));
                Ok(Response::new(response))
            }
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let caller = self.ready(&request)?;
        let request = request.into_inner();
        txn::check_delete(&request)?;
        match self.node.propose(caller, Command::DeleteRange(request)).await? {
            (Reply::Delete(mut response), revision) => {
                response.header = Some(self.node.header_at(revision));
                Ok(Response::new(response))
            }
            _ => Err(Fault::Stopped.into()),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let caller = self.ready(&request)?;
        Ok(Response::new(self.write(caller, request.into_inner()).await?))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let caller = self.ready(&request)?;
        let (_, revision) = self.node.propose(caller, Command::Compaction(request.into_inner())).await?;
        Ok(Response::new(CompactionResponse { header: Some(self.node.header_at(revision)) }))
    }
}
