//! DynamicUser=: a user that is there while a unit runs, with a number that nobody else has.
//!
//! Numbers are 61184 to 65519, as systemd's. The one that already owns the unit's state is asked for first, then one
//! made from the name, so that a service that comes back finds its files its own. A name is kept in
//! `/run/systemd/dynamic-uid`, and in `/run/userdb` for whoever looks users up there (systemd's JSON user records).

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use unit::settings::{DirectoryKind, ExecSettings};

use super::runtime;
use crate::users::{User, Users};

const FOLDER: &str = "/run/systemd/dynamic-uid";
const RECORDS: &str = "/run/userdb";
const FIRST: u32 = 61_184;
const LAST: u32 = 65_519;
const NO_LOGIN: &str = "/usr/sbin/nologin";

/// The user of this name: the number that it has, or a free one.
pub fn take(name: &str, exec: &ExecSettings, users: &Users) -> io::Result<User> {
    let _lock = lock()?;
    let uid = match held(name) {
        Some(uid) => uid,
        None => {
            let uid = candidates(name, exec)
                .find(|uid| is_free(*uid, users))
                .ok_or_else(|| io::Error::from(ErrorKind::QuotaExceeded))?;
            symlink(uid.to_string(), by_name(name))?;
            symlink(name, by_number(uid))?;
            record(name, uid);
            uid
        }
    };
    Ok(User { name: name.to_owned(), uid, gid: uid, home: "/".into(), shell: NO_LOGIN.into() })
}

/// Lets go of a number, unless another unit still uses it.
pub fn release(uid: u32) {
    let Ok(_lock) = lock() else { return };
    if runtime::users_in_use().contains(&uid) {
        return;
    }
    if let Ok(name) = fs::read_link(by_number(uid)) {
        let name = name.to_string_lossy().into_owned();
        for path in [by_name(&name), by_number(uid)].into_iter().chain(records(&name, uid)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Every user that is there now: numbers and names.
pub fn all() -> Vec<(u32, String)> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let user = |entry: fs::DirEntry| {
        let uid = entry.file_name().to_str()?.strip_prefix("direct:")?.parse().ok()?;
        Some((uid, fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
    };
    entries.filter_map(user).collect()
}

fn lock() -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o755).create(FOLDER)?;
    let folder = File::open(FOLDER)?;
    flock(&folder, FlockOperation::LockExclusive)?;
    Ok(folder)
}

fn by_name(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("direct:{name}"))
}

fn by_number(uid: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("direct:{uid}"))
}

fn held(name: &str) -> Option<u32> {
    fs::read_link(by_name(name)).ok()?.to_str()?.parse().ok()
}

fn is_free(uid: u32, users: &Users) -> bool {
    let taken = users.has_number(uid);
    !taken && fs::symlink_metadata(by_number(uid)).is_err()
}

/// The owners of the unit's directories, then every number, beginning with the name's own.
fn candidates(name: &str, exec: &ExecSettings) -> impl Iterator<Item = u32> {
    let kept = exec.directories.iter().filter(|set| set.kind != DirectoryKind::Configuration);
    let owners: Vec<u32> = kept
        .flat_map(|set| set.names.iter().map(|name| Path::new(set.kind.parent()).join("private").join(name)))
        .filter_map(|path| Some(fs::symlink_metadata(path).ok()?.uid()))
        .filter(|uid| (FIRST..=LAST).contains(uid))
        .collect();
    let count = LAST - FIRST + 1;
    let begin =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    owners.into_iter().chain((0..count).map(move |step| FIRST + (begin % count + step) % count))
}

fn records(name: &str, uid: u32) -> [PathBuf; 4] {
    let file = |name: String| Path::new(RECORDS).join(name);
    [
        file(format!("{name}.user")),
        file(format!("{name}.group")),
        file(format!("{uid}.user")),
        file(format!("{uid}.group")),
    ]
}

/// Tells others of the user. Nothing depends on it.
fn record(name: &str, uid: u32) {
    let _ = DirBuilder::new().recursive(true).mode(0o755).create(RECORDS);
    let [user, group, user_by_number, group_by_number] = records(name, uid);
    let text = format!(
        "{{\"userName\":\"{name}\",\"uid\":{uid},\"gid\":{uid},\"homeDirectory\":\"/\",\"shell\":\"{NO_LOGIN}\",\
         \"locked\":true,\"service\":\"io.systemd.DynamicUser\",\"disposition\":\"dynamic\"}}\n"
    );
    let _ = fs::write(&user, text);
    let text = format!(
        "{{\"groupName\":\"{name}\",\"gid\":{uid},\"service\":\"io.systemd.DynamicUser\",\"disposition\":\"dynamic\"}}\n"
    );
    let _ = fs::write(&group, text);
    let _ = symlink(format!("{name}.user"), user_by_number);
    let _ = symlink(format!("{name}.group"), group_by_number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_tried_once_and_the_first_is_the_names_own() {
        let exec = ExecSettings::default();
        let mut all: Vec<u32> = candidates("x", &exec).collect();
        assert_eq!(candidates("x", &exec).next(), all.first().copied());
        assert_ne!(candidates("y", &exec).next(), all.first().copied());
        all.sort_unstable();
        all.dedup();
        assert_eq!((all.first(), all.last(), all.len()), (Some(&FIRST), Some(&LAST), 4336));
    }
}
