//! A hundred thousand watchers on one node: what they cost, and that each is told what it watches. Debian's etcd beside
//! it.

mod cluster;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cluster::Cluster;
use kv::proto::kv_client::KvClient;
use kv::proto::watch_client::WatchClient;
use kv::proto::watch_request::RequestUnion;
use kv::proto::{PutRequest, WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

const STREAMS: usize = 100;
/// Watchers of a stream: half of them watch one key, the others each its own.
const EACH: usize = 1000;
/// Longer than it takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

struct Stream {
    _asks: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
    number: usize,
}

fn key(stream: usize, watcher: usize) -> String {
    if watcher.is_multiple_of(2) { "shared".into() } else { format!("own/{stream:03}/{watcher:04}") }
}

impl Stream {
    async fn open(channel: Channel, number: usize) -> Stream {
        let (asks, asked) = mpsc::channel(EACH);
        let mut client = WatchClient::new(channel);
        for watcher in 0..EACH {
            let create =
                WatchCreateRequest { key: key(number, watcher).into(), ..WatchCreateRequest::default() };
            let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
            asks.send(request).await.expect("there is room");
        }
        let answers = client.watch(ReceiverStream::new(asked)).await.expect("a stream").into_inner();
        let mut stream = Stream { _asks: asks, answers, number };
        for _ in 0..EACH {
            assert!(stream.next().await.created, "a watcher is not created");
        }
        stream
    }

    async fn next(&mut self) -> WatchResponse {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("in time");
        answer.expect("an answer").expect("the stream goes on")
    }

    /// Numbers of the watchers that are told of these many changes.
    async fn told(&mut self, changes: usize) -> BTreeSet<i64> {
        let mut told = BTreeSet::new();
        let mut seen = 0;
        while seen < changes {
            let answer = self.next().await;
            for event in &answer.events {
                let watched = key(self.number, usize::try_from(answer.watch_id).expect("a number"));
                assert_eq!(event.kv.as_ref().map(|kv| kv.key.as_ref()), Some(watched.as_bytes()));
                told.insert(answer.watch_id);
                seen += 1;
            }
        }
        told
    }
}

/// MiB that the watchers cost, and the time until all of half of them were told of one change.
async fn crowd(cluster: &Cluster) -> (usize, Duration) {
    let before = cluster.memory(0);
    let url = cluster.members[0].client.clone();
    let mut streams = Vec::new();
    let mut channel = None;
    for number in 0..STREAMS {
        if number % 20 == 0 {
            let endpoint = Channel::from_shared(url.clone()).expect("a URL");
            channel = Some(endpoint.connect().await.expect("a connection"));
        }
        streams.push(Stream::open(channel.clone().expect("a connection"), number).await);
    }
    let memory = cluster.memory(0).saturating_sub(before) >> 20;
    let mut kv = KvClient::new(channel.expect("a connection"));
    let mut put = async |key: String| {
        let put = PutRequest { key: key.into(), value: "v".into(), ..PutRequest::default() };
        kv.put(put).await.expect("written");
    };
    let began = Instant::now();
    put("shared".into()).await;
    for stream in &mut streams {
        assert_eq!(stream.told(EACH / 2).await.len(), EACH / 2);
    }
    let took = began.elapsed();
    for stream in streams.iter_mut().step_by(7) {
        put(key(stream.number, 501)).await;
        assert_eq!(stream.told(1).await, BTreeSet::from([501]));
    }
    (memory, took)
}

#[test]
fn a_hundred_thousand_watchers_are_told_and_cost_less_than_etcds() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let clusters = [Cluster::of_debian(), Cluster::start(1, &[])];
    let [theirs, ours] = clusters.map(|cluster| runtime.block_on(crowd(&cluster)));
    println!("ours: {ours:?}, etcd's: {theirs:?} (MiB, time until half of them were told)");
    assert!(ours.0 <= theirs.0, "{ours:?} MiB beside etcd's {theirs:?}");
}
