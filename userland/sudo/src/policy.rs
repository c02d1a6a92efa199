//! Who may, and as whom: the whole policy.

use accounts::{Accounts, User};

/// The groups whose members may.
const GROUPS: [&str; 2] = ["sudo", "wheel"];

/// Why something is not run.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The one who asks is no user of this machine.
    #[error("user {0} is not in /etc/passwd")]
    Stranger(u32),
    /// The one who asks is in none of the groups.
    #[error("{0} is not in the group sudo or wheel")]
    Member(String),
    /// There is no such user to run as.
    #[error("unknown user {0}")]
    Target(String),
}

/// The user who asks, if that user may.
pub(crate) fn caller(accounts: &Accounts, uid: u32) -> Result<User, Refusal> {
    let user = accounts.user_by_id(uid).ok_or(Refusal::Stranger(uid))?;
    if uid == 0 || GROUPS.iter().any(|group| accounts.is_member(user, group)) {
        Ok(user.clone())
    } else {
        Err(Refusal::Member(user.name.clone()))
    }
}

/// The user to run as: a name, or `#` and a number.
pub(crate) fn target(accounts: &Accounts, name: &str) -> Result<User, Refusal> {
    let found = match name.strip_prefix('#') {
        Some(number) => number.parse().ok().and_then(|uid| accounts.user_by_id(uid)),
        None => accounts.user(name),
    };
    found.cloned().ok_or_else(|| Refusal::Target(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Accounts {
        Accounts::parse(
            "root:x:0:0::/root:/bin/sh\ncore:x:500:500::/home/core:/bin/bash\nwww:x:33:33::/:/bin/sh\nboss:x:7:10::/:/bin/sh\n",
            "sudo:x:150:core\nwheel:x:10:\n",
        )
    }

    #[test]
    fn root_and_members_may_and_nobody_else() {
        for (uid, name) in [(0, "root"), (500, "core"), (7, "boss")] {
            assert_eq!(caller(&machine(), uid).unwrap().name, name);
        }
        assert_eq!(caller(&machine(), 33), Err(Refusal::Member("www".into())));
        assert_eq!(caller(&machine(), 1234), Err(Refusal::Stranger(1234)));
    }

    #[test]
    fn users_are_found_by_name_or_number() {
        assert_eq!(target(&machine(), "core").unwrap().uid, 500);
        assert_eq!(target(&machine(), "#33").unwrap().name, "www");
        for unknown in ["nobody", "#x", "#", "", "#-1", "#4294967295"] {
            assert_eq!(target(&machine(), unknown), Err(Refusal::Target(unknown.into())));
        }
    }
}
