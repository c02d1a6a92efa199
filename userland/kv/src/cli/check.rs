//! `check perf` and `check datascale`: how fast a cluster writes, and what many keys cost it.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Global;
use super::client::{Client, Failure, url};
use super::keys::span;
use crate::proto::kv_client::KvClient;
use crate::proto::maintenance_client::MaintenanceClient;
use crate::proto::*;
use crate::server::http_client::HttpClient;

#[derive(clap::Subcommand)]
pub(crate) enum Check {
    /// Writes for a while and judges how fast that was
    Perf(Perf),
    /// Writes many keys and tells what memory they take
    Datascale(Datascale),
}

impl Check {
    pub async fn run(self, client: &Client, global: &Global) -> Result<ExitCode, Failure> {
        match self {
            Check::Perf(perf) => perf.run(client).await,
            Check::Datascale(scale) => scale.run(client, global).await,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Perf {
    /// s, m, l or xl
    #[arg(long, default_value = "s")]
    load: String,
    #[arg(long, default_value = "/etcdctl-check-perf/")]
    prefix: String,
    /// Seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Perf {
    async fn run(self, client: &Client) -> Result<ExitCode, Failure> {
        let Perf { load, prefix, seconds } = self;
        let (rate, clients) = match load.as_str() {
            "s" | "small" => (150u32, 50u32),
            "m" | "medium" => (1000, 200),
            "l" | "large" => (8000, 500),
            "xl" | "xLarge" => (15000, 1000),
            _ => return Err(Failure::Usage(format!("unknown load option {load}"))),
        };
        let until = Instant::now() + Duration::from_secs(seconds);
        let pace = Duration::from_secs(1) * clients / rate;
        let tasks: Vec<_> = (0..clients)
            .map(|number| {
                let mut kv = KvClient::new(client.channel.clone());
                let prefix = prefix.clone();
                tokio::spawn(async move {
                    let mut took = Vec::new();
                    let mut next = Instant::now() + pace * number / clients;
                    while next < until {
                        tokio::time::sleep_until(next.into()).await;
                        let key = format!("{prefix}{number}-{}", took.len()).into();
                        let began = Instant::now();
                        kv.put(PutRequest { key, value: vec![b'x'; 1024].into(), ..PutRequest::default() })
                            .await?;
                        took.push(began.elapsed().as_secs_f64());
                        next = (next + pace).max(Instant::now());
                    }
                    Ok::<_, tonic::Status>(took)
                })
            })
            .collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.map_err(|error| Failure::Usage(error.to_string()))??);
        }
        let (key, range_end) = span(&prefix, None, true, false)?;
        let delete = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
        KvClient::new(client.channel.clone()).delete_range(client.stream(delete)).await?;
        let count = took.len().max(1) as f64;
        let mean = took.iter().sum::<f64>() / count;
        let deviation = (took.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / count).sqrt();
        let slowest = took.iter().copied().fold(0.0, f64::max);
        let throughput = took.len() as f64 / seconds.max(1) as f64;
        let mut good = true;
        let mut judge = |pass: bool, text: String| {
            good &= pass;
            println!("{}: {text}", if pass { "PASS" } else { "FAIL" });
        };
        judge(throughput > f64::from(rate) * 0.9, format!("Throughput is {throughput:.0} writes/s"));
        judge(slowest < 0.5, format!("Slowest request took {slowest:.6}s"));
        judge(deviation < 0.1, format!("Stddev is {deviation:.6}s"));
        println!("{}", if good { "PASS" } else { "FAIL" });
        Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

#[derive(clap::Args)]
pub(crate) struct Datascale {
    /// s, m, l or xl
    #[arg(long, default_value = "s")]
    load: String,
    #[arg(long, default_value = "/etcdctl-check-datascale/")]
    prefix: String,
    /// Compact with the last revision afterwards
    #[arg(long)]
    auto_compact: bool,
    /// Defragment afterwards
    #[arg(long)]
    auto_defrag: bool,
}

/// Bytes of a value.
const VALUE: usize = 1024;

impl Datascale {
    async fn run(self, client: &Client, global: &Global) -> Result<ExitCode, Failure> {
        let (keys, clients) = match self.load.as_str() {
            "s" | "small" => (10_000u64, 50u64),
            "m" | "medium" => (100_000, 200),
            "l" | "large" => (1_000_000, 500),
            "xl" | "xLarge" => (3_000_000, 1000),
            other => return Err(Failure::Input(format!("unknown load option {other}"))),
        };
        let endpoint = global.endpoints.first().cloned().unwrap_or_default();
        let (key, range_end) = span(&self.prefix, None, true, false)?;
        let mut kv = KvClient::new(client.channel.clone());
        let range = RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            limit: 1,
            ..RangeRequest::default()
        };
        if kv.range(client.request(range)).await?.into_inner().count > 0 {
            let prefix = &self.prefix;
            return Err(Failure::Input(format!(
                "prefix {prefix:?} has keys. Delete with `etcdctl del --prefix {prefix}` first"
            )));
        }
        println!(
            "Start data scale check for work load [{keys} key-value pairs, {VALUE} bytes per key-value, {clients} \
             concurrent clients]."
        );
        let before = resident(&endpoint, global).await;
        let written = self.fill(client, keys, clients).await;
        let after = resident(&endpoint, global).await;
        let delete = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
        let deleted = kv.delete_range(client.stream(delete)).await?.into_inner();
        let revision = deleted.header.map_or(0, |header| header.revision);
        let mut maintenance = MaintenanceClient::new(client.channel.clone());
        if self.auto_compact {
            println!("Compacting with revision {revision}");
            kv.compact(client.stream(CompactionRequest { revision, physical: true })).await?;
            println!("Compacted with revision {revision}");
        }
        if self.auto_defrag {
            println!("Defragmenting {endpoint:?}");
            maintenance.defragment(client.stream(DefragmentRequest {})).await?;
            println!("Defragmented {endpoint:?}");
        }
        if let Err(failure) = written {
            println!("FAIL: too many errors\nFAIL: ERROR({failure}) -> 1");
            return Ok(ExitCode::FAILURE);
        }
        let (Some(before), Some(after)) = (before, after) else {
            println!(
                "FAIL: Could not read process_resident_memory_bytes before and after the put operations."
            );
            return Ok(ExitCode::FAILURE);
        };
        let used = (after - before).max(0.0) / f64::from(1 << 20);
        println!("PASS: Approximate system memory used : {used:.2} MB.");
        Ok(ExitCode::SUCCESS)
    }

    /// Writes all keys, shared among clients.
    async fn fill(&self, client: &Client, keys: u64, clients: u64) -> Result<(), Failure> {
        let next = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let mut kv = KvClient::new(client.channel.clone());
                let (next, prefix) = (next.clone(), self.prefix.clone());
                tokio::spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= keys {
                            return Ok::<_, tonic::Status>(());
                        }
                        let key = format!("{prefix}{number:016}").into();
                        let value = vec![b'x'; VALUE].into();
                        kv.put(PutRequest { key, value, ..PutRequest::default() }).await?;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.map_err(|error| Failure::Usage(error.to_string()))??;
        }
        Ok(())
    }
}

/// Bytes of memory that a member says it has.
async fn resident(endpoint: &str, global: &Global) -> Option<f64> {
    let tls = crate::serve::tls::Files {
        cert: global.cert.clone(),
        key: global.key_file.clone(),
        ca: global.cacert.clone(),
        client_auth: false,
    };
    let secure = global.cacert.is_some() || global.cert.is_some();
    let http = HttpClient { tls: tls.client_if_any().ok()?, proxy: None };
    let answer = http.form("GET", &format!("{}/metrics", url(endpoint, secure)), "").await.ok()?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    line?.trim().parse().ok()
}
