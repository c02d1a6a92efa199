//! The service KV of a proxy with a namespace: each request and answer is rewritten on its way.

use bytes::Bytes;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::namespace::Namespace;
use super::{Token, with_token};
use crate::proto::kv_client::KvClient;
use crate::proto::kv_server::Kv;
use crate::proto::*;

/// The KV service of a namespace.
#[derive(Clone)]
pub struct Keys {
    client: KvClient<Channel>,
    space: Namespace,
}

impl Keys {
    /// The keys of a namespace in the store at the other end of the channel.
    pub fn new(channel: Channel, space: Namespace) -> Keys {
        Keys { client: KvClient::new(channel).max_decoding_message_size(usize::MAX), space }
    }

    fn show(&self, kvs: &mut [KeyValue]) {
        kvs.iter_mut().for_each(|kv| self.space.show(kv));
    }
}

/// A request with its message changed, for who asked.
fn rewrite<T>(request: Request<T>, change: impl FnOnce(&mut T)) -> Request<T> {
    let token = Token::of(request.metadata());
    let mut message = request.into_inner();
    change(&mut message);
    with_token(message, &token)
}

fn check(key: &Bytes) -> Result<(), Status> {
    // With the namespace before it, an empty one would look like a key.
    if key.is_empty() { Err(crate::fault::Fault::EmptyKey.into()) } else { Ok(()) }
}

#[tonic::async_trait]
impl Kv for Keys {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        check(&request.get_ref().key)?;
        let request = rewrite(request, |range| self.space.range(range));
        let mut answer = self.client.clone().range(request).await?;
        self.show(&mut answer.get_mut().kvs);
        Ok(answer)
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        check(&request.get_ref().key)?;
        let request = rewrite(request, |put| self.space.put(put));
        let mut answer = self.client.clone().put(request).await?;
        self.show(answer.get_mut().prev_kv.as_mut_slice());
        Ok(answer)
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        check(&request.get_ref().key)?;
        let request = rewrite(request, |delete| self.space.delete(delete));
        let mut answer = self.client.clone().delete_range(request).await?;
        self.show(&mut answer.get_mut().prev_kvs);
        Ok(answer)
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let request = rewrite(request, |txn| self.space.txn(txn));
        let mut answer = self.client.clone().txn(request).await?;
        self.space.txn_reply(answer.get_mut());
        Ok(answer)
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        self.client.clone().compact(rewrite(request, |_| {})).await
    }
}
