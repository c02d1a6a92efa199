//! A whole Debian as a root tree: what `mmdebstrap` makes of Debian's packages, their scripts run and their own units
//! as they are. Made once for every list of packages, and kept outside of the checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the tree is of: daemons with units of their own, their clients, and busybox for a request over HTTP.
const PACKAGES: &str = "systemd dbus nginx postgresql openssh-server openssh-client etcd-server etcd-client cron \
                        redis-server chrony containerd docker.io runc busybox-static";
const SUITE: &str = "bookworm";
/// What takes room, and no daemon reads.
const LEFT_OUT: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/var/cache/apt/*"];

/// The tree, made if it is not there.
pub fn tree() -> PathBuf {
    let cache = std::env::var_os("CORTEN_CACHE").map_or_else(
        || Path::new(&std::env::var_os("HOME").expect("HOME")).join(".cache/corten"),
        PathBuf::from,
    );
    let folder = cache.join("debian");
    fs::create_dir_all(&folder).unwrap();
    // One makes it, others wait.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let name = format!("{SUITE}-{:08x}", crc32fast::hash(format!("{PACKAGES}{LEFT_OUT:?}").as_bytes()));
    let tree = folder.join(&name);
    if tree.join("usr/bin").is_dir() {
        return tree;
    }
    let new = folder.join(format!("{name}.new"));
    let _ = fs::remove_dir_all(&new);
    let mut command = Command::new("mmdebstrap");
    command.args(["--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io"]);
    command.args(LEFT_OUT.map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
    command.arg(format!("--include={}", PACKAGES.split_whitespace().collect::<Vec<_>>().join(",")));
    let status = command.arg(SUITE).arg(&new).status().expect("mmdebstrap is one of ci/packages");
    assert!(status.success(), "mmdebstrap could not make a tree of Debian in {}", new.display());
    fs::rename(&new, &tree).unwrap();
    tree
}
