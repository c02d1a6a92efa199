//! The kernel's own file systems and the memory-backed ones of the run-time tree.
//!
//! What is mounted already (the kernel may mount /dev; PID 1 may have been executed anew) stays as it is.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use crate::log::{self, Level};

/// A file system that is always there.
struct Mount {
    kind: &'static str,
    at: &'static str,
    flags: MountFlags,
    options: &'static str,
    /// Without it no machine can run; the others are mounted where the kernel has them.
    needed: bool,
}

const NONE: MountFlags = MountFlags::empty();
const CLOSED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
const MEMORY: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const DEVICES: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// In the order of mounting. Group 5 is `tty`.
const MOUNTS: &[Mount] = &[
    Mount { kind: "proc", at: "/proc", flags: CLOSED, options: "", needed: true },
    Mount { kind: "sysfs", at: "/sys", flags: CLOSED, options: "", needed: true },
    Mount { kind: "devtmpfs", at: "/dev", flags: DEVICES, options: "mode=755", needed: true },
];

/// After these, a live boot has entered its root.
const MORE: &[Mount] = &[
    Mount {
        kind: "devpts",
        at: "/dev/pts",
        flags: DEVICES,
        options: "mode=620,gid=5,ptmxmode=666",
        needed: true,
    },
    Mount { kind: "tmpfs", at: "/dev/shm", flags: MEMORY, options: "mode=1777", needed: true },
    Mount { kind: "mqueue", at: "/dev/mqueue", flags: CLOSED, options: "", needed: false },
    Mount {
        kind: "tmpfs",
        at: "/run",
        flags: MEMORY,
        options: "mode=755,size=20%,nr_inodes=800k",
        needed: true,
    },
    Mount {
        kind: "tmpfs",
        at: "/tmp",
        flags: MEMORY,
        options: "mode=1777,size=50%,nr_inodes=1m",
        needed: true,
    },
    Mount {
        kind: "cgroup2",
        at: "/sys/fs/cgroup",
        flags: CLOSED,
        options: "nsdelegate,memory_recursiveprot",
        needed: true,
    },
    Mount { kind: "securityfs", at: "/sys/kernel/security", flags: CLOSED, options: "", needed: false },
    Mount { kind: "bpf", at: "/sys/fs/bpf", flags: CLOSED, options: "mode=700", needed: false },
    Mount { kind: "efivarfs", at: "/sys/firmware/efi/efivars", flags: CLOSED, options: "", needed: false },
];

/// Links in /dev that programs expect.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts /proc, /sys and /dev: enough to speak and to find disks.
pub fn mount_all() {
    for entry in MOUNTS {
        mount_one(entry);
    }
    // Else the kernel drops what comes faster than two lines a second, and until the journal runs it all goes there.
    let _ = fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    // Ten datagrams may wait for a reader who is still starting; systemd lets it be as many.
    let _ = fs::write("/proc/sys/net/unix/max_dgram_qlen", "512\n");
}

/// Mounts the rest and makes the folders that everybody expects in them.
pub fn unpack_more() {
    for entry in MORE {
        mount_one(entry);
    }
    for (target, link) in LINKS {
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                log::say(Level::Warning, None, &format!("Cannot link {link}: {error}"));
            }
            _ => {}
        }
    }
    for folder in ["/run/systemd/system", "/run/systemd/journal", "/run/corten", "/run/lock"] {
        if let Err(error) = fs::create_dir_all(folder) {
            log::say(Level::Error, None, &format!("Cannot make {folder}: {error}"));
        }
    }
}

fn mount_one(entry: &Mount) {
    if !entry.needed && !Path::new(entry.at).is_dir() {
        // Kernel file systems make their own folders; devpts' siblings need one made.
        if !entry.at.starts_with("/dev/") || fs::create_dir(entry.at).is_err() {
            return;
        }
    }
    if is_mount_point(Path::new(entry.at)) {
        return;
    }
    // In an initramfs or on devtmpfs the folder may be missing; on a read-only root it is there.
    let _ = fs::create_dir(entry.at);
    let options = std::ffi::CString::new(entry.options).unwrap_or_default();
    let mut result = mount(entry.kind, entry.at, entry.kind, entry.flags | NONE, Some(options.as_c_str()));
    if result.is_err() && !entry.options.is_empty() {
        // An older kernel may lack an option.
        result = mount(entry.kind, entry.at, entry.kind, entry.flags, None);
    }
    if let Err(error) = result {
        let level = if entry.needed { Level::Critical } else { Level::Debug };
        log::say(level, None, &format!("Cannot mount {} at {}: {error}", entry.kind, entry.at));
    }
}

/// Whether something is mounted here: its device differs from its parent's, or it is the root.
pub fn is_mount_point(path: &Path) -> bool {
    let Ok(here) = fs::symlink_metadata(path) else { return false };
    let Ok(above) = fs::metadata(path.join("..")) else { return false };
    here.is_dir() && (here.dev() != above.dev() || here.ino() == above.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_seen() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(is_mount_point(Path::new("/")));
        assert!(!is_mount_point(Path::new("/proc/self/task")));
        assert!(!is_mount_point(Path::new("/no/such/folder")));
    }
}
