//! Watchers of one key: how long after the put began each of them has the event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kv::proto::kv_client::KvClient;
use kv::proto::watch_client::WatchClient;
use kv::proto::{PutRequest, WatchCreateRequest, WatchRequest, watch_request};
use tokio::sync::{mpsc, oneshot};

use super::wire::{Connection, Failed};
use super::{Cli, Outcome};

/// An event that did not come within this is counted as refused; the first one waits until all watchers are there.
const PATIENCE: Duration = Duration::from_secs(120);

/// All watchers, each with a stream of its own, and one client that puts at the rate.
pub async fn run(cli: &Cli) -> Result<(Outcome, Duration), Failed> {
    let mut connections = Vec::new();
    for number in 0..cli.connections as usize {
        connections.push(Connection::open(&cli.endpoints[number % cli.endpoints.len()]).await?);
    }
    let puts = (cli.seconds * f64::from(cli.rate)) as u64;
    let epoch = Instant::now();
    let mut watchers = Vec::new();
    for number in 0..cli.clients as usize {
        let (connection, uri) = connections[number % connections.len()].clone();
        let (ready, is_ready) = oneshot::channel();
        watchers.push(tokio::spawn(watch(WatchClient::with_origin(connection, uri), puts, epoch, ready)));
        is_ready.await?;
    }
    let (connection, uri) = Connection::open(&cli.endpoints[0]).await?;
    let client = KvClient::with_origin(connection, uri);
    let began = Instant::now();
    let refused = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut beat = tokio::time::interval(Duration::from_secs(1) / cli.rate);
    for _ in 0..puts {
        beat.tick().await;
        let mut client = client.clone();
        let refused = refused.clone();
        tokio::spawn(async move {
            let value = epoch.elapsed().as_micros().to_string().into();
            let request = PutRequest { key: "watched".into(), value, ..PutRequest::default() };
            if client.put(request).await.is_err() {
                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
    }
    let mut outcome = Outcome::default();
    for watcher in watchers {
        outcome.merge(watcher.await??);
    }
    outcome.refused += refused.load(std::sync::atomic::Ordering::Relaxed);
    Ok((outcome, began.elapsed()))
}

/// One watcher, until it has seen all puts.
async fn watch(
    mut client: WatchClient<Connection>,
    puts: u64,
    epoch: Instant,
    ready: oneshot::Sender<()>,
) -> Result<Outcome, Failed> {
    let (ask, asked) = mpsc::channel(1);
    let create = WatchCreateRequest { key: "watched".into(), ..WatchCreateRequest::default() };
    let request = WatchRequest { request_union: Some(watch_request::RequestUnion::CreateRequest(create)) };
    ask.send(request).await?;
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut answers = client.watch(asked).await?.into_inner();
    answers.message().await?.filter(|answer| answer.created).ok_or("a watcher is not created")?;
    let _ = ready.send(());
    let mut outcome = Outcome::default();
    let mut seen = 0;
    while seen < puts {
        let Ok(answer) = tokio::time::timeout(PATIENCE, answers.message()).await else {
            outcome.refused += puts - seen;
            break;
        };
        let answer = answer?.ok_or("a watcher's stream has ended")?;
        for event in answer.events {
            let value = event.kv.map(|kv| kv.value).unwrap_or_default();
            let sent: u64 = std::str::from_utf8(&value)?.parse()?;
            outcome.note(epoch + Duration::from_micros(sent), &Ok(()));
            seen += 1;
        }
    }
    drop(ask);
    Ok(outcome)
}
