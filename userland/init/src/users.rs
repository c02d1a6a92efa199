//! Users and groups from `/etc/passwd` and `/etc/group` (passwd(5), group(5)), without the C library's name service.

use std::fs;
use std::path::{Path, PathBuf};

/// A line of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The main group.
    pub gid: u32,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell; `/bin/sh` if the line names none.
    pub shell: String,
}

/// A line of `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The users and groups of a system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    users: Vec<User>,
    groups: Vec<Group>,
}

impl Users {
    /// Reads the two files below a root; what cannot be read counts as empty, bad lines are skipped.
    #[must_use]
    pub fn read(root: &Path) -> Users {
        let text = |name: &str| {
            fs::read(root.join("etc").join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        Users::parse(&text("passwd").unwrap_or_default(), &text("group").unwrap_or_default())
    }

    /// Takes in the texts of the two files.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Users {
        Users {
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(group_of).collect(),
        }
    }

    /// Every user, in the file's order.
    pub fn all(&self) -> impl Iterator<Item = &User> {
        self.users.iter()
    }

    /// A user that has a line, by name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Whether a user or a group has this number.
    #[must_use]
    pub fn has_number(&self, number: u32) -> bool {
        self.users.iter().any(|user| user.uid == number || user.gid == number)
            || self.groups.iter().any(|group| group.gid == number)
    }

    /// A user by name or number. Root is known even without a file, a number even without a line.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<User> {
        let number = name.parse().ok();
        let line = self.users.iter().find(|user| user.name == name || Some(user.uid) == number);
        let made = |uid: u32, name: &str, home: &str| User {
            name: name.to_owned(),
            uid,
            gid: uid,
            home: home.into(),
            shell: "/bin/sh".into(),
        };
        line.cloned().or_else(|| match number {
            Some(0) => Some(made(0, "root", "/root")),
            Some(uid) => Some(made(uid, name, "/")),
            None => (name == "root").then(|| made(0, "root", "/root")),
        })
    }

    /// A group's number by name or number.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<u32> {
        let line = self.groups.iter().find(|group| group.name == name).map(|group| group.gid);
        line.or_else(|| name.parse().ok()).or_else(|| (name == "root").then_some(0))
    }

    /// The groups that list this user as a member, besides its main one.
    #[must_use]
    pub fn groups_of(&self, name: &str) -> Vec<u32> {
        self.groups
            .iter()
            .filter(|group| group.members.iter().any(|m| m == name))
            .map(|group| group.gid)
            .collect()
    }
}

fn user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let _password = fields.next()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let _comment = fields.next()?;
    let home = fields.next()?.into();
    let shell = fields.next().filter(|shell| !shell.is_empty()).unwrap_or("/bin/sh");
    Some(User { name: name.to_owned(), uid, gid, home, shell: shell.to_owned() })
}

fn group_of(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let _password = fields.next()?;
    let gid = fields.next()?.parse().ok()?;
    let members = fields.next().unwrap_or_default().split(',').filter(|member| !member.is_empty());
    Some(Group { name: name.to_owned(), gid, members: members.map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_members() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\n#x\nbad line\ncore:x:500:500:Core:/home/core:\n:x:1:1::/:\n";
        let users =
            Users::parse(passwd, "wheel:x:10:root,core\ncore:x:500:\ndocker:x:233:core\nbad:x:y:core\n");
        let core = users.user("core").unwrap();
        assert_eq!((core.uid, core.gid, core.shell.as_str()), (500, 500, "/bin/sh"));
        assert_eq!(users.user("500").unwrap().name, "core");
        assert_eq!(users.user("nobody"), None);
        assert_eq!(users.user("77").unwrap().uid, 77);
        assert_eq!(users.groups_of("core"), [10, 233]);
        assert_eq!((users.group("wheel"), users.group("12"), users.group("bad")), (Some(10), Some(12), None));
        assert_eq!(Users::default().user("root").unwrap().uid, 0);
    }
}
