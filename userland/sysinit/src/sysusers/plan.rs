//! From lines to users and groups with numbers.
//!
//! Numbers come from 999 downward, as systemd and adduser(8) have it: what is fixed by hand grows from below.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::files::{Database, NewUser};
use super::line::{Entry, MainGroup, Number};

/// Numbers for system users, where no line says otherwise: Debian's and systemd's.
const SYSTEM: (u32, u32) = (100, 999);
const NO_LOGIN: &str = "/usr/sbin/nologin";

/// A user that lines ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    number: Number,
    group: Option<MainGroup>,
    comment: String,
    home: Option<String>,
    shell: Option<String>,
}

/// Everything that lines ask for, in their order.
#[derive(Debug, Default)]
pub struct Wanted {
    users: Vec<User>,
    groups: Vec<(String, Number)>,
    members: Vec<(String, String)>,
    ranges: Vec<(u32, u32)>,
}

impl Wanted {
    /// Adds what a line asks for; one that says otherwise of the same name is refused.
    pub fn add(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::User { name, number, group, comment, home, shell } => {
                let user = User { name, number, group, comment, home, shell };
                match self.users.iter().find(|known| known.name == user.name) {
                    None => self.users.push(user),
                    Some(known) if *known == user => {}
                    Some(_) => return Err(format!("another line says otherwise of user {}", user.name)),
                }
            }
            Entry::Group { name, number } => match self.groups.iter().find(|(known, _)| *known == name) {
                None => self.groups.push((name, number)),
                Some((_, known)) if *known == number => {}
                Some(_) => return Err(format!("another line says otherwise of group {name}")),
            },
            Entry::Member { user, group } => self.members.push((user, group)),
            Entry::Range(low, high) => self.ranges.push((low, high)),
        }
        Ok(())
    }
}

/// Adds everything that is not there; returns what was done, a line each.
pub fn carry_out(wanted: &Wanted, root: &Path, database: &mut Database) -> Result<Vec<String>, String> {
    let mut maker = Maker { wanted, root, database, next: None, done: Vec::new() };
    for (name, number) in &wanted.groups {
        maker.group(name, number, None)?;
    }
    // A member that no line describes is a user all the same.
    for (_, group) in &wanted.members {
        maker.group(group, &Number::Any, None)?;
    }
    for user in &wanted.users {
        // One that cannot be made keeps nobody from the others.
        if let Err(why) = maker.user(user) {
            eprintln!("{why}");
        }
    }
    for (user, group) in &wanted.members {
        if maker.database.user(user).is_none() {
            let plain = User {
                name: user.clone(),
                number: Number::Any,
                group: None,
                comment: String::new(),
                home: None,
                shell: None,
            };
            maker.user(&plain)?;
        }
        maker.database.join(user, group);
    }
    Ok(maker.done)
}

struct Maker<'a> {
    wanted: &'a Wanted,
    root: &'a Path,
    database: &'a mut Database,
    /// The next number to try.
    next: Option<u32>,
    done: Vec<String>,
}

impl Maker<'_> {
    /// A group's number: the one it has, or a new one. `like`: its user's, which it should share.
    fn group(&mut self, name: &str, number: &Number, like: Option<u32>) -> Result<u32, String> {
        if let Some(gid) = self.database.group(name) {
            return Ok(gid);
        }
        let fixed = self.fixed(number, |data| data.gid());
        if let (Number::Fixed(number), Some(true)) =
            (number, fixed.map(|gid| self.database.has_group_number(gid)))
        {
            println!("Suggested group ID {number} for {name} already used.");
        }
        let free = |gid: &u32| !self.database.has_group_number(*gid);
        let gid = match fixed.filter(free).or(like.filter(free)) {
            Some(gid) => gid,
            None => self.any(name)?,
        };
        self.database.add_group(name, gid);
        self.done.push(format!("Creating group '{name}' with GID {gid}."));
        Ok(gid)
    }

    fn user(&mut self, user: &User) -> Result<(), String> {
        let name = &user.name;
        if self.database.user(name).is_some() {
            return Ok(());
        }
        let fixed = self.fixed(&user.number, |data| data.uid());
        let gid = match &user.group {
            Some(MainGroup::Number(gid)) => {
                if self.database.group_name(*gid).is_none() {
                    return Err(format!("user {name}: there is no group with number {gid}"));
                }
                *gid
            }
            Some(MainGroup::Name(group)) => {
                self.database.group(group).ok_or_else(|| format!("user {name}: there is no group {group}"))?
            }
            None => {
                let like = match &user.number {
                    Number::OwnerOf(_) => self.fixed(&user.number, |data| data.gid()),
                    _ => fixed.filter(|uid| !self.database.has_user_number(*uid)),
                };
                self.group(name, &Number::Any, like)?
            }
        };
        let free = |uid: &u32| !self.database.has_user_number(*uid);
        if let (Number::Fixed(number), Some(false)) = (&user.number, fixed.as_ref().map(free)) {
            println!("Suggested user ID {number} for {name} already used.");
        }
        // A number that is a stranger's group is left alone, unless the line asks for it.
        let own = |uid: &u32| {
            !self.database.has_group_number(*uid)
                || self.database.group_name(*uid).as_deref() == Some(name.as_str())
        };
        let uid = match fixed.filter(free).or(Some(gid).filter(free).filter(own)) {
            Some(uid) => uid,
            None => self.any(name)?,
        };
        let is_root = uid == 0;
        let home = user.home.as_deref().unwrap_or(if is_root { "/root" } else { "/" });
        let shell = user.shell.as_deref().unwrap_or(if is_root { "/bin/sh" } else { NO_LOGIN });
        self.database.add_user(&NewUser { name, uid, gid, comment: &user.comment, home, shell });
        self.done.push(format!(
            "Creating user '{name}' ({}) with UID {uid} and GID {gid}.",
            if user.comment.is_empty() { "n/a" } else { &user.comment }
        ));
        Ok(())
    }

    fn fixed(&self, number: &Number, of: fn(&fs::Metadata) -> u32) -> Option<u32> {
        match number {
            Number::Any => None,
            Number::Fixed(number) => Some(*number),
            Number::OwnerOf(path) => {
                let data = fs::symlink_metadata(self.root.join(path.trim_start_matches('/'))).ok()?;
                Some(of(&data)).filter(|number| *number != 0)
            }
        }
    }

    /// The next number downward that neither a user nor a group has.
    fn any(&mut self, name: &str) -> Result<u32, String> {
        let ranges = if self.wanted.ranges.is_empty() { &[SYSTEM][..] } else { &self.wanted.ranges };
        let mut candidates: Vec<u32> = Vec::new();
        for (low, high) in ranges {
            // A range of the whole space needs no list of it.
            candidates.extend((*low..=*high).rev().take(100_000));
        }
        candidates.sort_unstable_by(|one, other| other.cmp(one));
        let below = |number: &&u32| self.next.is_none_or(|next| **number < next);
        let taken =
            |number: u32| self.database.has_user_number(number) || self.database.has_group_number(number);
        let found = candidates.iter().filter(below).find(|number| !taken(**number)).copied();
        let found = found.ok_or_else(|| format!("{name}: no number is free"))?;
        self.next = Some(found);
        Ok(found)
    }
}
