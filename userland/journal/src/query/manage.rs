//! What journalctl does to the journal: ask the daemon to sync, rotate or flush; remove old archives; show headers.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::control;
use crate::file::layout;
use crate::place::format_id;
use crate::query::merge::Source;
use crate::query::time::{format, format_size};
use crate::store::archives;

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

/// Removes archives of these directories until what is left takes no more than `size` bytes and none is older than
/// `oldest`, in microseconds since 1970.
pub fn vacuum(directories: &[PathBuf], size: Option<u64>, oldest: Option<u64>, quiet: bool) {
    for directory in directories {
        let archives = archives(directory);
        let mut total: u64 = archives.iter().map(|archive| archive.size).sum();
        let mut freed = 0;
        for archive in archives {
            let too_big = size.is_some_and(|size| total > size);
            let too_old = oldest.is_some_and(|oldest| archive.changed < oldest);
            if !too_big && !too_old {
                continue;
            }
            match std::fs::remove_file(&archive.path) {
                Ok(()) => {
                    total = total.saturating_sub(archive.size);
                    freed += archive.size;
                    if !quiet {
                        let size = format_size(archive.size);
                        eprintln!("Deleted archived journal {} ({size}).", archive.path.display());
                    }
                }
                Err(error) => {
                    eprintln!("Failed to delete archived journal {}: {error}", archive.path.display())
                }
            }
        }
        if !quiet {
            let freed = format_size(freed);
            eprintln!("Vacuuming done, freed {freed} of archived journals from {}.", directory.display());
        }
    }
}

/// Prints a file's header.
///
/// # Errors
/// What write(2) says.
pub fn show_header(source: &Source, out: &mut dyn Write) -> io::Result<()> {
    let header = source.objects.header();
    let state = match header.state {
        layout::OFFLINE => "OFFLINE",
        layout::ONLINE => "ONLINE",
        layout::ARCHIVED => "ARCHIVED",
        _ => "UNKNOWN",
    };
    let time = |micros| format(micros, "%a %Y-%m-%d %H:%M:%S UTC");
    writeln!(out, "File path: {}", source.path.display())?;
    for (name, id) in [
        ("File ID", &header.file_id),
        ("Machine ID", &header.machine_id),
        ("Boot ID", &header.boot_id),
        ("Sequential number ID", &header.seqnum_id),
    ] {
        writeln!(out, "{name}: {}", format_id(id))?;
    }
    writeln!(out, "State: {state}")?;
    writeln!(out, "Compatible flags:\nIncompatible flags: KEYED-HASH")?;
    for (name, value) in [
        ("Header size", header.header_size),
        ("Arena size", header.arena_size),
        ("Data hash table size", header.data_table_size / 16),
        ("Field hash table size", header.field_table_size / 16),
    ] {
        writeln!(out, "{name}: {value}")?;
    }
    writeln!(out, "Head sequential number: {}", header.head_entry_seqnum)?;
    writeln!(out, "Tail sequential number: {}", header.tail_entry_seqnum)?;
    writeln!(out, "Head realtime timestamp: {}", time(header.head_entry_realtime))?;
    writeln!(out, "Tail realtime timestamp: {}", time(header.tail_entry_realtime))?;
    for (name, value) in [
        ("Objects", header.n_objects),
        ("Entry objects", header.n_entries),
        ("Data objects", header.n_data),
        ("Field objects", header.n_fields),
        ("Tag objects", header.n_tags),
        ("Entry array objects", header.n_entry_arrays),
        ("Deepest field hash chain", header.field_chain_depth),
        ("Deepest data hash chain", header.data_chain_depth),
    ] {
        writeln!(out, "{name}: {value}")?;
    }
    writeln!(out, "Disk usage: {}\n", format_size(source.objects.disk_usage().unwrap_or(0)))
}
