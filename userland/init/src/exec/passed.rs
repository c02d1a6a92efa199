//! What a program is handed from the start: descriptors from 3 on, and their names in the environment
//! (sd_listen_fds(3)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use super::{Failure, status};
use crate::sockets::Named;

/// SD_LISTEN_FDS_START.
const FIRST: i32 = 3;

/// Descriptors on their way to a child.
#[derive(Debug, Default)]
pub struct Handed {
    /// From 3 on.
    descriptors: Vec<OwnedFd>,
    names: Vec<String>,
    /// For StandardInput=socket and its kin: the one descriptor.
    stream: Option<OwnedFd>,
}

impl Handed {
    /// These. `stream`: the unit wants the first as a standard stream, and then none as more.
    #[must_use]
    pub fn new(all: Vec<Named>, stream: bool) -> Handed {
        if stream {
            return Handed { stream: all.into_iter().next().map(|named| named.fd), ..Handed::default() };
        }
        let (descriptors, names) = all.into_iter().map(|named| (named.fd, named.name)).unzip();
        Handed { descriptors, names, stream: None }
    }

    /// The first number above those that the program is handed.
    pub(super) fn end(&self) -> RawFd {
        FIRST.saturating_add(RawFd::try_from(self.descriptors.len()).unwrap_or(RawFd::MAX))
    }

    /// The socket that is to be a standard stream.
    pub(super) fn stream(&self) -> io::Result<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The one of this name, for `StandardInput=fd:NAME` and its kin.
    pub(super) fn named(&self, name: &str) -> io::Result<BorrowedFd<'_>> {
        let found = self.names.iter().position(|known| known == name);
        let descriptor = found.and_then(|at| self.descriptors.get(at));
        descriptor.map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// In the child: puts them in place.
    pub(super) fn put(&self) -> Result<(), Failure> {
        linux::socket::pass(&self.descriptors, FIRST)
            .map_err(|error| Failure::new(status::FDS, "cannot pass descriptors", error))
    }

    /// `LISTEN_FDS`, `LISTEN_FDNAMES`, `LISTEN_PID` of this process.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        if self.descriptors.is_empty() {
            return Vec::new();
        }
        [
            ("LISTEN_PID", std::process::id().to_string()),
            ("LISTEN_FDS", self.descriptors.len().to_string()),
            ("LISTEN_FDNAMES", self.names.join(":")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
