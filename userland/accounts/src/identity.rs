//! Becoming another user: the one step from which there is no way back.
//!
//! Source: credentials(7). The order is groups, group, user: after the user is changed the others no longer
//! can be. All three of the real, effective and saved numbers are set, so that nothing of root is kept.

use std::io;

use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

/// Whom a process acts as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The numbers of all groups, the user's own first.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Makes this process, which must have one thread, act as this user from now on.
    ///
    /// # Errors
    /// When there is no group, or when a process that is not root asks to become someone else. The process
    /// must end then: it may have changed half-way.
    pub fn assume(&self) -> io::Result<()> {
        let own = self.groups.first().copied().map(Gid::from_raw);
        let own = own.ok_or_else(|| io::Error::other(format!("user {} has no group", self.uid)))?;
        let user = Uid::from_raw(self.uid);
        if !geteuid().is_root() && geteuid() == user {
            return Ok(());
        }
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
        setresgid(own, own, own)?;
        setresuid(user, user, user)?;
        Ok(())
    }
}
