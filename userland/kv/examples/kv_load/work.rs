//! Clients that do one operation after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv::proto::compare::{CompareResult, CompareTarget, TargetUnion};
use kv::proto::kv_client::KvClient;
use kv::proto::lease_client::LeaseClient;
use kv::proto::maintenance_client::MaintenanceClient;
use kv::proto::{
    Compare, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    RequestOp, SnapshotRequest, TxnRequest, request_op,
};
use tokio_stream::StreamExt;

use super::wire::{Connection, Failed};
use super::{Cli, Kind, Outcome};

/// Of an index, the same key always, of 32 bytes; neighbours in the order of work are far apart in the keyspace.
pub fn key(index: u64) -> Bytes {
    Bytes::from(format!("key/{:016x}/{index:011}", index.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// All clients, until the time is over or all keys are made.
pub async fn run(cli: &Cli) -> Result<(Outcome, Duration), Failed> {
    let mut connections = Vec::new();
    for number in 0..cli.connections.min(cli.clients) as usize {
        let endpoint = &cli.endpoints[number % cli.endpoints.len()];
        connections.push(Connection::open(endpoint).await?);
    }
    let next = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(cli.seconds);
    let mut clients = Vec::new();
    for number in 0..cli.clients as usize {
        let (connection, uri) = connections[number % connections.len()].clone();
        let client = Client {
            kv: KvClient::with_origin(connection.clone(), uri.clone()),
            lease: LeaseClient::with_origin(connection, uri),
            kind: cli.kind,
            keys: cli.keys,
            value: Bytes::from(vec![b'v'; cli.value]),
            next: next.clone(),
        };
        clients.push(tokio::spawn(client.run(until)));
    }
    let mut outcome = Outcome::default();
    for client in clients {
        outcome.merge(client.await?);
    }
    Ok((outcome, began.elapsed()))
}

struct Client {
    kv: KvClient<Connection>,
    lease: LeaseClient<Connection>,
    kind: Kind,
    keys: u64,
    value: Bytes,
    /// How many operations all clients have begun.
    next: Arc<AtomicU64>,
}

impl Client {
    async fn run(mut self, until: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let over = match self.kind {
                Kind::Fill => number >= self.keys,
                _ => Instant::now() >= until,
            };
            if over {
                return outcome;
            }
            let key = key(number % self.keys);
            let began = Instant::now();
            let result = match self.kind {
                Kind::Get => self.get(key).await,
                Kind::Mixed if number.is_multiple_of(2) => self.get(key).await,
                Kind::Txn => self.transact(key).await,
                Kind::Lease => self.lease().await,
                _ => self.put(key).await,
            };
            outcome.note(began, &result);
        }
    }

    fn put_request(&self, key: Bytes) -> PutRequest {
        PutRequest { key, value: self.value.clone(), ..PutRequest::default() }
    }

    async fn put(&mut self, key: Bytes) -> Result<(), Failed> {
        let request = self.put_request(key);
        self.kv.put(request).await?;
        Ok(())
    }

    async fn get(&mut self, key: Bytes) -> Result<(), Failed> {
        self.kv.range(RangeRequest { key, ..RangeRequest::default() }).await?;
        Ok(())
    }

    async fn transact(&mut self, key: Bytes) -> Result<(), Failed> {
        let compare = Compare {
            result: CompareResult::Greater.into(),
            target: CompareTarget::Version.into(),
            key: key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::Version(-1)),
        };
        let put = request_op::Request::RequestPut(self.put_request(key.clone()));
        let get = request_op::Request::RequestRange(RangeRequest { key, ..RangeRequest::default() });
        let request = TxnRequest {
            compare: vec![compare],
            success: vec![RequestOp { request: Some(put) }],
            failure: vec![RequestOp { request: Some(get) }],
        };
        self.kv.txn(request).await?;
        Ok(())
    }

    async fn lease(&mut self) -> Result<(), Failed> {
        let granted = self.lease.lease_grant(LeaseGrantRequest { ttl: 60, id: 0 }).await?;
        let id = granted.into_inner().id;
        let asked = tokio_stream::once(LeaseKeepAliveRequest { id });
        let mut answers = self.lease.lease_keep_alive(asked).await?.into_inner();
        if answers.message().await?.is_none_or(|answer| answer.ttl <= 0) {
            return Err("a lease that was just granted is not kept alive".into());
        }
        self.lease.lease_revoke(LeaseRevokeRequest { id }).await?;
        Ok(())
    }
}

/// The whole snapshot once.
pub async fn snapshot(cli: &Cli) -> Result<(Outcome, Duration), Failed> {
    let (connection, uri) = Connection::open(&cli.endpoints[0]).await?;
    let mut client = MaintenanceClient::with_origin(connection, uri);
    let began = Instant::now();
    let mut parts = client.snapshot(SnapshotRequest {}).await?.into_inner();
    while let Some(part) = parts.next().await {
        part?;
    }
    let mut outcome = Outcome::default();
    outcome.note(began, &Ok(()));
    Ok((outcome, began.elapsed()))
}
