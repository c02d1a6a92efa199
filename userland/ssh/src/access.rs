//! Who may log in: a user of this machine, with a key from one of the files that may hold it.
//!
//! For the user's own files the rule of sshd_config(5)'s StrictModes holds: they belong to the user or
//! to root, and nobody else may write them. An unknown user and a wrong key look the same from outside.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use accounts::{Accounts, User};
use russh::keys::PublicKey;

use crate::authorized::{Key, Rights};

/// The most bytes of a file of keys that are read.
const MOST: u64 = 1 << 20;
/// The most files that are read in `authorized_keys.d`.
const MOST_FILES: usize = 256;

/// Where users and keys are found.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    /// The folder of `passwd` and `group`.
    pub(crate) etc: PathBuf,
    /// Keys for every user who may log in.
    pub(crate) for_all: PathBuf,
}

/// Someone who may come in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// Who it is.
    pub(crate) user: User,
    /// The groups, the own one first.
    pub(crate) groups: Vec<u32>,
    /// What the key allows.
    pub(crate) rights: Rights,
}

impl Doors {
    /// Lets `name` in with `key` from `peer`, or not.
    pub(crate) fn login(&self, name: &str, key: &PublicKey, peer: IpAddr) -> Option<Login> {
        let accounts = match Accounts::read(&self.etc) {
            Ok(accounts) => accounts,
            Err(error) => {
                eprintln!("sshd: {error}");
                return None;
            }
        };
        let user = accounts.user(name).filter(|user| may_log_in(user))?;
        let rights = self.rights(user, key, peer)?;
        Some(Login { groups: accounts.groups_of(user), user: user.clone(), rights })
    }

    /// What the first line that holds the key allows.
    fn rights(&self, user: &User, key: &PublicKey, peer: IpAddr) -> Option<Rights> {
        let ssh = user.home.join(".ssh");
        let mut own: Vec<PathBuf> = fs::read_dir(ssh.join("authorized_keys.d"))
            .map(|files| files.take(MOST_FILES).flatten().map(|file| file.path()).collect())
            .unwrap_or_default();
        own.sort();
        own.insert(0, ssh.join("authorized_keys"));
        let own = own.into_iter().map(|path| (path, user.uid));
        for (path, owner) in own.chain([(self.for_all.clone(), 0)]) {
            let text = match read(&path, owner) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    eprintln!("sshd: {}: {error}", path.display());
                    continue;
                }
            };
            for (number, line) in text.lines().enumerate() {
                match Key::parse(line) {
                    Ok(Some(known)) if known.key.key_data() == key.key_data() => {
                        if known.may_come_from(peer) {
                            return Some(known.rights);
                        }
                        eprintln!("sshd: {}: line {}: not from {peer}", path.display(), number + 1);
                    }
                    Ok(_) => {}
                    Err(error) => eprintln!("sshd: {}: line {}: {error}", path.display(), number + 1),
                }
            }
        }
        None
    }
}

/// Users whose shell says that they may not log in, may not.
fn may_log_in(user: &User) -> bool {
    !matches!(user.shell.file_name().and_then(|name| name.to_str()), Some("nologin" | "false") | None)
}

/// Reads a file of keys that `owner` or root, and no one else, may write.
fn read(path: &Path, owner: u32) -> io::Result<String> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("not a regular file; it is not used"));
    }
    let root_of_this_machine = rustix::process::geteuid().as_raw();
    if ![owner, 0, root_of_this_machine].contains(&about.uid()) || about.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write it; it is not used until chmod go-w and chown"));
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn machine() -> (tempfile::TempDir, Doors) {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let home = root.path().join("home");
        fs::create_dir_all(home.join(".ssh/authorized_keys.d")).unwrap();
        let home = home.display();
        let passwd = format!("core:x:{uid}:500::{home}:/bin/bash\nlocked:x:7:7::{home}:/sbin/nologin\n");
        fs::write(etc.join("passwd"), passwd).unwrap();
        fs::write(etc.join("group"), "sudo:x:150:core\n").unwrap();
        let doors = Doors { etc, for_all: root.path().join("for_all") };
        (root, doors)
    }

    fn enter(doors: &Doors, name: &str) -> Option<Login> {
        doors.login(name, &PublicKey::from_openssh(KEY).unwrap(), "192.0.2.1".parse().unwrap())
    }

    #[test]
    fn a_key_in_any_of_the_three_places_lets_in() {
        let (root, doors) = machine();
        assert!(enter(&doors, "core").is_none());
        for place in ["home/.ssh/authorized_keys", "home/.ssh/authorized_keys.d/cloud-config", "for_all"] {
            let path = root.path().join(place);
            fs::write(&path, format!("# mine\nno-pty {KEY} me\n")).unwrap();
            let login = enter(&doors, "core").unwrap_or_else(|| panic!("{place}"));
            assert_eq!(login.groups, [500, 150]);
            assert!(!login.rights.pty);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn unknown_users_and_those_without_a_shell_stay_outside() {
        let (root, doors) = machine();
        fs::write(root.path().join("for_all"), KEY).unwrap();
        assert!(enter(&doors, "core").is_some());
        assert!(enter(&doors, "locked").is_none());
        assert!(enter(&doors, "mallory").is_none());
        assert!(enter(&doors, "").is_none());
    }

    #[test]
    fn a_file_that_others_may_write_is_not_used() {
        let (root, doors) = machine();
        let path = root.path().join("home/.ssh/authorized_keys");
        fs::write(&path, KEY).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(enter(&doors, "core").is_none());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(enter(&doors, "core").is_some());
    }

    #[test]
    fn a_line_for_elsewhere_does_not_hide_a_later_one() {
        let (root, doors) = machine();
        let lines = format!("from=\"198.51.100.1\" {KEY}\nbroken line\n{KEY}\n");
        fs::write(root.path().join("for_all"), lines).unwrap();
        assert_eq!(enter(&doors, "core").unwrap().rights, Rights::ALL);
    }
}
