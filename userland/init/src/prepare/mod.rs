//! From the kernel's hand to a tree that units can run in.
//!
//! Two stages run in children of PID 1, so that neither a bad disk nor a bug in here takes PID 1 along: `state` finds,
//! grows and mounts STATE; `tree` makes what belongs on `/var` and lays `/etc` over the image's. A stage that fails or
//! hangs is reported loudly and replaced: without STATE, `/var` is a tmpfs, and `/run/corten/state-failed` keeps the
//! boot from being marked good. Every step may be repeated and may be cut off by a power failure.

mod api;
mod command_line;
mod identity;
mod live;
mod stage;
mod state;
mod tree;

pub use api::is_mount_point;
pub use command_line::CommandLine;
pub use stage::run as run_stage;

use rustix::fs::Timespec;

use crate::log::{self, Level};

/// Left behind when this boot made the machine-id.
const FIRST_BOOT: &str = "/run/corten/first-boot";
/// Left behind when `/var` does not survive a reboot although it should: `corten-state.service` fails on it.
const STATE_FAILED: &str = "/run/corten/state-failed";
/// Growing 2 TB of ext4 takes 12 s under emulation; replaying a journal comes on top.
const STATE_LIMIT: Timespec = Timespec { tv_sec: 90, tv_nsec: 0 };
const TREE_LIMIT: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// Prepares the machine; returns what the kernel was told.
///
/// In the initramfs of a live boot it executes `/sbin/init` of the real root instead of returning.
pub fn machine() -> CommandLine {
    api::mount_all();
    let line = CommandLine::read();
    if live::is_initramfs() {
        let error = live::enter();
        log::say(Level::Error, None, &format!("Cannot enter the live system: {error}"));
        crate::shutdown::give_up();
    }
    api::unpack_more();
    if is_ordinary_root() {
        identity::apply();
    } else {
        lay_out(&line);
    }
    if let Err(error) = linux::loopback::up() {
        log::say(Level::Warning, None, &format!("Cannot bring the loopback interface up: {error}"));
    }
    line
}

/// A root that can be written to and has its own `/var`, as an ordinary distribution's: nothing is laid over it.
fn is_ordinary_root() -> bool {
    let flags = rustix::fs::statvfs("/").map(|root| root.f_flag);
    let writable = flags.is_ok_and(|flags| !flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    writable && std::path::Path::new("/var/lib").is_dir()
}

/// The image's `/var` and `/etc`.
fn lay_out(line: &CommandLine) {
    let live = line.has("corten.live");
    if !live && let Err(error) = stage::run("state", STATE_LIMIT, state::mount) {
        let text = format!("STATE is not usable: {error}. /var is in memory and will be lost!");
        log::say(Level::Critical, None, &text);
        state_failed(&text);
    }
    if let Err(error) = stage::run("tree", TREE_LIMIT, tree::make) {
        let text = format!("Cannot lay out /var and /etc: {error}");
        log::say(Level::Critical, None, &text);
        state_failed(&text);
        if let Err(error) = stage::run("tree", TREE_LIMIT, tree::make_in_memory) {
            log::say(Level::Critical, None, &format!("Cannot lay out /var in memory either: {error}"));
        }
    }
}

/// Whether the machine had no machine-id before this boot.
#[must_use]
pub fn is_first_boot() -> bool {
    std::path::Path::new(FIRST_BOOT).exists()
}

fn state_failed(text: &str) {
    let result = std::fs::create_dir_all("/run/corten").and_then(|()| std::fs::write(STATE_FAILED, text));
    if let Err(error) = result {
        log::say(Level::Error, None, &format!("Cannot write {STATE_FAILED}: {error}"));
    }
}
