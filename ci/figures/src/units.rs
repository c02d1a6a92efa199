//! PID 1 with many units, beside systemd with the same ones: the boot to multi-user, its CPU time, its memory; and what
//! it takes to start and stop a trivial service, by Debian's systemctl.

use std::fs;
use std::path::Path;
use std::time::Instant;

use qemu::{Artifacts, Error, Result};

use crate::container::{Container, Side};
use crate::median::Figures;

/// How many units are there beside Debian's own.
const COUNTS: [usize; 3] = [20, 200, 1000];
/// Starts and stops of one run.
const ROUNDS: u32 = 20;

/// As plain as a service can be.
const EXTRA: &str = "\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
";
const TRIVIAL: &str = "\
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sleep infinity
";

/// One side's figures.
#[derive(Default)]
struct Figure {
    boot: Figures,
    cpu: Figures,
    memory: Figures,
    systemctl: Figures,
}

/// Boots both sides in containers, in turn, and prints their medians and ratios.
pub fn print(artifacts: &Artifacts, programs: &Path, tree: &Path, runs: u32) -> Result<()> {
    let place = artifacts.directory().join("bench-container");
    let binary = programs.join("corten");
    for count in COUNTS {
        let units = artifacts.directory().join("bench-units");
        write_units(&units, count)?;
        let mut sides = [(Side::Ours, Figure::default()), (Side::Theirs, Figure::default())];
        for run in 0..runs {
            for (side, figure) in &mut sides {
                let container = Container::start(*side, tree, &binary, &place, &units)?;
                figure.boot.add(container.boot()?);
                figure.cpu.add(container.cpu());
                figure.memory.add(container.memory());
                figure.systemctl.add(by_systemctl(&container)?);
            }
            eprintln!("{count} units: run {} of {runs}", run + 1);
        }
        let [(_, ours), (_, theirs)] = &sides;
        let title = format!("in a container, {count} more units");
        println!("{title:<36} {:>24} {:>24} {:>8}", "Corten", "systemd", "ratio");
        row("PID 1 to multi-user, s", &ours.boot, &theirs.boot);
        row("CPU time of PID 1 until then, s", &ours.cpu, &theirs.cpu);
        row("PID 1's own memory, MiB", &ours.memory, &theirs.memory);
        row("start and stop by systemctl, ms", &ours.systemctl, &theirs.systemctl);
        println!();
    }
    Ok(())
}

fn row(what: &str, ours: &Figures, theirs: &Figures) {
    let ratio = ours.median() / theirs.median();
    println!("{what:<36} {:>24} {:>24} {ratio:>8.2}", ours.to_string(), theirs.to_string());
}

/// So many units that multi-user.target wants, and the trivial service.
fn write_units(folder: &Path, count: usize) -> Result<()> {
    let fault = |error: std::io::Error| Error::Usage(format!("{}: {error}", folder.display()));
    let _ = fs::remove_dir_all(folder);
    let drop_ins = folder.join("multi-user.target.d");
    fs::create_dir_all(&drop_ins).map_err(fault)?;
    fs::write(folder.join("trivial.service"), TRIVIAL).map_err(fault)?;
    let mut wants = String::from("[Unit]\n");
    for number in 1..=count {
        fs::write(folder.join(format!("extra-{number}.service")), EXTRA).map_err(fault)?;
        wants += &format!("Wants=extra-{number}.service\n");
    }
    fs::write(drop_ins.join("extra.conf"), wants).map_err(fault)
}

/// Milliseconds of a start and a stop by Debian's systemctl.
fn by_systemctl(container: &Container) -> Result<f64> {
    let line = format!(
        "set -e; for round in $(seq {ROUNDS}); do systemctl start trivial.service; systemctl stop trivial.service; done"
    );
    let began = Instant::now();
    let output = container.run(&["sh", "-c", &line])?;
    let took = began.elapsed();
    if !output.status.success() {
        return Err(Error::Usage(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Ok(took.as_secs_f64() * 1000.0 / f64::from(ROUNDS))
}
