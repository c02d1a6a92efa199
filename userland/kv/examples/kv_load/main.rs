//! A load on a store that speaks etcd's gRPC, ours or another: what `ci/bench store` measures both peers with.
//!
//! One line of JSON tells what came of it: operations, seconds, the median and the 99th percentile in microseconds,
//! and how many were refused. Every operation is waited for before its client begins the next.

mod fanout;
mod wire;
mod work;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use wire::Failed;

#[derive(Parser, Clone)]
#[command(about = "Puts a load on a store and tells how fast it was")]
struct Cli {
    /// What to do
    #[arg(value_enum)]
    kind: Kind,
    /// Client URLs, http only; connections are spread over them
    #[arg(long, value_delimiter = ',', required = true)]
    endpoints: Vec<String>,
    /// Clients, each with one operation on its way; of `watch`: watchers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Connections that they share
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How long
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Keys that are written and read; of `fill`: that are made
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value: usize,
    /// Puts a second that watchers see
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Puts
    Put,
    /// Linearizable gets of one key
    Get,
    /// Transactions: one comparison, one put or one get
    Txn,
    /// Puts and linearizable gets in turn
    Mixed,
    /// Watchers of one key, from the put to the event
    Watch,
    /// A lease granted, renewed and revoked
    Lease,
    /// Every key once, in order
    Fill,
    /// The snapshot, thrown away
    Snapshot,
}

/// What came of a load.
#[derive(Default)]
struct Outcome {
    /// Microseconds of each operation that went well.
    times: Vec<u32>,
    refused: u64,
}

impl Outcome {
    fn note(&mut self, began: Instant, result: &Result<(), Failed>) {
        match result {
            Ok(()) => self.times.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Err(_) => self.refused += 1,
        }
    }

    fn merge(&mut self, other: Outcome) {
        self.times.extend(other.times);
        self.refused += other.refused;
    }

    fn print(mut self, took: Duration) {
        self.times.sort_unstable();
        let at = |part: f64| {
            let last = self.times.len().saturating_sub(1);
            self.times.get((last as f64 * part) as usize).copied().unwrap_or(0)
        };
        let json = serde_json::json!({
            "operations": self.times.len(),
            "seconds": took.as_secs_f64(),
            "p50": at(0.5),
            "p99": at(0.99),
            "refused": self.refused,
        });
        println!("{json}");
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(Failed::from).and_then(|runtime| runtime.block_on(run(cli)));
    match result {
        Ok((outcome, took)) => {
            outcome.print(took);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("kv_load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<(Outcome, Duration), Failed> {
    match cli.kind {
        Kind::Watch => fanout::run(&cli).await,
        Kind::Snapshot => work::snapshot(&cli).await,
        _ => work::run(&cli).await,
    }
}
