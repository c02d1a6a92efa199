//! Delegate=: a part of the cgroup tree is handed to the unit (cgroups(7), "Delegation").

use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use rustix::fs::{XattrFlags, setxattr};
use unit::Spawn;

use super::{Failure, status};

const ROOT: &str = "/sys/fs/cgroup";
/// The files that who manages a cgroup must be able to write.
const FILES: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];

/// Lets the unit's user manage its own cgroup. Its limits stay PID 1's.
pub fn hand_over(spawn: &Spawn, uid: u32, gid: u32) -> Result<(), Failure> {
    if !spawn.resources.delegate {
        return Ok(());
    }
    let folder = Path::new(ROOT).join(spawn.cgroup.trim_start_matches('/'));
    let failed = |error: io::Error| {
        Failure::new(status::CGROUP, format!("cannot hand over {}", folder.display()), error)
    };
    // Only a mark for others; a file system without extended attributes is fine.
    let _ = setxattr(&folder, "trusted.delegate", b"1", XattrFlags::empty());
    if uid == 0 {
        return Ok(());
    }
    chown(&folder, Some(uid), Some(gid)).map_err(failed)?;
    for file in FILES {
        match chown(folder.join(file), Some(uid), Some(gid)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => result.map_err(failed)?,
        }
    }
    Ok(())
}
