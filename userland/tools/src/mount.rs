//! `mount` and `umount`: file systems onto the tree and off it, and what is there.
//!
//! Source: mount(8), umount(8), mount(2). There is no fstab: units describe mounts that last.

pub(crate) mod device;
mod options;
mod table;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount as attach, mount_bind, mount_bind_recursive,
    mount_change, mount_move, mount_remount, unmount,
};

use options::{Action, Wanted};
use table::Mounted;

/// Mount a file system, or show what is mounted.
///
/// WHAT is a device, or LABEL=, UUID=, PARTLABEL= or PARTUUID= with what it is called. Without arguments,
/// shows all mounts.
#[derive(Debug, Parser)]
#[command(name = "mount", version)]
struct Options {
    /// The kind of file system; without it, those that the kernel knows are tried
    #[arg(short = 't', long = "types", value_name = "TYPE")]
    kind: Option<String>,
    /// Options, separated by commas, such as ro,nosuid or remount,rw
    #[arg(short, long, value_name = "OPTIONS")]
    options: Vec<String>,
    /// Mount a folder of the tree at a second place
    #[arg(short = 'B', long)]
    bind: bool,
    /// The same, with all that is mounted below it
    #[arg(short = 'R', long)]
    rbind: bool,
    /// Move a mount to another place
    #[arg(short = 'M', long = "move")]
    move_: bool,
    /// Read-only
    #[arg(short, long)]
    read_only: bool,
    /// Writable
    #[arg(short = 'w', long, alias = "rw")]
    read_write: bool,
    /// Make the folder to mount on, if it is not there
    #[arg(long)]
    mkdir: bool,
    /// Accepted for compatibility: there is no /etc/mtab
    #[arg(short, long)]
    no_mtab: bool,
    /// What to mount
    what: Option<OsString>,
    /// Where to
    target: Option<PathBuf>,
}

/// `mount`
pub fn mount(args: Vec<OsString>) -> ExitCode {
    let options = match Options::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return crate::usage(&error),
    };
    let done = match (&options.what, &options.target) {
        (None, None) => show(options.kind.as_deref()),
        (Some(only), None) => change_or_refuse(&options, Path::new(only)),
        (what, Some(target)) => mount_one(&options, what.clone().unwrap_or_default(), target),
    };
    crate::finish("mount", done, 32)
}

fn show(kind: Option<&str>) -> Result<(), String> {
    for mounted in table::read()? {
        if kind.is_none_or(|kind| kind.split(',').any(|kind| kind == mounted.kind)) {
            crate::say(format_args!("{mounted}"))?;
        }
    }
    Ok(())
}

/// The places where devices are mounted, by the numbers of the device.
pub(crate) fn by_device() -> Result<Vec<(String, String)>, String> {
    let mounts = table::read()?;
    Ok(mounts.into_iter().map(|mounted| (mounted.device, mounted.target.display().to_string())).collect())
}

/// `mount -o remount,… WHERE` and its kin need no source.
fn change_or_refuse(options: &Options, target: &Path) -> Result<(), String> {
    let wanted = wanted(options);
    if wanted.action == Action::Propagation {
        return act(&wanted, "", target, None);
    }
    if wanted.action == Action::Remount {
        // As mount(8) does: what the mount has is kept unless the options say otherwise.
        let place = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let mounts = table::read()?;
        let Some(mounted) = mounts.iter().rev().find(|mounted| mounted.target == place) else {
            return Err(format!("{}: not mounted", target.display()));
        };
        let wanted = Wanted::parse(&format!("{},{}", mounted.own, options.options.join(",")));
        return act(&wanted, "", target, None);
    }
    Err(format!("{}: say what to mount and where; there is no fstab", target.display()))
}

fn wanted(options: &Options) -> Wanted {
    let mut wanted = Wanted::parse(&options.options.join(","));
    if options.bind {
        wanted.action = Action::Bind;
    }
    if options.rbind {
        wanted.action = Action::BindAll;
    }
    if options.move_ {
        wanted.action = Action::Move;
    }
    if options.read_only {
        wanted.flags.insert(MountFlags::RDONLY);
    }
    if options.read_write {
        wanted.flags.remove(MountFlags::RDONLY);
    }
    wanted
}

fn mount_one(options: &Options, what: OsString, target: &Path) -> Result<(), String> {
    if options.mkdir {
        std::fs::create_dir_all(target).map_err(|error| format!("{}: {error}", target.display()))?;
    }
    let what = what.to_str().ok_or_else(|| format!("{}: not UTF-8", what.to_string_lossy()))?;
    act(&wanted(options), what, target, options.kind.as_deref())
}

fn act(wanted: &Wanted, what: &str, target: &Path, kind: Option<&str>) -> Result<(), String> {
    let failed = |error: Errno| explain(what, target, error);
    let source = device::resolve(what)?;
    match wanted.action {
        Action::Mount => return mount_new(wanted, &source, target, kind),
        Action::Remount => mount_remount(target, wanted.flags, wanted.data.as_str()).map_err(failed)?,
        Action::Bind => mount_bind(&source, target).map_err(failed)?,
        Action::BindAll => mount_bind_recursive(&source, target).map_err(failed)?,
        Action::Move => mount_move(&source, target).map_err(failed)?,
        Action::Propagation => {}
    }
    // A bind mount takes its flags in a second step.
    if matches!(wanted.action, Action::Bind | Action::BindAll) && !wanted.flags.is_empty() {
        mount_remount(target, wanted.flags | MountFlags::BIND, "").map_err(failed)?;
    }
    propagate(wanted, target)
}

fn mount_new(wanted: &Wanted, source: &Path, target: &Path, kind: Option<&str>) -> Result<(), String> {
    let data =
        std::ffi::CString::new(wanted.data.as_str()).map_err(|_| "an option holds a zero byte".to_owned())?;
    let try_kind = |kind: &str| attach(source, target, kind, wanted.flags, Some(data.as_c_str()));
    let failed = |error| explain(&source.display().to_string(), target, error);
    match kind {
        Some(kind) if kind != "auto" => try_kind(kind).map_err(failed)?,
        _ => {
            let mut last = Errno::NODEV;
            let known = table::kinds_on_devices()?;
            let found = known.iter().any(|kind| match try_kind(kind) {
                Ok(()) => true,
                // Another kind's disk says "invalid"; what else is wrong, another kind will not mend.
                Err(Errno::INVAL) => false,
                Err(error) => {
                    last = error;
                    false
                }
            });
            if !found {
                return Err(match last {
                    Errno::NODEV => format!(
                        "{}: none of the file systems that the kernel knows ({}); try -t",
                        source.display(),
                        known.join(", ")
                    ),
                    error => failed(error),
                });
            }
        }
    }
    propagate(wanted, target)
}

fn propagate(wanted: &Wanted, target: &Path) -> Result<(), String> {
    for kind in &wanted.propagation {
        mount_change(target, *kind).map_err(|error| explain("", target, error))?;
    }
    Ok(())
}

/// A message for the errors that people meet.
fn explain(what: &str, target: &Path, error: Errno) -> String {
    let (what, place) = (if what.is_empty() { "it" } else { what }, target.display());
    match error {
        Errno::PERM | Errno::ACCESS => format!("{place}: only root may do this (try sudo)"),
        Errno::NOENT if !target.exists() => format!("{place}: there is no such mount point"),
        Errno::NOENT => format!("{what}: there is no such device or folder"),
        Errno::NODEV => format!("{place}: the kernel does not know this kind of file system"),
        Errno::BUSY => format!("{place}: {what} is mounted there already, or is in use"),
        Errno::NOTBLK => format!("{what}: not a block device"),
        Errno::INVAL => {
            format!("{place}: wrong kind of file system, bad option or bad superblock on {what}; see dmesg")
        }
        error => format!("{place}: {what}: {}", io::Error::from(error)),
    }
}

/// Take a file system off the tree.
#[derive(Debug, Parser)]
#[command(name = "umount", version)]
struct UmountOptions {
    /// Take it off at once, and clean up when nobody uses it any more
    #[arg(short, long)]
    lazy: bool,
    /// Even if its server does not answer
    #[arg(short, long)]
    force: bool,
    /// With all that is mounted below it
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Accepted for compatibility
    #[arg(short, long)]
    no_mtab: bool,
    /// Accepted for compatibility
    #[arg(short, long)]
    verbose: bool,
    /// Mount points or devices
    #[arg(required = true)]
    targets: Vec<PathBuf>,
}

/// `umount`
pub fn umount(args: Vec<OsString>) -> ExitCode {
    let options = match UmountOptions::try_parse_from(args) {
        Ok(options) => options,
        Err(error) => return crate::usage(&error),
    };
    let mut result = Ok(());
    for target in &options.targets {
        let done = umount_one(&options, target);
        if let (Err(_), Err(earlier)) = (&done, &result) {
            eprintln!("umount: {earlier}");
        }
        result = done.and(result);
    }
    crate::finish("umount", result, 32)
}

fn umount_one(options: &UmountOptions, target: &Path) -> Result<(), String> {
    let mounts = table::read()?;
    let wanted = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
    let by_device = |mounted: &&Mounted| Path::new(&mounted.source) == target;
    let place = match mounts.iter().rev().find(|mounted| mounted.target == wanted) {
        Some(mounted) => mounted.target.clone(),
        None => match mounts.iter().rev().find(by_device) {
            Some(mounted) => mounted.target.clone(),
            None => return Err(format!("{}: not mounted", target.display())),
        },
    };
    let mut flags = UnmountFlags::NOFOLLOW;
    flags.set(UnmountFlags::DETACH, options.lazy);
    flags.set(UnmountFlags::FORCE, options.force);
    let below = mounts.iter().rev().filter(|mounted| mounted.target.starts_with(&place));
    let all: Vec<&Path> = if options.recursive {
        below.map(|mounted| mounted.target.as_path()).collect()
    } else {
        vec![&place]
    };
    for place in all {
        unmount(place, flags).map_err(|error| match error {
            Errno::BUSY => format!("{}: in use", place.display()),
            Errno::PERM => format!("{}: only root may do this (try sudo)", place.display()),
            error => format!("{}: {}", place.display(), io::Error::from(error)),
        })?;
    }
    Ok(())
}

/// What a change of propagation is called.
const PROPAGATIONS: &[(&str, MountPropagationFlags)] = &[
    ("private", MountPropagationFlags::PRIVATE),
    ("shared", MountPropagationFlags::SHARED),
    ("slave", MountPropagationFlags::DOWNSTREAM),
    ("unbindable", MountPropagationFlags::UNBINDABLE),
];
