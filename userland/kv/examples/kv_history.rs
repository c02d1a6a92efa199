//! Clients that write and read a few keys at once, and tell what they saw, one line of JSON for each operation: what
//! the tests check for linearizability while members are killed, cut off and paused.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use kv::proto::compare::{CompareTarget, TargetUnion};
use kv::proto::kv_client::KvClient;
use kv::proto::{Compare, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

#[derive(Parser, Clone)]
struct Cli {
    /// Client URLs
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Clients, each at one of the endpoints until that does not answer
    #[arg(long, default_value_t = 5)]
    clients: usize,
    /// How long
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long an answer is waited for
    #[arg(long, default_value_t = 1.0)]
    patience: f64,
}

struct Client {
    cli: Cli,
    number: usize,
    epoch: Instant,
    /// The newest value that anybody wrote; each is written once.
    newest: Arc<AtomicU64>,
    /// How often the endpoint was changed.
    moved: usize,
    channel: Option<Channel>,
}

/// What became of an operation.
enum Outcome {
    /// It was answered.
    Answered(Value),
    /// Nobody knows.
    Unknown,
    /// It was not even asked.
    Unasked,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("kv_history: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let (epoch, newest) = (Instant::now(), Arc::default());
        let clients: Vec<JoinHandle<()>> = (0..cli.clients)
            .map(|number| {
                let (cli, newest) = (cli.clone(), Arc::clone(&newest));
                tokio::spawn(Client { cli, number, epoch, newest, moved: 0, channel: None }.run())
            })
            .collect();
        for client in clients {
            let _ = client.await;
        }
    });
    ExitCode::SUCCESS
}

impl Client {
    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    async fn run(mut self) {
        let mut turn = self.number as u64;
        while self.epoch.elapsed().as_secs_f64() < self.cli.seconds {
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // A key lives for half a second, so that its story stays short enough to be checked.
            let key = format!("h{}", self.epoch.elapsed().as_millis() / 500);
            let called = self.now();
            let (operation, outcome) = self.operate((turn >> 33) % 3, key.clone()).await;
            let (answer, answered) = match outcome {
                Outcome::Answered(answer) => (answer, json!(self.now())),
                Outcome::Unknown => (Value::Null, Value::Null),
                Outcome::Unasked => {
                    self.move_on().await;
                    continue;
                }
            };
            let is_known = !answered.is_null();
            let line = json!({
                "key": key, "called": called, "answered": answered, "operation": operation, "answer": answer,
            });
            println!("{line}");
            if !is_known {
                self.move_on().await;
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    async fn move_on(&mut self) {
        self.channel = None;
        self.moved += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    async fn connect(&mut self) -> Option<KvClient<Channel>> {
        if self.channel.is_none() {
            let url = self.cli.endpoints.get((self.number + self.moved) % self.cli.endpoints.len())?.clone();
            let patience = Duration::from_secs_f64(self.cli.patience);
            let endpoint = Endpoint::from_shared(url).ok()?.connect_timeout(patience);
            self.channel = endpoint.connect().await.ok();
        }
        self.channel.clone().map(KvClient::new)
    }

    /// A put, a get, or a swap of the newest value for a newer one.
    async fn operate(&mut self, what: u64, key: String) -> (Value, Outcome) {
        let Some(mut client) = self.connect().await else { return (Value::Null, Outcome::Unasked) };
        let patience = Duration::from_secs_f64(self.cli.patience);
        let from = self.newest.load(Ordering::Relaxed);
        if what == 0 {
            let asked = client.range(RangeRequest { key: key.into(), ..RangeRequest::default() });
            let outcome = match tokio::time::timeout(patience, asked).await {
                Ok(Ok(found)) => {
                    let found = found.into_inner().kvs.into_iter().next();
                    let value = found.and_then(|kv| std::str::from_utf8(&kv.value).ok()?.parse::<u64>().ok());
                    Outcome::Answered(json!(value))
                }
                _ => Outcome::Unknown,
            };
            return (json!("get"), outcome);
        }
        let to = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let put =
            PutRequest { key: key.clone().into(), value: to.to_string().into(), ..PutRequest::default() };
        if what == 1 {
            let outcome = match tokio::time::timeout(patience, client.put(put)).await {
                Ok(Ok(_)) => Outcome::Answered(Value::Null),
                _ => Outcome::Unknown,
            };
            return (json!({ "put": to }), outcome);
        }
        let compare = Compare {
            target: CompareTarget::Value.into(),
            key: key.into(),
            target_union: Some(TargetUnion::Value(from.to_string().into())),
            ..Compare::default()
        };
        let success = vec![RequestOp { request: Some(request_op::Request::RequestPut(put)) }];
        let txn = TxnRequest { compare: vec![compare], success, failure: Vec::new() };
        let outcome = match tokio::time::timeout(patience, client.txn(txn)).await {
            Ok(Ok(answer)) => Outcome::Answered(json!(answer.into_inner().succeeded)),
            _ => Outcome::Unknown,
        };
        (json!({ "from": from, "to": to }), outcome)
    }
}
