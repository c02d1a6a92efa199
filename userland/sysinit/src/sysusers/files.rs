//! `/etc/passwd`, `group`, `shadow` and `gshadow`: read as lines, added to, written anew.
//!
//! Each is written beside its place, with the rights of the old one, and then takes the place over; the old one is kept
//! under its name with a dash.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, fcntl_lock};

const SECONDS_A_DAY: u64 = 86_400;

/// A file's lines, and whether one was added or changed.
#[derive(Debug, Default)]
struct Table {
    lines: Vec<String>,
    changed: bool,
}

impl Table {
    fn read(path: &Path) -> Result<Table, String> {
        match fs::read(path) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                Ok(Table { lines: text.lines().map(str::to_owned).collect(), changed: false })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Table::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.fields_of(name).is_some()
    }

    fn fields_of(&self, name: &str) -> Option<Vec<&str>> {
        self.lines
            .iter()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.first() == Some(&name))
    }

    /// Adds a line in front of the lines of another source (`+`, nis).
    fn add(&mut self, line: String) {
        let end = self.lines.iter().position(|line| line.starts_with(['+', '-'])).unwrap_or(self.lines.len());
        self.lines.insert(end, line);
        self.changed = true;
    }

    /// Adds a member to the last field of a line.
    fn join(&mut self, name: &str, member: &str) {
        let is_of = |line: &&mut String| line.split(':').next() == Some(name);
        let Some(line) = self.lines.iter_mut().find(is_of) else { return };
        let Some((head, members)) = line.rsplit_once(':') else { return };
        let mut members: Vec<&str> = members.split(',').filter(|known| !known.is_empty()).collect();
        if members.contains(&member) {
            return;
        }
        members.push(member);
        members.sort_unstable();
        *line = format!("{head}:{}", members.join(","));
        self.changed = true;
    }

    /// A number of each line: the field `at`.
    fn numbers(&self, at: usize) -> impl Iterator<Item = u32> {
        self.lines.iter().filter_map(move |line| line.split(':').nth(at)?.parse().ok())
    }

    fn number_of(&self, name: &str, at: usize) -> Option<u32> {
        self.fields_of(name)?.get(at)?.parse().ok()
    }
}

/// The users and groups of a root.
#[derive(Debug, Default)]
pub struct Database {
    users: Table,
    groups: Table,
    shadows: Table,
    group_shadows: Table,
    lock: Option<File>,
}

/// A user to add.
#[derive(Debug, Clone)]
pub struct NewUser<'a> {
    /// The name.
    pub name: &'a str,
    /// The number.
    pub uid: u32,
    /// The main group's number.
    pub gid: u32,
    /// The comment.
    pub comment: &'a str,
    /// The home.
    pub home: &'a str,
    /// The shell.
    pub shell: &'a str,
}

impl Database {
    /// Reads the four files; those that are not there are empty.
    pub fn read(root: &Path) -> Result<Database, String> {
        let etc = root.join("etc");
        let lock = lock(&etc);
        let table = |name: &str| Table::read(&etc.join(name));
        Ok(Database {
            users: table("passwd")?,
            groups: table("group")?,
            shadows: table("shadow")?,
            group_shadows: table("gshadow")?,
            lock,
        })
    }

    /// A user's numbers: its own and its main group's.
    pub fn user(&self, name: &str) -> Option<(u32, u32)> {
        Some((self.users.number_of(name, 2)?, self.users.number_of(name, 3)?))
    }

    /// A group's number.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.number_of(name, 2)
    }

    /// Whether a user has this number.
    pub fn has_user_number(&self, number: u32) -> bool {
        self.users.numbers(2).any(|known| known == number)
    }

    /// Whether a group has this number.
    pub fn has_group_number(&self, number: u32) -> bool {
        self.groups.numbers(2).any(|known| known == number)
    }

    /// The name of the group with this number.
    pub fn group_name(&self, number: u32) -> Option<String> {
        let line = self
            .groups
            .lines
            .iter()
            .find(|line| line.split(':').nth(2).and_then(|field| field.parse().ok()) == Some(number))?;
        line.split(':').next().map(str::to_owned)
    }

    /// Adds a group without members.
    pub fn add_group(&mut self, name: &str, gid: u32) {
        self.groups.add(format!("{name}:x:{gid}:"));
        if !self.group_shadows.has(name) {
            self.group_shadows.add(format!("{name}:!*::"));
        }
    }

    /// Adds a user whom no password lets in.
    pub fn add_user(&mut self, user: &NewUser<'_>) {
        let NewUser { name, uid, gid, comment, home, shell } = user;
        self.users.add(format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}"));
        if !self.shadows.has(name) {
            let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
            self.shadows.add(format!("{name}:!*:{}::::::", today / SECONDS_A_DAY));
        }
    }

    /// Makes a user a member of a group.
    pub fn join(&mut self, user: &str, group: &str) {
        self.groups.join(group, user);
        self.group_shadows.join(group, user);
    }

    /// Writes what has changed.
    pub fn write(self, root: &Path) -> Result<(), String> {
        let etc = root.join("etc");
        // The groups first: a user never has a group that is not there.
        for (name, mode, table) in [
            ("group", 0o644, &self.groups),
            ("gshadow", 0o0, &self.group_shadows),
            ("passwd", 0o644, &self.users),
            ("shadow", 0o0, &self.shadows),
        ] {
            if table.changed {
                let path = etc.join(name);
                replace(&path, mode, &table.lines).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        drop(self.lock);
        Ok(())
    }
}

/// The lock that every program takes that changes these files. Without it (a read-only root) nothing can be written.
fn lock(etc: &Path) -> Option<File> {
    let path = etc.join(".pwd.lock");
    let file = File::options().write(true).create(true).truncate(false).open(&path).ok()?;
    let _ = fs::set_permissions(&path, Permissions::from_mode(0o600));
    fcntl_lock(&file, FlockOperation::LockExclusive).ok()?;
    Some(file)
}

fn replace(path: &Path, mode: u32, lines: &[String]) -> io::Result<()> {
    let beside = |end: &str| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(end);
        path.with_file_name(name)
    };
    let new = beside(".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(&new)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    let mode = match fs::metadata(path) {
        Ok(old) => {
            chown(&new, Some(old.uid()), Some(old.gid()))?;
            let backup = beside("-");
            let _ = fs::remove_file(&backup);
            fs::hard_link(path, &backup).or_else(|_| fs::copy(path, &backup).map(|_| ()))?;
            old.mode() & 0o7777
        }
        Err(_) => mode,
    };
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_added_once_and_other_sources_stay_last() {
        let mut table = Table { lines: vec!["a:x:1:".into(), "+::".into()], changed: false };
        table.join("a", "u");
        table.join("a", "v");
        table.join("a", "u");
        table.join("none", "u");
        table.add("b:x:2:".into());
        assert_eq!(table.lines, ["a:x:1:u,v", "b:x:2:", "+::"]);
    }
}
