//! What many keys cost: memory, disk, the start, a snapshot, and the way back from it.

use std::process::{Command, Stdio};
use std::time::Instant;

use qemu::{Error, Result};

use super::{Pair, Plan, bytes_on_disk, fault, head};

const MIB: f64 = (1 << 20) as f64;

/// Rows of one node with `plan.keys` keys of 256 bytes.
pub fn print(plan: &Plan) -> Result<()> {
    let mut rows: [(&str, Pair); 8] = [
        "filled, keys/s",
        "memory, MiB",
        "memory that is no file's, MiB",
        "memory after a restart, MiB",
        "disk, MiB",
        "start until it serves, s",
        "snapshot saved, s",
        "snapshot restored, s",
    ]
    .map(|name| (name, Pair::default()));
    for _ in 0..plan.runs {
        for (number, side) in plan.sides().iter().enumerate() {
            let mut cluster = plan.start(side, 1)?;
            let keys = plan.keys.to_string();
            let filled = plan.load(&cluster, &["fill", "--clients", "256", "--keys", &keys])?;
            let (resident, anonymous) = cluster.memory();
            let start = cluster.restart()?;
            let (again, _) = cluster.memory();
            let disk = bytes_on_disk(cluster.data());
            let snapshot = plan.load(&cluster, &["snapshot"])?.seconds;
            let file = cluster.folder().join("snapshot.db");
            let ctl = |args: &[&str]| {
                let began = Instant::now();
                let status = Command::new(&side.etcdctl)
                    .env("ETCDCTL_API", "3")
                    .args(["--command-timeout=300s", "--endpoints", &cluster.endpoints(), "snapshot"])
                    .args(args)
                    .current_dir(cluster.folder())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status()
                    .map_err(|error| fault(&side.etcdctl, &error))?;
                if !status.success() {
                    return Err(Error::Usage(format!("{}: etcdctl snapshot {args:?} fails", side.name)));
                }
                Ok(began.elapsed().as_secs_f64())
            };
            let path = file.to_string_lossy();
            ctl(&["save", &path])?;
            let restored = ctl(&["restore", &path, "--data-dir", "restored"])?;
            let figures = [
                filled.rate,
                resident / MIB,
                anonymous / MIB,
                again / MIB,
                disk as f64 / MIB,
                start,
                snapshot,
                restored,
            ];
            for ((_, pair), figure) in rows.iter_mut().zip(figures) {
                pair.0[number].add(figure);
            }
        }
    }
    head(&format!("store, 1 node with {} keys", plan.keys));
    for (name, pair) in &rows {
        pair.row(name);
    }
    println!();
    Ok(())
}
