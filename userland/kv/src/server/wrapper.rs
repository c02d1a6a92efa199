//! `etcd-wrapper`: what CoreOS' units start. It makes the data directory, becomes the user that ETCD_USER names, and
//! is `etcd` from then on.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use accounts::{Accounts, Identity};

/// Becomes the user and runs the member.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match become_user() {
        Ok(()) => super::main(args),
        Err(error) => {
            eprintln!("etcd-wrapper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn become_user() -> Result<(), String> {
    let data = std::env::var_os("ETCD_DATA_DIR").map(PathBuf::from);
    if let Some(data) = &data {
        fs::create_dir_all(data).map_err(|error| format!("{}: {error}", data.display()))?;
    }
    let Some(name) = std::env::var("ETCD_USER").ok().filter(|name| !name.is_empty()) else { return Ok(()) };
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let all = Accounts::read(Path::new("/etc")).map_err(|error| error.to_string())?;
    let user = all.user(&name).ok_or_else(|| format!("ETCD_USER: there is no user {name:?}"))?;
    if let Some(data) = &data {
        hand_over(data, user.uid, user.gid).map_err(|error| format!("{}: {error}", data.display()))?;
    }
    let identity = Identity { uid: user.uid, groups: all.groups_of(user) };
    identity.assume().map_err(|error| format!("cannot become user {name}: {error}"))
}

/// Gives a directory with all that is in it to a user.
fn hand_over(path: &Path, uid: u32, gid: u32) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            hand_over(&entry?.path(), uid, gid)?;
        }
        chown(path, Some(uid), Some(gid))?;
    } else {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    }
    Ok(())
}
