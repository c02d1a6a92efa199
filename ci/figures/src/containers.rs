//! A container that does nothing, created, started and deleted by our runtime, by crun and by Debian's runc, in turn.
//!
//! All in a mount namespace where the cgroup tree is v2 alone, as on Corten: on a hybrid machine the peers of Debian 12
//! would not run, or do other work. The program is one that waits to be killed, so that delete has something to do.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use qemu::{Artifacts, Error, Result};

use crate::median::Figures;

/// Containers of each runtime in one run.
const ROUNDS: u32 = 10;

/// Arguments: rounds, the folder, then the runtimes. Prints `RUNTIME WHAT FIGURE` lines.
const SCRIPT: &str = r#"
set -e
rounds=$1 place=$2
shift 2
umount -R /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p "$place/rootfs/bin" "$place/state"
cp /bin/busybox "$place/rootfs/bin/sleep"
cd "$place"
rm -f config.json
"$1" spec
sed -i 's/"terminal": *true/"terminal": false/; s/"sh"/"sleep", "1000"/; s/"relatime",//' config.json
for ((round = 0; round < rounds; round++)); do
    for runtime; do
        call=("$runtime" --root "$place/state")
        begin=$EPOCHREALTIME
        "${call[@]}" create bench > /dev/null < /dev/null 2>&1
        created=$EPOCHREALTIME
        pid=$("${call[@]}" state bench | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p')
        echo "$runtime waiting $(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status")"
        start=$EPOCHREALTIME
        "${call[@]}" start bench
        started=$EPOCHREALTIME
        "${call[@]}" kill bench KILL
        while ! "${call[@]}" state bench | grep -q '"stopped"'; do :; done
        delete=$EPOCHREALTIME
        "${call[@]}" delete bench
        deleted=$EPOCHREALTIME
        echo "$runtime create $((${created/./} - ${begin/./}))"
        echo "$runtime start $((${started/./} - ${start/./}))"
        echo "$runtime delete $((${deleted/./} - ${delete/./}))"
        echo "$runtime sum $((${created/./} - ${begin/./} + ${started/./} - ${start/./} + ${deleted/./} - ${delete/./}))"
    done
done
for runtime; do
    /usr/bin/time -o memory -f %M "$runtime" --root "$place/state" create bench > /dev/null < /dev/null 2>&1
    echo "$runtime memory $(tail -n 1 memory)"
    "$runtime" --root "$place/state" delete --force bench
done
"#;

const ROWS: [(&str, &str, f64); 6] = [
    ("create", "create, ms", 1000.0),
    ("start", "start, ms", 1000.0),
    ("delete", "delete, ms", 1000.0),
    ("sum", "sum, ms", 1000.0),
    ("memory", "most memory of create, MiB", 1024.0),
    ("waiting", "memory of the waiting init, MiB", 1024.0),
];

/// Runs them in turn, and prints their medians and the ratio to the better peer.
pub fn print(artifacts: &Artifacts, programs: &Path, runs: u32) -> Result<()> {
    let place = artifacts.directory().join("bench-containers");
    let ours = programs.join("runc").display().to_string();
    let runtimes = [ours.as_str(), "/usr/bin/crun", "/usr/sbin/runc"];
    let mut figures: BTreeMap<(String, String), Figures> = BTreeMap::new();
    for run in 0..runs {
        let _ = fs::remove_dir_all(&place);
        let output = Command::new("unshare")
            .args(["--mount", "bash", "-c", SCRIPT, "bash", &ROUNDS.to_string()])
            .arg(&place)
            .args(runtimes)
            .output()
            .map_err(|error| Error::Usage(format!("unshare: {error}")))?;
        if !output.status.success() {
            return Err(Error::Usage(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.split(' ');
            let (Some(runtime), Some(what), Some(figure)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Ok(figure) = figure.parse::<f64>() else { continue };
            let scale = ROWS.iter().find(|(name, ..)| *name == what).map_or(1.0, |(.., scale)| *scale);
            figures.entry((runtime.to_owned(), what.to_owned())).or_default().add(figure / scale);
        }
        eprintln!("containers: run {} of {runs}", run + 1);
    }
    println!(
        "{:<32} {:>22} {:>22} {:>22} {:>8}",
        "a container that does nothing", "Corten", "crun", "runc", "to crun"
    );
    for (what, title, _) in ROWS {
        let of = |runtime: &str| figures.get(&(runtime.to_owned(), what.to_owned()));
        let shown = |runtime: &str| of(runtime).map_or_else(String::new, ToString::to_string);
        let median = |runtime: &str| of(runtime).map_or(f64::NAN, Figures::median);
        let [one, crun, runc] = runtimes;
        let ratio = median(one) / median(crun);
        println!("{title:<32} {:>22} {:>22} {:>22} {ratio:>8.2}", shown(one), shown(crun), shown(runc));
    }
    println!();
    Ok(())
}
