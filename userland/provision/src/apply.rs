//! Carries a plan out, below a root: `/` on a machine, a directory in tests.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::FlockOperation;

use crate::accounts::Accounts;
use crate::atomic_file::{self, Access};
use crate::home;
use crate::plan::{Action, File, User};
use crate::problem::Problem;

/// The file of keys below `~/.ssh/authorized_keys.d` that is ours.
const KEYS: &str = "coreos-cloudinit";
/// More than any account file holds.
const LARGEST_ACCOUNTS: usize = 16 << 20;

/// Where a plan is carried out.
pub struct Machine {
    /// Below this directory.
    pub root: PathBuf,
    /// The command for units; none: they are left alone.
    pub systemctl: Option<PathBuf>,
}

impl Machine {
    /// Carries every action out, in order. What fails is told, and the rest goes on.
    pub fn apply(&self, actions: &[Action]) -> Vec<Problem> {
        actions
            .iter()
            .flat_map(|action| match action {
                Action::Hostname(name) => told("hostname", self.hostname(name)),
                Action::User(user) => self.user(user),
                Action::Keys { user, keys } => told(&format!("keys of {user}"), self.keys(user, keys)),
                Action::File(file) => told(&file.path, self.file(file)),
                Action::Hosts => told("/etc/hosts", self.hosts()),
                Action::Mask(unit) => told(unit, self.mask(unit)),
                Action::Unmask(unit) => told(unit, self.unmask(unit)),
                Action::Systemctl(arguments) => {
                    told(&format!("systemctl {}", arguments.join(" ")), self.systemctl(arguments))
                }
            })
            .collect()
    }

    /// Lets public keys in as every user, until the next boot.
    pub fn ephemeral_keys(&self, lines: &str) -> io::Result<()> {
        atomic_file::write(&self.path("/run/ssh/authorized_keys"), lines.as_bytes(), Access::own(0o644))
    }

    fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    fn is_this_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    fn hostname(&self, name: &str) -> io::Result<()> {
        let text = format!("{name}\n");
        atomic_file::write(&self.path("/etc/hostname"), text.as_bytes(), Access::own(0o644))?;
        if self.is_this_machine() {
            rustix::system::sethostname(name.as_bytes())?;
        }
        Ok(())
    }

    fn hosts(&self) -> io::Result<()> {
        let name = fs::read_to_string(self.path("/etc/hostname")).unwrap_or_default();
        let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost\n");
        if !name.trim().is_empty() {
            text.push_str(&format!("127.0.0.1\t{}\n", name.trim()));
        }
        atomic_file::write(&self.path("/etc/hosts"), text.as_bytes(), Access::own(0o644))
    }

    fn accounts(&self) -> io::Result<Accounts> {
        let read = |name: &str| match atomic_file::read_bounded(&self.path(name), LARGEST_ACCOUNTS) {
            Ok(bytes) if bytes.len() > LARGEST_ACCOUNTS => {
                Err(io::Error::other(format!("{name} is larger than any account file")))
            }
            Ok(bytes) => {
                String::from_utf8(bytes).map_err(|_| io::Error::other(format!("{name} is not text in UTF-8")))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(e),
        };
        Ok(Accounts {
            passwd: read("/etc/passwd")?,
            group: read("/etc/group")?,
            shadow: read("/etc/shadow")?,
        })
    }

    fn user(&self, user: &User) -> Vec<Problem> {
        let place = format!("user {}", user.name);
        let (errors, made) = match self.edit_accounts(user) {
            Ok(done) => done,
            Err(e) => return vec![Problem::of(&place, e.to_string())],
        };
        let mut problems: Vec<Problem> =
            errors.into_iter().map(|e| Problem::of(&place, e.to_string())).collect();
        if let Some(entry) = made.filter(|_| !user.no_create_home) {
            let home = self.path(&entry.home);
            problems.extend(told(&place, home::create(&home, entry.uid, entry.gid)));
        }
        problems
    }

    /// Edits the three files under the lock that lckpwdf(3) takes.
    fn edit_accounts(
        &self,
        user: &User,
    ) -> io::Result<(Vec<crate::accounts::Error>, Option<crate::accounts::Entry>)> {
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path("/etc/.pwd.lock"))?;
        rustix::fs::fcntl_lock(&lock, FlockOperation::LockExclusive)?;
        let old = self.accounts()?;
        let mut new = old.clone();
        let errors = new.ensure(user);
        let write = |name: &str, text: &str, mode| {
            atomic_file::write(&self.path(name), text.as_bytes(), Access::own(mode))
        };
        // The user's name comes last: with it, everything it refers to is there.
        if new.group != old.group {
            write("/etc/group", &new.group, 0o644)?;
        }
        if new.shadow != old.shadow {
            write("/etc/shadow", &new.shadow, 0o600)?;
        }
        if new.passwd != old.passwd {
            write("/etc/passwd", &new.passwd, 0o644)?;
        }
        Ok((errors, new.user(&user.name)))
    }

    fn keys(&self, user: &str, keys: &[String]) -> io::Result<()> {
        let entry = self
            .accounts()?
            .user(user)
            .ok_or_else(|| io::Error::other(format!("there is no user {user}")))?;
        let home = self.path(&entry.home);
        home::create(&home, entry.uid, entry.gid)?;
        let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
        home::write_keys(&home, KEYS, lines.as_bytes(), entry.uid, entry.gid)
    }

    fn file(&self, file: &File) -> io::Result<()> {
        let mut access = Access::own(file.mode);
        if !file.owner.is_empty() {
            (access.uid, access.gid) = self.owner(&file.owner)?;
        }
        atomic_file::write(&self.path(&file.path), &file.content, access)
    }

    /// `user`, `user:group`, `:group`, by name or number. A user alone brings their own group.
    fn owner(&self, owner: &str) -> io::Result<(u32, u32)> {
        let accounts = self.accounts()?;
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let unknown = |what, name| io::Error::other(format!("owner: there is no {what} {name}"));
        let own = Access::own(0);
        let (uid, mut gid) = match (user, accounts.user(user), user.parse()) {
            ("", ..) => (own.uid, own.gid),
            (_, Some(entry), _) => (entry.uid, entry.gid),
            (_, None, Ok(uid)) => (uid, own.gid),
            (_, None, Err(_)) => return Err(unknown("user", user)),
        };
        if !group.is_empty() {
            gid = accounts
                .group_number(group)
                .or_else(|| group.parse().ok())
                .ok_or_else(|| unknown("group", group))?;
        }
        Ok((uid, gid))
    }

    fn mask(&self, unit: &str) -> io::Result<()> {
        let path = self.path("/etc/systemd/system").join(unit);
        if is_mask(&path) {
            return Ok(());
        }
        if fs::symlink_metadata(&path).is_ok_and(|meta| !meta.is_symlink()) {
            return Err(io::Error::other(format!("cannot mask: {} is a file", path.display())));
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let temporary = path.with_file_name(format!(".#{unit}"));
        let _ = fs::remove_file(&temporary);
        symlink("/dev/null", &temporary)?;
        fs::rename(&temporary, &path)
    }

    fn unmask(&self, unit: &str) -> io::Result<()> {
        let path = self.path("/etc/systemd/system").join(unit);
        if is_mask(&path) { fs::remove_file(path) } else { Ok(()) }
    }

    fn systemctl(&self, arguments: &[String]) -> io::Result<()> {
        let Some(program) = &self.systemctl else { return Ok(()) };
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("it says nothing");
        Err(io::Error::other(format!("{}: {said}", output.status)))
    }
}

fn is_mask(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

fn told(place: &str, result: io::Result<()>) -> Vec<Problem> {
    result.err().map(|e| Problem::of(place, e.to_string())).into_iter().collect()
}
