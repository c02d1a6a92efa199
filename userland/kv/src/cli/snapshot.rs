//! `snapshot` and `verify`: what is in files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use tokio_stream::StreamExt;

use super::Global;
use super::client::{Client, Failure};
use super::output::{Format, table};
use crate::identity;
use crate::node::Paths;
use crate::proto::SnapshotRequest;
use crate::proto::internal::Identity;
use crate::proto::maintenance_client::MaintenanceClient;
use crate::server::boot;
use crate::storage::wal::Wal;
use crate::storage::{bolt, snapshot as file};

#[derive(clap::Subcommand)]
pub(crate) enum Snapshot {
    /// Saves one of a running member
    Save { path: PathBuf },
    /// Prints what is in one
    Status { path: PathBuf },
    /// Makes the data of a new cluster of one
    Restore(Restore),
}

#[derive(clap::Args)]
pub(crate) struct Restore {
    path: PathBuf,
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[arg(long)]
    wal_dir: Option<PathBuf>,
    #[arg(long, default_value = "default")]
    name: String,
    #[arg(long, default_value = "default=http://localhost:2380")]
    initial_cluster: String,
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    #[arg(long, default_value = "http://localhost:2380", value_delimiter = ',')]
    initial_advertise_peer_urls: Vec<String>,
    /// Take a file without a checksum, as one copied from a data directory
    #[arg(long)]
    skip_hash_check: bool,
}

fn usage(error: impl std::fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

pub(super) async fn snapshot(verb: Snapshot, global: &Global) -> Result<ExitCode, Failure> {
    match verb {
        Snapshot::Save { path } => save(&path, global).await?,
        Snapshot::Status { path } => status(&path, global)?,
        Snapshot::Restore(restore) => restore.run()?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn save(path: &Path, global: &Global) -> Result<(), Failure> {
    let client = Client::connect(global).await?;
    let mut maintenance = MaintenanceClient::new(client.channel.clone());
    let mut parts = maintenance.snapshot(client.stream(SnapshotRequest {})).await?.into_inner();
    let partial = path.with_extension("part");
    let mut to = File::create(&partial)?;
    while let Some(part) = parts.next().await {
        to.write_all(&part?.blob)?;
    }
    to.sync_all()?;
    // Only a whole one gets the name.
    file::parse(&Bytes::from(fs::read(&partial)?), true).map_err(usage)?;
    fs::rename(&partial, path)?;
    println!("Snapshot saved at {}", path.display());
    Ok(())
}

fn status(path: &Path, global: &Global) -> Result<(), Failure> {
    let bytes = Bytes::from(fs::read(path)?);
    let wrong = |error: String| Failure::Usage(format!("{}: {error}", path.display()));
    let state = file::parse(&bytes, false).map_err(wrong)?;
    let body = bytes.slice(..bytes.len() / 4096 * 4096);
    let records = bolt::read(&body).map_err(|error| wrong(error.to_string()))?;
    let mut hasher = crc32fast::Hasher::new();
    for (bucket, key, value) in &records {
        [bucket, key, value].into_iter().for_each(|part| hasher.update(part));
    }
    let (hash, revision, keys, size) = (hasher.finalize(), state.mvcc.revision(), records.len(), body.len());
    match global.format {
        Format::Json => {
            let json = serde_json::json!({ "hash": hash, "revision": revision, "totalKey": keys, "totalSize": size });
            println!("{json}");
        }
        Format::Table => {
            let row = vec![format!("{hash:x}"), revision.to_string(), keys.to_string(), size.to_string()];
            print!("{}", table(&["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"], &[row]));
        }
        _ => println!("{hash:x}, {revision}, {keys}, {size}"),
    }
    Ok(())
}

impl Restore {
    fn run(self) -> Result<(), Failure> {
        let bytes = Bytes::from(fs::read(&self.path)?);
        let parsed = file::parse(&bytes, !self.skip_hash_check);
        let mut state = parsed.map_err(|error| {
            Failure::Usage(format!(
                "{}: {error} (--skip-hash-check takes a file without one)",
                self.path.display()
            ))
        })?;
        let data = self.data_dir.unwrap_or_else(|| PathBuf::from(format!("{}.etcd", self.name)));
        if data.exists() {
            return Err(Failure::Usage(format!("data-dir {:?} exists", data.display())));
        }
        let members =
            boot::parse_cluster(&self.initial_cluster, &self.initial_cluster_token).map_err(usage)?;
        let urls =
            identity::clean_urls(&self.initial_advertise_peer_urls).ok_or_else(|| usage("bad peer URLs"))?;
        let own = members.iter().find(|member| member.name == self.name && member.peer_ur_ls == urls);
        let own = own.ok_or_else(|| {
            usage(format!(
                "--initial-cluster must include {}={} given --initial-advertise-peer-urls",
                self.name,
                urls.join(",")
            ))
        })?;
        let identity = Identity { cluster_id: identity::cluster_id(&members), member_id: own.id };
        let paths = Paths::new(&data, self.wal_dir.as_deref());
        let names =
            members.iter().map(|member| crate::proto::Member { name: String::new(), ..member.clone() });
        boot::create(&paths, identity, names.collect(), &mut state).map_err(usage)?;
        println!(
            "restored {} at revision {} to {}",
            self.path.display(),
            state.mvcc.revision(),
            data.display()
        );
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Verify {
    /// The data directory of a member that does not run
    #[arg(long, env = "ETCD_DATA_DIR")]
    data_dir: PathBuf,
    #[arg(long)]
    wal_dir: Option<PathBuf>,
}

/// Reads all that a member would read, and says what it found.
pub(super) fn verify(verb: &Verify) -> ExitCode {
    let paths = Paths::new(&verb.data_dir, verb.wal_dir.as_deref());
    let mut bad = 0;
    let mut report = |what: String, result: Result<String, String>| match result {
        Ok(text) => println!("ok   {what}: {text}"),
        Err(text) => {
            bad += 1;
            println!("BAD  {what}: {text}");
        }
    };
    let snapshots = file::list(&paths.snapshots).unwrap_or_default();
    for (_, path) in &snapshots {
        let result = file::read(path)
            .map(|state| format!("entry {}, revision {}", state.applied().0, state.mvcc.revision()));
        report(path.display().to_string(), result.map_err(|error| error.to_string()));
    }
    match Wal::read(&paths.wal) {
        Ok(replay) => {
            let (first, last) = (replay.entries.first(), replay.entries.last());
            let span = format!(
                "entries {} to {}, decided up to {}",
                first.map_or(0, |entry| entry.index),
                last.map_or(0, |entry| entry.index),
                replay.hard_state.commit
            );
            let torn = if replay.torn > 0 {
                format!(", {} bytes of a torn write at its end", replay.torn)
            } else {
                String::new()
            };
            report(paths.wal.display().to_string(), Ok(span + &torn));
            // What sled holds is not looked at: whoever opens it writes to it, and it is never needed.
            let start = snapshots.first().map_or(0, |(index, _)| *index);
            let gap = first.is_some_and(|entry| entry.index > start + 1);
            let verdict = if gap {
                Err("the log does not go on from any snapshot".into())
            } else {
                Ok("can be started".into())
            };
            report(verb.data_dir.display().to_string(), verdict);
        }
        Err(error) => report(paths.wal.display().to_string(), Err(error.to_string())),
    }
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
