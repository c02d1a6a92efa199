//! What journalctl does to the journal: ask the daemon to sync, rotate or flush; remove old archives.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control;
use crate::query::time::format_size;
use crate::space;

/// Asks the daemon for a method of `io.systemd.Journal` and waits until it is done.
///
/// # Errors
/// The daemon is not there, or says no.
pub fn ask(socket: &Path, method: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    stream.write_all(&control::request(method))?;
    let mut reply = Vec::new();
    let mut byte = [0];
    while reply.len() < control::REQUEST_MAX {
        stream.read_exact(&mut byte)?;
        if byte == [0] {
            break;
        }
        reply.extend(byte);
    }
    let reply = String::from_utf8_lossy(&reply);
    if reply.contains("\"error\"") { Err(io::Error::other(reply.into_owned())) } else { Ok(()) }
}

/// What is to be left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all files.
    pub size: Option<u64>,
    /// Files, those in use counted.
    pub files: Option<u64>,
    /// Microseconds since 1970: nothing older.
    pub oldest: Option<u64>,
}

/// Removes the oldest archives of each directory until what is left is within the bounds.
pub fn vacuum(directories: &[PathBuf], bounds: &Bounds, quiet: bool) {
    for directory in directories {
        let removed = space::vacuum(directory, bounds.size, bounds.files, bounds.oldest);
        let mut freed = 0;
        for (archive, result) in &removed {
            match result {
                Ok(()) => {
                    freed += archive.size;
                    if !quiet {
                        let size = format_size(archive.size);
                        eprintln!("Deleted archived journal {} ({size}).", archive.path.display());
                    }
                }
                Err(error) => {
                    eprintln!("Failed to delete archived journal {}: {error}", archive.path.display());
                }
            }
        }
        if !quiet {
            let freed = format_size(freed);
            eprintln!("Vacuuming done, freed {freed} of archived journals from {}.", directory.display());
        }
    }
}
