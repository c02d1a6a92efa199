//! That both keep what they acknowledge: syncs of the disk, counted by strace, against puts.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use qemu::{Error, Result};

use super::{Pair, Plan, fault, head};

/// Syncs for each acknowledged put, of one client and of many.
///
/// # Errors
/// Also where a single client's puts are more than the syncs: then one was acknowledged that was not safe.
pub fn print(plan: &Plan) -> Result<()> {
    head("store, syncs of the disk for each put");
    for clients in ["1", "64"] {
        let mut pair = Pair::default();
        for (number, side) in plan.sides().iter().enumerate() {
            let cluster = plan.start(side, 1)?;
            let report = cluster.folder().join("strace");
            let mut strace = Command::new("strace")
                .args(["-f", "-c", "-e", "trace=fdatasync,fsync,msync", "-o"])
                .arg(&report)
                .args(["-p", &cluster.pid().to_string()])
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| fault(Path::new("strace"), &error))?;
            // It attaches to all threads of the process within this.
            sleep(Duration::from_secs(1));
            let answer = plan.load(&cluster, &["put", "--clients", clients, "--seconds", "3"]);
            let _ = Command::new("kill").args(["-INT", &strace.id().to_string()]).status();
            let _ = strace.wait();
            let answer = answer?;
            let text = std::fs::read_to_string(&report).map_err(|error| fault(&report, &error))?;
            let syncs = count(&text);
            if clients == "1" && syncs < answer.operations {
                return Err(Error::Usage(format!(
                    "{}: {} puts of one client were acknowledged with {syncs} syncs",
                    side.name, answer.operations
                )));
            }
            pair.0[number].add(syncs / answer.operations);
        }
        pair.row(&format!("{clients} clients"));
    }
    println!();
    Ok(())
}

/// The calls of strace's summary: a line is `% time, seconds, usecs/call, calls, [errors,] syscall`.
fn count(text: &str) -> f64 {
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|words| words.last().is_some_and(|name| ["fdatasync", "fsync", "msync"].contains(name)))
        .filter_map(|words| words.get(3)?.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn syncs_are_counted_and_their_total_is_not() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 99.00    1.000000         100     10000           fdatasync
  1.00    0.010000         100       100         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    1.010000         100     10100         1 total
";
        assert!((super::count(text) - 10100.0).abs() < 0.5);
    }
}
