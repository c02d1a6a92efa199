//! The text of passwd(5), group(5) and shadow(5), with users added to it.
//!
//! Pure: the caller reads, locks and writes. Lines that are not touched stay as they are, and a user
//! who is there already is not made again, so that every boot may say the same.

use crate::plan::User;

/// Numbers of people and of system users, as in login.defs(5).
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=60000;
const SYSTEM: std::ops::RangeInclusive<u32> = 100..=999;
/// The group of users without one of their own.
const USERS: &str = "users";

/// The three files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// passwd(5).
    pub passwd: String,
    /// group(5).
    pub group: String,
    /// shadow(5).
    pub shadow: String,
}

/// A user as passwd(5) has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The user's number.
    pub uid: u32,
    /// The primary group's number.
    pub gid: u32,
    /// The home directory.
    pub home: String,
}

/// Why a user cannot be made, or not as asked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// All numbers are taken.
    #[error("no free number is left for {0}")]
    Full(String),
    /// The primary group is not there.
    #[error("the group {0} does not exist; the user is left out")]
    PrimaryGroup(String),
    /// A further group is not there.
    #[error("the group {0} does not exist; the user is made without it")]
    Group(String),
    /// The hash would break the file, or let nobody in.
    #[error("passwd must be a hash as crypt(5) writes it, like $6$…; it is left out")]
    Hash,
}

fn fields(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

impl Accounts {
    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<Entry> {
        fields(&self.passwd).find(|f| f.first() == Some(&name)).and_then(|f| {
            Some(Entry {
                uid: f.get(2)?.parse().ok()?,
                gid: f.get(3)?.parse().ok()?,
                home: (*f.get(5)?).to_owned(),
            })
        })
    }

    /// The number of the group of this name.
    pub fn group_number(&self, name: &str) -> Option<u32> {
        fields(&self.group).find(|f| f.first() == Some(&name)).and_then(|f| f.get(2)?.parse().ok())
    }

    /// Makes the user, or sets the password of the one that is there. Returns what could not be done.
    pub fn ensure(&mut self, user: &User) -> Vec<Error> {
        let mut errors = Vec::new();
        if self.user(&user.name).is_none()
            && let Err(fatal) = self.add(user, &mut errors)
        {
            return vec![fatal];
        }
        if let Some(hash) = &user.password_hash {
            if hash.len() < 512 && hash.bytes().all(|b| b.is_ascii_graphic() && b != b':') && !hash.is_empty()
            {
                self.set_hash(&user.name, hash);
            } else {
                errors.push(Error::Hash);
            }
        }
        errors
    }

    fn add(&mut self, user: &User, errors: &mut Vec<Error>) -> Result<(), Error> {
        let range = if user.system { SYSTEM } else { PEOPLE };
        let taken: Vec<u32> =
            fields(&self.passwd).chain(fields(&self.group)).filter_map(|f| f.get(2)?.parse().ok()).collect();
        // System users count down, people up, as with useradd(8).
        let mut free: Box<dyn Iterator<Item = u32>> =
            if user.system { Box::new(range.rev()) } else { Box::new(range) };
        let uid = free.find(|n| !taken.contains(n)).ok_or_else(|| Error::Full(user.name.clone()))?;
        let missing = |name: &str| Error::PrimaryGroup(name.to_owned());
        let gid = match &user.primary_group {
            Some(name) => self
                .group_number(name)
                .or_else(|| name.parse().ok().filter(|gid| taken.contains(gid)))
                .ok_or_else(|| missing(name))?,
            None if user.no_user_group => self.group_number(USERS).ok_or_else(|| missing(USERS))?,
            None => match self.group_number(&user.name) {
                Some(gid) => gid,
                None => {
                    append(&mut self.group, &format!("{}:x:{uid}:", user.name));
                    uid
                }
            },
        };
        let home = user.home.clone().unwrap_or_else(|| format!("/home/{}", user.name));
        let shell = user.shell.as_deref().unwrap_or("/bin/bash");
        let (name, gecos) = (&user.name, &user.gecos);
        append(&mut self.passwd, &format!("{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}"));
        // No password opens it; keys do.
        append(&mut self.shadow, &format!("{name}:*::0:99999:7:::"));
        for group in &user.groups {
            if !self.join(name, group) {
                errors.push(Error::Group(group.clone()));
            }
        }
        Ok(())
    }

    /// Adds the user to the group's members. False if there is no such group.
    fn join(&mut self, user: &str, group: &str) -> bool {
        let mut found = false;
        self.group = map_lines(&self.group, |line| {
            let mut f: Vec<&str> = line.split(':').collect();
            if f.first() != Some(&group) || f.len() != 4 {
                return line.to_owned();
            }
            found = true;
            let mut members: Vec<&str> = f[3].split(',').filter(|m| !m.is_empty()).collect();
            if !members.contains(&user) {
                members.push(user);
            }
            let members = members.join(",");
            f[3] = &members;
            f.join(":")
        });
        found
    }

    fn set_hash(&mut self, user: &str, hash: &str) {
        let mut found = false;
        self.shadow = map_lines(&self.shadow, |line| {
            let mut f: Vec<&str> = line.split(':').collect();
            if f.first() != Some(&user) || f.len() < 2 {
                return line.to_owned();
            }
            found = true;
            f[1] = hash;
            f.join(":")
        });
        if !found {
            append(&mut self.shadow, &format!("{user}:{hash}::0:99999:7:::"));
        }
    }
}

fn append(text: &mut String, line: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
    text.push('\n');
}

fn map_lines(text: &str, mut change: impl FnMut(&str) -> String) -> String {
    text.lines().map(|line| change(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/bash\ncore:x:500:500:CoreOS Admin:/home/core:/bin/bash\n"
                .into(),
            group: "root:x:0:\ncore:x:500:\nsudo:x:27:core\ndocker:x:233:\nusers:x:100:".into(),
            shadow: "root:*:::::::\ncore:*:::::::\n".into(),
        }
    }

    fn user(name: &str) -> User {
        User { name: name.into(), ..User::default() }
    }

    #[test]
    fn a_user_is_made_once() {
        let mut a = accounts();
        let elroy = User {
            groups: vec!["sudo".into(), "docker".into()],
            password_hash: Some("$6$salt$hash".into()),
            ..user("elroy")
        };
        assert_eq!(a.ensure(&elroy), []);
        assert!(a.passwd.ends_with("elroy:x:1000:1000::/home/elroy:/bin/bash\n"), "{}", a.passwd);
        assert!(a.group.contains("sudo:x:27:core,elroy\n") && a.group.contains("docker:x:233:elroy\n"));
        assert!(a.group.ends_with("users:x:100:\nelroy:x:1000:\n") || a.group.contains("elroy:x:1000:\n"));
        assert!(a.shadow.ends_with("elroy:$6$salt$hash::0:99999:7:::\n"), "{}", a.shadow);
        let once = a.clone();
        assert_eq!(a.ensure(&elroy), []);
        assert_eq!(a, once);
    }

    #[test]
    fn of_a_user_who_is_there_only_the_password_changes() {
        let mut a = accounts();
        let core =
            User { password_hash: Some("$6$x".into()), shell: Some("/bin/false".into()), ..user("core") };
        assert_eq!(a.ensure(&core), []);
        assert_eq!(a.passwd, accounts().passwd);
        assert!(a.shadow.contains("core:$6$x:::::::\n"), "{}", a.shadow);
    }

    #[test]
    fn system_users_and_groups() {
        let mut a = accounts();
        let daemon = User { system: true, primary_group: Some("docker".into()), ..user("daemon1") };
        assert_eq!(a.ensure(&daemon), []);
        assert_eq!(a.user("daemon1").map(|e| (e.uid, e.gid)), Some((999, 233)));
        let plain = User { no_user_group: true, ..user("plain") };
        assert_eq!(a.ensure(&plain), []);
        assert_eq!(a.user("plain").map(|e| e.gid), Some(100));
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        let mut a = accounts();
        let lost = User { primary_group: Some("nowhere".into()), ..user("lost") };
        assert_eq!(a.ensure(&lost), [Error::PrimaryGroup("nowhere".into())]);
        assert_eq!(a, accounts());
        let half =
            User { groups: vec!["nowhere".into()], password_hash: Some("a:0:0".into()), ..user("half") };
        assert_eq!(a.ensure(&half), [Error::Group("nowhere".into()), Error::Hash]);
        assert!(a.shadow.contains("half:*:"));
    }
}
