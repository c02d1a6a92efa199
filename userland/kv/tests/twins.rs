//! The same requests in the same order to Debian's etcd and to ours: the answers are the same, word for word but for who
//! answers. `KV_TWINS_FIRST` and `KV_TWINS_SEEDS` say which histories, as for the simulator.

mod chance;
mod cluster;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use chance::Chance;
use cluster::Cluster;
use kv::proto::kv_client::KvClient;
use kv::proto::lease_client::LeaseClient;
use kv::proto::maintenance_client::MaintenanceClient;
use kv::proto::watch_client::WatchClient;
use kv::proto::watch_request::RequestUnion;
use kv::proto::{
    HashKvRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    PutRequest, RangeRequest, WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};

/// Requests of one history.
const REQUESTS: usize = 1500;
/// Watchers that are added after it.
const WATCHERS: usize = 40;
/// Writes that they are told of.
const WRITES: usize = 80;
/// Longer than either takes to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than either takes between two events.
const QUIET: Duration = Duration::from_millis(1500);

/// One of the two.
struct Twin {
    cluster: Cluster,
    channel: Channel,
}

/// What is asked.
#[derive(Debug, Clone)]
enum Ask {
    Range(kv::proto::RangeRequest),
    Put(kv::proto::PutRequest),
    Delete(kv::proto::DeleteRangeRequest),
    Txn(kv::proto::TxnRequest),
    Compact(kv::proto::CompactionRequest),
    Grant(kv::proto::LeaseGrantRequest),
    Revoke(i64),
    KeepAlive(i64),
    TimeToLive(i64, bool),
    Leases,
    Hash(i64),
}

/// An answer without the numbers of the very member that gave it.
fn plain(answer: &Result<impl Debug, Status>) -> String {
    match answer {
        Ok(answer) => format!("{answer:#?}")
            .lines()
            .filter(|line| {
                let line = line.trim_start();
                !["cluster_id: ", "member_id: ", "raft_term: "].iter().any(|name| line.starts_with(name))
            })
            .collect::<Vec<_>>()
            .join("\n"),
        Err(status) => format!("{:?}: {}", status.code(), status.message()),
    }
}

fn said<T: Debug>(answer: Result<Response<T>, Status>) -> String {
    plain(&answer.map(Response::into_inner))
}

impl Twin {
    async fn of(cluster: Cluster) -> Twin {
        let endpoint = Channel::from_shared(cluster.members[0].client.clone()).expect("a URL");
        let channel = endpoint.connect().await.expect("a connection");
        Twin { cluster, channel }
    }

    fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone())
    }

    async fn answer(&self, ask: Ask) -> String {
        let asked = format!("{ask:?}");
        let answer = tokio::time::timeout(PATIENCE, self.answer_in_time(ask)).await;
        assert!(answer.is_ok(), "no answer in time: {asked}");
        answer.expect("in time")
    }

    async fn answer_in_time(&self, ask: Ask) -> String {
        let (mut kv, mut lease) = (self.kv(), LeaseClient::new(self.channel.clone()));
        match ask {
            Ask::Range(request) => said(kv.range(request).await),
            Ask::Put(request) => said(kv.put(request).await),
            Ask::Delete(request) => said(kv.delete_range(request).await),
            Ask::Txn(request) => said(kv.txn(request).await),
            Ask::Compact(request) => said(kv.compact(request).await),
            Ask::Grant(request) => said(lease.lease_grant(request).await),
            Ask::Revoke(id) => said(lease.lease_revoke(LeaseRevokeRequest { id }).await),
            Ask::KeepAlive(id) => {
                let asked = tokio_stream::once(LeaseKeepAliveRequest { id });
                match lease.lease_keep_alive(asked).await {
                    Ok(answers) => plain(&answers.into_inner().message().await),
                    Err(status) => plain(&Err::<(), _>(status)),
                }
            }
            Ask::TimeToLive(id, keys) => {
                let answer = lease.lease_time_to_live(LeaseTimeToLiveRequest { id, keys }).await;
                said(answer.map(|mut answer| {
                    // How much of it is over is a matter of the clock, and keys come in any order.
                    let lease = answer.get_mut();
                    lease.ttl = if lease.ttl > 0 { lease.granted_ttl } else { lease.ttl };
                    lease.keys.sort();
                    answer
                }))
            }
            Ask::Leases => said(lease.lease_leases(LeaseLeasesRequest {}).await.map(|mut answer| {
                answer.get_mut().leases.sort_by_key(|lease| lease.id);
                answer
            })),
            Ask::Hash(revision) => {
                let mut maintenance = MaintenanceClient::new(self.channel.clone());
                said(maintenance.hash_kv(HashKvRequest { revision }).await)
            }
        }
    }

    /// The newest revision. A member that has ended is shown with its last words.
    async fn revision(&self) -> i64 {
        let request = RangeRequest { key: "none".into(), ..RangeRequest::default() };
        let answer = self.kv().range(request).await;
        let log = self.cluster.log(0);
        let words = || log.lines().skip_while(|line| !line.contains("panic")).take(12).collect::<Vec<_>>();
        assert!(answer.is_ok(), "{answer:?}: {:#?}", words());
        answer.expect("an answer").into_inner().header.expect("a header").revision
    }
}

fn ask(chance: &mut Chance, newest: i64) -> Ask {
    let leases = [1, 2, 3, -5, i64::MAX, 99, 0];
    match chance.below(100) {
        0..35 => Ask::Put(chance.put()),
        35..60 => Ask::Range(chance.range(newest)),
        60..67 => Ask::Delete(chance.delete()),
        67..85 => Ask::Txn(chance.txn(newest, 0)),
        85..87 => Ask::Compact(chance.compaction(newest)),
        87..90 => Ask::Grant(chance.grant()),
        90 => Ask::Revoke(chance.of(&leases)),
        91 => Ask::KeepAlive(chance.of(&leases)),
        92..95 => Ask::TimeToLive(chance.of(&leases), chance.one_in(2)),
        95 => Ask::Leases,
        _ => Ask::Hash(if chance.one_in(2) { 0 } else { newest - chance.below(30) as i64 }),
    }
}

/// All that watchers are told, by their numbers: however it is split, it is the same.
async fn told(twin: &Twin, watches: &[RequestUnion], writes: &[PutRequest]) -> BTreeMap<i64, Vec<String>> {
    let (send, asked) = tokio::sync::mpsc::channel(1000);
    let mut client = WatchClient::new(twin.channel.clone());
    // Etcd's answer begins with the first thing that it has to tell.
    let create = WatchCreateRequest { key: "first".into(), ..WatchCreateRequest::default() };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    send.send(request).await.expect("there is room");
    let answers = client.watch(tokio_stream::wrappers::ReceiverStream::new(asked)).await.expect("a stream");
    let mut answers = answers.into_inner();
    let mut all = BTreeMap::new();
    for watch in watches {
        let request = WatchRequest { request_union: Some(watch.clone()) };
        send.send(request).await.expect("it listens");
        note(&mut answers, &mut all).await;
    }
    for write in writes {
        let _ = twin.kv().put(write.clone()).await;
    }
    note(&mut answers, &mut all).await;
    all
}

/// Takes what comes until nothing does.
async fn note(answers: &mut Streaming<WatchResponse>, all: &mut BTreeMap<i64, Vec<String>>) {
    let mut quiet = Duration::from_millis(250);
    while let Ok(answer) = tokio::time::timeout(quiet, answers.message()).await {
        let answer = answer.expect("an answer").expect("the stream goes on");
        let told = all.entry(answer.watch_id).or_default();
        assert!(told.len() < 10_000, "it does not end: {answer:?}");
        if answer.created || answer.canceled {
            let revision = answer.header.map_or(0, |header| header.revision);
            let events = answer.events.len();
            let WatchResponse { created, canceled, compact_revision, cancel_reason, .. } = answer;
            told.push(format!(
                "at {revision}: {events} events, created {created}, canceled {canceled}, \
                 compacted {compact_revision}, {cancel_reason:?}"
            ));
        } else {
            told.extend(answer.events.iter().map(|event| format!("{event:?}")));
            quiet = QUIET;
        }
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn the_same_is_answered_as_debians_etcd_answers() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let first = variable("KV_TWINS_FIRST").unwrap_or(1);
    for seed in first..first + variable("KV_TWINS_SEEDS").unwrap_or(1) {
        runtime.block_on(compare(seed));
    }
}

async fn compare(seed: u64) {
    let theirs = Twin::of(Cluster::of_debian()).await;
    let ours = Twin::of(Cluster::start(1, &[])).await;
    let mut chance = Chance(seed);
    let mut faults = Vec::new();
    let mut newest = 1;
    for number in 0..REQUESTS {
        let ask = ask(&mut chance, newest);
        let (wanted, found) = (theirs.answer(ask.clone()).await, ours.answer(ask.clone()).await);
        if wanted != found {
            faults.push(format!("{number}: {ask:?}\n{found}\ninstead of\n{wanted}"));
        }
        if matches!(ask, Ask::Put(_) | Ask::Delete(_) | Ask::Txn(_) | Ask::Revoke(_)) {
            newest = theirs.revision().await;
            let revision = ours.revision().await;
            assert!(newest == revision, "seed {seed}, {newest}, {revision}: {}", faults.join("\n\n"));
        }
        assert!(faults.len() < 12, "seed {seed}: {}", faults.join("\n\n"));
    }
    let watches: Vec<RequestUnion> = (0..WATCHERS)
        .map(|_| {
            if chance.one_in(9) {
                let watch_id = chance.below(20) as i64;
                return RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
            }
            RequestUnion::CreateRequest(chance.watch(newest))
        })
        .collect();
    let writes: Vec<PutRequest> = (0..WRITES).map(|_| chance.put()).collect();
    let wanted = told(&theirs, &watches, &writes).await;
    let found = told(&ours, &watches, &writes).await;
    for id in wanted.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        if wanted.get(id) != found.get(id) {
            faults.push(format!("watcher {id}: {:#?}\ninstead of\n{:#?}", found.get(id), wanted.get(id)));
        }
    }
    assert!(faults.is_empty(), "seed {seed}: {}", faults.join("\n\n"));
    drop((ours.cluster, theirs.cluster));
}
