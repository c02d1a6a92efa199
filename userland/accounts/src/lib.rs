//! Users and groups: `/etc/passwd` and `/etc/group`, read without glibc's name service switch, which a
//! static binary must not use.
//!
//! Users that are there only while a service runs are in none of the files: see `dynamic`.
//!
//! Source: passwd(5), group(5). A line that is not well formed is skipped, as glibc does; a file that
//! is too big to be meant is an error. Nothing is cached: the files are small and may change.

pub mod dynamic;
mod identity;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use identity::Identity;

/// The most bytes of a file that are read: a million bytes is some ten thousand users.
const MOST: u64 = 1 << 20;

/// Why the users or groups could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is larger than any such file should be.
    #[error("{path}: larger than {MOST} bytes; is this a list of users or groups?")]
    TooBig {
        /// The file.
        path: PathBuf,
    },
}

/// A user: one line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The number of the user's own group.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell; `/bin/sh` if the file names none.
    pub shell: PathBuf,
}

/// A group: one line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The group's name.
    pub name: String,
    /// The group's number.
    pub gid: u32,
    /// The names of the users in it, besides those whose own group it is.
    pub members: Vec<String>,
}

/// The users and groups of a machine, as they were when they were read.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Accounts {
    /// Reads `passwd` and `group` in the folder `etc`. A missing group file is an empty one.
    ///
    /// # Errors
    /// When a file cannot be read or is too big.
    pub fn read(etc: &Path) -> Result<Accounts, Error> {
        let users = read(&etc.join("passwd"))?;
        let groups = match read(&etc.join("group")) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        Ok(Accounts::parse(&users, &groups))
    }

    /// All that are known on this machine: those of `/etc`, and those that are there only while a service runs.
    /// For showing names; who may log in is in a file.
    ///
    /// # Errors
    /// When a file cannot be read or is too big.
    pub fn of_this_machine() -> Result<Accounts, Error> {
        Ok(Accounts::read(Path::new("/etc"))?.with_dynamic(Path::new(dynamic::FOLDER)))
    }

    /// These, and behind them the users of DynamicUser= that the folder tells of.
    #[must_use]
    pub fn with_dynamic(mut self, folder: &Path) -> Accounts {
        for (user, group) in dynamic::all(folder) {
            self.users.push(user);
            self.groups.push(group);
        }
        self
    }

    /// The accounts in the text of the two files.
    pub fn parse(passwd: &str, group: &str) -> Accounts {
        Accounts {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(self::group).collect(),
        }
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// The user with this number.
    pub fn user_by_id(&self, uid: u32) -> Option<&User> {
        self.users.iter().find(|user| user.uid == uid)
    }

    /// The group of this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// The group with this number.
    pub fn group_by_id(&self, gid: u32) -> Option<&Group> {
        self.groups.iter().find(|group| group.gid == gid)
    }

    /// The numbers of all groups that `user` is in: the own one first, each once.
    pub fn groups_of(&self, user: &User) -> Vec<u32> {
        let mut all = vec![user.gid];
        for group in &self.groups {
            if group.members.contains(&user.name) && !all.contains(&group.gid) {
                all.push(group.gid);
            }
        }
        all
    }

    /// Whether `user` is in the group called `name`.
    pub fn is_member(&self, user: &User, name: &str) -> bool {
        self.groups
            .iter()
            .any(|group| group.name == name && (group.gid == user.gid || group.members.contains(&user.name)))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(MOST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST {
        return Err(Error::TooBig { path: path.to_owned() });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `name:password:uid:gid:comment:home:shell`
fn user(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields.as_slice() else { return None };
    if name.is_empty() || name.starts_with(['#', '+', '-']) {
        return None;
    }
    Some(User {
        name: (*name).to_owned(),
        uid: number(uid)?,
        gid: number(gid)?,
        home: PathBuf::from(if home.is_empty() { "/" } else { home }),
        shell: PathBuf::from(if shell.is_empty() { "/bin/sh" } else { shell }),
    })
}

/// `name:password:gid:member,member`
fn group(line: &str) -> Option<Group> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields.as_slice() else { return None };
    if name.is_empty() || name.starts_with(['#', '+', '-']) {
        return None;
    }
    Some(Group {
        name: (*name).to_owned(),
        gid: number(gid)?,
        members: members.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    })
}

/// A user's or group's number; the all-ones number means "none" to the kernel and is nobody's.
fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        core:x:500:500:CoreOS Admin:/home/core:/bin/bash\n\
        # a comment:x:1:1::/:/bin/sh\n\
        broken:x:five:5::/:/bin/sh\n\
        nobody:x:65534:65534:::\n\
        minus:x:4294967295:1::/:/bin/sh\n";
    const GROUP: &str =
        "root:x:0:\ncore:x:500:\nsudo:x:150:core,ghost\ndocker:x:233:core\nbad:x\nwheel:x:10:\n";

    #[test]
    fn users_and_their_groups_are_found() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        let core = accounts.user("core").unwrap();
        assert_eq!((core.uid, core.gid, core.home.to_str()), (500, 500, Some("/home/core")));
        assert_eq!(accounts.groups_of(core), [500, 150, 233]);
        assert!(accounts.is_member(core, "sudo"));
        assert!(accounts.is_member(core, "core"));
        assert!(!accounts.is_member(core, "wheel"));
        assert_eq!(accounts.user_by_id(0).unwrap().name, "root");
        assert_eq!(accounts.group("sudo").unwrap().gid, 150);
        assert_eq!(accounts.group_by_id(233).unwrap().name, "docker");
    }

    #[test]
    fn lines_that_are_not_well_formed_are_skipped() {
        let accounts = Accounts::parse(PASSWD, GROUP);
        for name in ["broken", "# a comment", "minus", "ghost"] {
            assert_eq!(accounts.user(name), None, "{name}");
        }
        assert_eq!(accounts.group("bad"), None);
        let nobody = accounts.user("nobody").unwrap();
        assert_eq!((nobody.home.to_str(), nobody.shell.to_str()), (Some("/"), Some("/bin/sh")));
    }

    #[test]
    fn a_missing_group_file_is_empty_and_a_huge_passwd_is_refused() {
        let etc = tempfile::tempdir().unwrap();
        assert!(matches!(Accounts::read(etc.path()), Err(Error::Read { .. })));
        std::fs::write(etc.path().join("passwd"), PASSWD).unwrap();
        assert!(Accounts::read(etc.path()).unwrap().user("core").is_some());
        std::fs::write(etc.path().join("passwd"), vec![b'x'; MOST as usize + 1]).unwrap();
        assert!(matches!(Accounts::read(etc.path()), Err(Error::TooBig { .. })));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_failing(passwd in "(\\PC|[:\n])*", group in "(\\PC|[:\n,])*") {
            let accounts = Accounts::parse(&passwd, &group);
            for user in &accounts.users {
                prop_assert!(!accounts.groups_of(user).is_empty());
            }
        }
    }
}
