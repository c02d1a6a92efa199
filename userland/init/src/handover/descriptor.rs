//! Descriptors in the saved state: a number, and what the kernel calls it, which tells whether it is still the same.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::{Deserialize, Serialize};

/// A descriptor, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    number: RawFd,
    /// As `/proc/self/fd` has it: `socket:[4711]`.
    what: String,
}

impl Kept {
    /// Writes it down.
    #[must_use]
    pub fn of(fd: impl AsFd) -> Kept {
        let number = fd.as_fd().as_raw_fd();
        Kept { number, what: what(number) }
    }
}

fn what(number: RawFd) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}"));
    link.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The descriptors that came along, as long as nobody has taken them. The rest is closed in the end.
#[derive(Debug, Default)]
pub struct Inherited(BTreeMap<RawFd, OwnedFd>);

impl Inherited {
    /// All that this process was executed with; once in its life, and before it opens any of its own.
    #[must_use]
    pub fn all() -> Inherited {
        Inherited(linux::inherit::take())
    }

    /// Takes one, if it is still what was written down.
    pub fn take(&mut self, kept: &Kept) -> Option<OwnedFd> {
        let known = !kept.what.is_empty() && what(kept.number) == kept.what;
        if known { self.0.remove(&kept.number) } else { None }
    }

    /// Takes the one of this number.
    pub fn number(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.0.remove(&number)
    }
}

impl FromIterator<OwnedFd> for Inherited {
    fn from_iter<I: IntoIterator<Item = OwnedFd>>(all: I) -> Inherited {
        Inherited(all.into_iter().map(|fd| (fd.as_raw_fd(), fd)).collect())
    }
}

/// Reads one that was written down, where there is something to take it from.
pub fn again(inherited: &mut Inherited, kept: Option<&Kept>) -> Option<OwnedFd> {
    inherited.take(kept?)
}

/// Writes one down, where there is one.
pub fn of(fd: Option<BorrowedFd<'_>>) -> Option<Kept> {
    fd.map(Kept::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn only_the_same_descriptor_is_taken() {
        let (one, other) = UnixDatagram::pair().unwrap();
        let (one, other) = (OwnedFd::from(one), OwnedFd::from(other));
        let (kept, wrong) = (Kept::of(&one), Kept { what: Kept::of(&one).what, ..Kept::of(&other) });
        let number = other.as_raw_fd();
        let mut inherited: Inherited = [one, other].into_iter().collect();
        assert!(inherited.take(&wrong).is_none());
        let taken = inherited.take(&kept).unwrap();
        assert_eq!(Kept::of(&taken), kept);
        assert!(inherited.take(&kept).is_none(), "it is given once");
        assert!(inherited.number(number).is_some());
    }
}
