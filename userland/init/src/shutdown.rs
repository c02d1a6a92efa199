//! The end: whatever still runs is ended, whatever is mounted is let go, then reboot(2). Bounded in time at every step.

use std::ffi::CString;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use linux::watchdog::Watchdog;
use rustix::fs::Timespec;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, reboot};
use unit::{Level, Shutdown};

use crate::log;
use crate::mounts::Mounts;
use crate::prepare::run_stage;

const SIGTERM: i32 = 15;
const SIGKILL: i32 = 9;
/// How long processes have after SIGTERM, and again after SIGKILL. Units had their own time before.
const GRACE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// A network file system that hangs must not keep the machine from going down.
const UNMOUNT_LIMIT: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
/// How often the mounts are gone through: one may have kept another busy.
const ROUNDS: usize = 8;
/// What the firmware is to be told, where systemd and its clients keep it too.
const ARGUMENT: &str = "/run/systemd/reboot-param";
/// These hold nothing that outlives the machine.
const KERNELS: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Goes down. Does not return.
pub fn go_down(how: Shutdown, watchdog: Option<Watchdog>) -> ! {
    let mut watchdog = watchdog;
    log::console(&format!("\r\ninit: {}\r\n", verb(how)));
    for signal in [SIGTERM, SIGKILL] {
        end_everybody(signal);
        if let Some(watchdog) = &mut watchdog {
            let _ = watchdog.pet();
        }
    }
    if let Err(error) = run_stage("umount", UNMOUNT_LIMIT, let_go) {
        log::console(&format!("init: not everything could be unmounted: {error}\r\n"));
    }
    if let Some(watchdog) = &mut watchdog {
        let _ = watchdog.pet();
    }
    if let Err(error) = run_stage("sync", UNMOUNT_LIMIT, flush) {
        log::console(&format!("init: cannot write everything to disk: {error}\r\n"));
    }
    // A halted machine must not be reset by its watchdog; a reboot that hangs should be.
    match watchdog {
        Some(watchdog) if matches!(how, Shutdown::Halt | Shutdown::PowerOff) => {
            let _ = watchdog.disarm();
        }
        watchdog => std::mem::forget(watchdog),
    }
    if let Some(argument) = argument().filter(|_| how == Shutdown::Reboot) {
        let failed = linux::reboot::restart_with(&argument);
        log::console(&format!("init: reboot(2) refused the argument: {failed}\r\n"));
    }
    let command = match how {
        Shutdown::PowerOff => RebootCommand::PowerOff,
        Shutdown::Halt => RebootCommand::Halt,
        Shutdown::Reboot => RebootCommand::Restart,
        Shutdown::Kexec => RebootCommand::Kexec,
        Shutdown::Exit(status) => std::process::exit(status),
    };
    let failed = reboot(command);
    log::console(&format!("init: reboot(2) refused: {failed:?}; restarting instead\r\n"));
    let _ = reboot(RebootCommand::Restart);
    // The kernel panics when PID 1 ends, and restarts by `panic=`.
    std::process::exit(1)
}

/// Has the next reboot give the firmware this argument (RebootArgument=); the empty one: none.
pub fn set_argument(argument: &str) {
    let result = if argument.is_empty() { fs::remove_file(ARGUMENT) } else { fs::write(ARGUMENT, argument) };
    if let Err(error) = result.or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }) {
        log::say(Level::Error, None, &format!("Cannot write {ARGUMENT}: {error}"));
    }
}

fn argument() -> Option<CString> {
    let text = fs::read_to_string(ARGUMENT).ok()?;
    CString::new(text.trim()).ok().filter(|argument| !argument.is_empty())
}

/// The way out when PID 1 cannot go on: a reboot, which counts as a failed boot of this slot.
pub fn give_up() -> ! {
    log::console("\r\n*** init cannot go on: restarting in 5 s\r\n");
    rustix::fs::sync();
    sleep(Duration::from_secs(5));
    if std::process::id() == 1 {
        let _ = reboot(RebootCommand::Restart);
    }
    std::process::exit(1)
}

fn verb(how: Shutdown) -> &'static str {
    match how {
        Shutdown::PowerOff => "powering off",
        Shutdown::Halt => "halting",
        Shutdown::Reboot => "rebooting",
        Shutdown::Kexec => "rebooting into the loaded kernel",
        Shutdown::Exit(_) => "leaving",
    }
}

/// Signals every process and reaps until none is left or their time is over.
fn end_everybody(signal: i32) {
    if linux::signal::kill_everybody(signal).is_err() {
        return;
    }
    let started = Instant::now();
    while started.elapsed() < GRACE {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            // Kernel threads are no children; a process of another namespace may still be there, and is killed next.
            Err(_) => return,
            Ok(None) => sleep(PAUSE),
        }
    }
}

fn flush() -> Result<(), String> {
    rustix::fs::sync();
    Ok(())
}

/// Unmounts everything, the latest first, and makes read-only what stays.
fn let_go() -> Result<(), String> {
    let _ = rustix::process::chdir("/");
    let mut left = Vec::new();
    for _ in 0..ROUNDS {
        left = held();
        let before = left.len();
        left.retain(|place| unmount(place.as_str(), UnmountFlags::empty()).is_err());
        if left.is_empty() || left.len() == before {
            break;
        }
    }
    let mut writable = Vec::new();
    for place in &left {
        if mount_remount(place.as_str(), MountFlags::RDONLY, c"").is_err() {
            writable.push(place.clone());
        }
        let _ = unmount(place.as_str(), UnmountFlags::DETACH);
    }
    // The root has been read-only all the time, unless this is a development machine.
    let _ = mount_remount("/", MountFlags::RDONLY, c"");
    if writable.is_empty() { Ok(()) } else { Err(writable.join(" ")) }
}

/// Mount points that hold something, the latest first.
fn held() -> Vec<String> {
    let mounted = Mounts::open().and_then(|mut mounts| mounts.read()).unwrap_or_default();
    let kernels = |place: &str| KERNELS.iter().any(|kernel| Path::new(place).starts_with(kernel));
    let places = mounted.into_iter().rev().map(|entry| entry.place);
    places.filter(|place| place != "/" && !kernels(place)).collect()
}

/// Logs a panic of PID 1 and goes on as after any other crash.
pub fn recover_from_panics() {
    std::panic::set_hook(Box::new(move |info| {
        log::say(Level::Emergency, None, &format!("PID 1 panicked: {info}"));
        if std::process::id() == 1 {
            linux::crash::go_on();
        }
    }));
}
