//! The key-value store beside Debian's etcd: the same load on both in turn, with the same durability.
//!
//! Members of both are processes of this machine with their data on the disk of the build folder. The load comes from
//! one generator for both (kv's example `kv_load`). Needs Debian's packages etcd-server and etcd-client, and strace.

mod data;
mod peer;
mod sync;

use std::path::{Path, PathBuf};
use std::process::Command;

use qemu::{Error, Result};
use serde_json::Value;

use crate::median::Figures;
use peer::{Cluster, Side};

/// What is compared, and for how long.
pub struct Plan<'a> {
    /// Where `etcd` and `etcdctl` of ours are.
    pub programs: &'a Path,
    /// The load generator.
    pub load: &'a Path,
    /// A folder on a real disk.
    pub place: &'a Path,
    /// Runs of each side.
    pub runs: u32,
    /// Seconds of each load.
    pub seconds: f64,
    /// Keys of the rows on memory, disk and start.
    pub keys: u64,
}

const KINDS: [&str; 4] = ["put", "get", "txn", "mixed"];
const CLIENTS: [u32; 3] = [1, 64, 256];
const WATCHERS: [u32; 2] = [100, 1000];

/// One figure of both sides.
#[derive(Default)]
struct Pair([Figures; 2]);

impl Pair {
    fn row(&self, what: &str) {
        let [ours, theirs] = &self.0;
        let ratio = ours.median() / theirs.median();
        println!("{what:<44} {:>30} {:>30} {ratio:>8.2}", ours.to_string(), theirs.to_string());
    }
}

fn head(what: &str) {
    println!("{what:<44} {:>30} {:>30} {:>8}", "Corten", "Debian, etcd 3.4", "ratio");
}

/// What the load generator says of one load.
struct Answer {
    rate: f64,
    p50: f64,
    p99: f64,
    operations: f64,
    seconds: f64,
}

impl Plan<'_> {
    fn sides(&self) -> [Side; 2] {
        [Side::ours(self.programs), Side::theirs()]
    }

    /// Puts a load on a cluster. Refused operations are an error: they would make the rest look fast.
    fn load(&self, cluster: &Cluster, args: &[&str]) -> Result<Answer> {
        let output = Command::new(self.load)
            .args(args)
            .args(["--endpoints", &cluster.endpoints()])
            .output()
            .map_err(|error| fault(self.load, &error))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let json: Value = serde_json::from_str(said.trim()).map_err(|_| {
            let complaint = String::from_utf8_lossy(&output.stderr);
            Error::Usage(format!("kv_load {args:?} at {}: {complaint}{said}", cluster.name()))
        })?;
        let number = |name: &str| json.get(name).and_then(Value::as_f64).unwrap_or(f64::NAN);
        if number("refused") > 0.0 || number("operations") < 1.0 {
            return Err(Error::Usage(format!("kv_load {args:?} at {}: {json}", cluster.name())));
        }
        Ok(Answer {
            rate: number("operations") / number("seconds"),
            p50: number("p50") / 1000.0,
            p99: number("p99") / 1000.0,
            operations: number("operations"),
            seconds: number("seconds"),
        })
    }

    fn start(&self, side: &Side, size: usize) -> Result<Cluster> {
        Cluster::start(side, size, &self.place.join("store"))
    }
}

fn fault(path: &Path, error: &std::io::Error) -> Error {
    Error::Usage(format!("{}: {error}", path.display()))
}

/// Everything: loads, watchers, leases, syncs, then memory, disk, start, snapshot and restore.
pub fn print(plan: &Plan) -> Result<()> {
    sync::print(plan)?;
    for size in [1, 3] {
        throughput(plan, size)?;
    }
    data::print(plan)
}

/// Loads of all kinds, watchers and leases on clusters of this size.
fn throughput(plan: &Plan, size: usize) -> Result<()> {
    let [ours, theirs] = plan.sides();
    let clusters = [plan.start(&ours, size)?, plan.start(&theirs, size)?];
    for cluster in &clusters {
        plan.load(cluster, &["fill", "--clients", "64", "--keys", "10000"])?;
    }
    let nodes = if size == 1 { "1 node".to_owned() } else { format!("{size} nodes") };
    let seconds = plan.seconds.to_string();
    head(&format!("store, {nodes}"));
    for kind in KINDS {
        for clients in CLIENTS {
            let args = [kind, "--clients", &clients.to_string(), "--seconds", &seconds];
            compare(plan, &clusters, &args, &format!("{kind}, {clients} clients"), "operations/s")?;
        }
    }
    let args = ["lease", "--clients", "64", "--seconds", &seconds];
    compare(plan, &clusters, &args, "lease granted, renewed, revoked, 64 clients", "leases/s")?;
    for watchers in WATCHERS {
        let args = ["watch", "--clients", &watchers.to_string(), "--seconds", &seconds];
        compare(plan, &clusters, &args, &format!("watch, {watchers} watchers, 50 puts/s"), "events/s")?;
    }
    println!();
    Ok(())
}

/// Rows of one load on both clusters in turn.
fn compare(plan: &Plan, clusters: &[Cluster; 2], args: &[&str], what: &str, unit: &str) -> Result<()> {
    let mut pairs: [Pair; 3] = Default::default();
    for _ in 0..plan.runs {
        for (side, cluster) in clusters.iter().enumerate() {
            let answer = plan.load(cluster, args)?;
            let [rate, p50, p99] = &mut pairs;
            rate.0[side].add(answer.rate);
            p50.0[side].add(answer.p50);
            p99.0[side].add(answer.p99);
        }
    }
    let [rate, p50, p99] = &pairs;
    rate.row(&format!("{what}, {unit}"));
    p50.row("    p50, ms");
    p99.row("    p99, ms");
    Ok(())
}

/// Bytes that a folder takes on the disk.
fn bytes_on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut waiting: Vec<PathBuf> = vec![folder.to_owned()];
    let mut bytes = 0;
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = path.symlink_metadata() else { continue };
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            waiting
                .extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    bytes
}
