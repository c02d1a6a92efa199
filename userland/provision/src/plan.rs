//! What a cloud-config asks for: a list of actions, in the order in which they are carried out.

use std::fmt;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Name the machine.
    Hostname(String),
    /// Make a user, or set the password of one that is there.
    User(User),
    /// Let these public keys in as the user.
    Keys {
        /// The user's name.
        user: String,
        /// Lines of authorized_keys(5).
        keys: Vec<String>,
    },
    /// Write a file, whole or not at all.
    File(File),
    /// Name the machine in `/etc/hosts`.
    Hosts,
    /// Make a unit impossible to start.
    Mask(String),
    /// Take a mask off, if there is one.
    Unmask(String),
    /// Run `systemctl` with these arguments.
    Systemctl(Vec<String>),
}

/// A user account: passwd(5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: String,
    /// The password's hash, as crypt(5) writes it.
    pub password_hash: Option<String>,
    /// The comment.
    pub gecos: String,
    /// The home directory; none: `/home/NAME`.
    pub home: Option<String>,
    /// No home directory is made.
    pub no_create_home: bool,
    /// The group by name; none: one of the user's own.
    pub primary_group: Option<String>,
    /// No group of the user's own is made.
    pub no_user_group: bool,
    /// Further groups by name.
    pub groups: Vec<String>,
    /// The number is taken from those of system users.
    pub system: bool,
    /// The login shell; none: `/bin/bash`.
    pub shell: Option<String>,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The absolute path.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// `user` or `user:group`, by name or number; empty: root.
    pub owner: String,
    /// The permission bits.
    pub mode: u32,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Hostname(name) => write!(f, "hostname {name}"),
            Action::User(user) => write!(f, "user {user}"),
            Action::Keys { user, keys } => {
                write!(f, "keys of {user}")?;
                keys.iter().try_for_each(|key| write!(f, "\n    {key}"))
            }
            Action::File(file) => {
                write!(f, "file {} {:04o}", file.path, file.mode)?;
                if !file.owner.is_empty() {
                    write!(f, " {}", file.owner)?;
                }
                let text = String::from_utf8_lossy(&file.content);
                text.lines().try_for_each(|line| write!(f, "\n    {line}"))
            }
            Action::Hosts => write!(f, "hosts"),
            Action::Mask(unit) => write!(f, "mask {unit}"),
            Action::Unmask(unit) => write!(f, "unmask {unit}"),
            Action::Systemctl(arguments) => write!(f, "systemctl {}", arguments.join(" ")),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (name, value) in [
            ("passwd", self.password_hash.as_deref()),
            ("gecos", Some(self.gecos.as_str()).filter(|text| !text.is_empty())),
            ("home", self.home.as_deref()),
            ("group", self.primary_group.as_deref()),
            ("shell", self.shell.as_deref()),
        ] {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        if !self.groups.is_empty() {
            write!(f, " groups={}", self.groups.join(","))?;
        }
        for (name, on) in [
            ("no-create-home", self.no_create_home),
            ("no-user-group", self.no_user_group),
            ("system", self.system),
        ] {
            if on {
                write!(f, " {name}")?;
            }
        }
        Ok(())
    }
}
