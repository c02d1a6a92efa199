//! `coreos-cloudinit`: reads the configuration that this machine was given, and applies it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::apply::Machine;
use crate::atomic_file::read_bounded;
use crate::cloud_config::{LARGEST, Plan, plan};
use crate::environment::Environment;
use crate::names::check_public_key;
use crate::problem::Problem;

const CONFIG: &str = "opt/com.coreos/config/raw";
const ENVIRONMENT: &str = "opt/com.coreos/environment/raw";
const KEYS: &str = "opt/com.coreos/authorized-keys/raw";
/// Most bytes of keys that are read.
const LARGEST_KEYS: usize = 64 << 10;
/// Most bytes of variables that are read.
const LARGEST_ENVIRONMENT: usize = 64 << 10;

/// Applies a cloud-config to this machine.
///
/// Without --from-file it is the one that QEMU passes on as fw_cfg opt/com.coreos/config. What is wrong
/// with it is told on standard error and on the console, one line each, and the rest is applied; the exit
/// code is then 1.
#[derive(Parser)]
#[command(name = "coreos-cloudinit", version)]
struct Arguments {
    /// Read the cloud-config from this file.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// Only say what is wrong; change nothing.
    #[arg(long)]
    validate: bool,
    /// Say what would be done; change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Apply below this directory. Units are then left alone unless --systemctl is given.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The command that controls units.
    #[arg(long, value_name = "PROGRAM")]
    systemctl: Option<PathBuf>,
    /// Where the kernel shows what QEMU passes on.
    #[arg(long, value_name = "DIR", default_value = "/sys/firmware/qemu_fw_cfg/by_name")]
    fw_cfg: PathBuf,
}

/// The applet.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let problems = run(&arguments);
    tell(&problems, arguments.root == Path::new("/") && !arguments.validate && !arguments.dry_run);
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(arguments: &Arguments) -> Vec<Problem> {
    let this_machine = arguments.root == Path::new("/");
    let systemctl =
        arguments.systemctl.clone().or_else(|| this_machine.then(|| PathBuf::from("/usr/bin/systemctl")));
    let machine = Machine { root: arguments.root.clone(), systemctl };
    let mut problems = Vec::new();
    let path = match &arguments.from_file {
        Some(path) => path.clone(),
        None => {
            if !arguments.validate && !arguments.dry_run {
                ephemeral_keys(&machine, &arguments.fw_cfg.join(KEYS), &mut problems);
            }
            arguments.fw_cfg.join(CONFIG)
        }
    };
    let environment = environment(&machine, &arguments.fw_cfg.join(ENVIRONMENT), &mut problems);
    let given = arguments.from_file.is_some();
    let data = match read_bounded(&path, LARGEST) {
        Ok(data) => data,
        // No configuration is no mistake, unless somebody named the file.
        Err(e) if e.kind() == io::ErrorKind::NotFound && !given => return problems,
        Err(e) => {
            problems.push(Problem::of(&path.display().to_string(), e.to_string()));
            return problems;
        }
    };
    let data = match String::from_utf8(data) {
        Ok(text) if text.len() <= LARGEST => environment.substitute(&text, &mut problems).into_bytes(),
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    };
    let Plan { mut actions, problems: found } = plan(&data);
    problems.extend(found);
    let old = read_text(&machine.root.join("etc/environment"));
    // Before the rest: what a cloud-config writes there itself stays.
    actions.splice(0..0, environment.file(&old));
    if arguments.dry_run {
        let mut out = io::stdout().lock();
        for action in &actions {
            let _ = writeln!(out, "{action}");
        }
    } else if !arguments.validate {
        problems.extend(machine.apply(&actions));
    }
    problems
}

/// What the file says, as far as it can be read.
fn read_text(path: &Path) -> String {
    let bytes = read_bounded(path, LARGEST_ENVIRONMENT).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// The machine's addresses: as whoever runs it tells them, else as `/etc/environment` has them.
fn environment(machine: &Machine, told: &Path, problems: &mut Vec<Problem>) -> Environment {
    let told = if told.exists() { told.to_owned() } else { machine.root.join("etc/environment") };
    Environment::parse(&read_text(&told), problems)
}

/// The keys that `./qemu/ssh` and the like bring along: systemd.system-credentials(7).
fn ephemeral_keys(machine: &Machine, path: &Path, problems: &mut Vec<Problem>) {
    let place = "authorized-keys";
    let text = match read_bounded(path, LARGEST_KEYS) {
        Ok(bytes) if bytes.len() > LARGEST_KEYS => {
            problems.push(Problem::of(place, format!("larger than {LARGEST_KEYS} bytes; left out")));
            return;
        }
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return,
        Err(e) => {
            problems.push(Problem::of(place, e.to_string()));
            return;
        }
    };
    let mut lines = String::new();
    let keys = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for key in keys {
        match check_public_key(key) {
            Ok(()) => lines.push_str(&format!("{key}\n")),
            Err(wrong) => problems.push(Problem::of(place, wrong)),
        }
    }
    if let Err(e) = machine.ephemeral_keys(&lines) {
        problems.push(Problem::of(place, e.to_string()));
    }
}

/// Tells the problems on standard error (the journal) and, at boot, on the console.
fn tell(problems: &[Problem], at_boot: bool) {
    // Only the journal takes the level off again.
    let level = if std::env::var_os("JOURNAL_STREAM").is_some() { "<3>" } else { "" };
    for problem in problems {
        eprintln!("{level}{problem}");
    }
    if at_boot && !problems.is_empty() {
        // Never wait for a console that takes nothing.
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits();
        let console = OpenOptions::new().write(true).custom_flags(flags.cast_signed()).open("/dev/console");
        if let Ok(mut console) = console {
            for problem in problems {
                let _ = console.write_all(format!("{problem}\r\n").as_bytes());
            }
        }
    }
}
