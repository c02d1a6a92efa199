//! What a program is handed from the start: descriptors from 3 on, and their names in the environment
//! (sd_listen_fds(3)).

use std::os::fd::OwnedFd;

use super::Failure;
use crate::sockets::Named;

const FDS: u8 = 202;
/// SD_LISTEN_FDS_START.
const FIRST: i32 = 3;

/// Descriptors on their way to a child.
#[derive(Debug, Default)]
pub struct Handed {
    /// From 3 on.
    descriptors: Vec<OwnedFd>,
    names: Vec<String>,
    /// For StandardInput=socket and its kin: the one descriptor.
    pub(super) stream: Option<OwnedFd>,
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

    /// In the child: puts them in place.
    pub(super) fn put(&self) -> Result<(), Failure> {
        linux::socket::pass(&self.descriptors, FIRST)
            .map_err(|error| Failure::new(FDS, "cannot pass descriptors", error))
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
