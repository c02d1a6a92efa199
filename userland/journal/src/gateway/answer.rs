//! The answers: each is written by a thread of its own into a channel, from where the connection takes it at its
//! client's pace. When the client is gone the channel is closed, and writing ends with an error.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use hyper::body::Bytes;
use tokio::sync::mpsc::Sender;

use super::request::Entries;
use crate::file::Entry;
use crate::place::{self, Place, format_id};
use crate::query::cursor::{self, Cursor};
use crate::query::follow::Follow;
use crate::query::matches::Expression;
use crate::query::merge::{Merged, Range, Source, Start, open};
use crate::query::output::{Format, Row, Style, text::is_printable};
use crate::query::{boots, pick};

/// Bytes that are sent at once.
const CHUNK: usize = 64 << 10;

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Directories that have files.
    pub directories: Vec<PathBuf>,
    /// Files.
    pub files: Vec<PathBuf>,
}

impl Journal {
    fn paths(&self) -> Vec<PathBuf> {
        let found = self.directories.iter().flat_map(|directory| crate::query::merge::find(directory));
        self.files.iter().cloned().chain(found).collect()
    }
}

/// The way to the client.
pub struct Outlet {
    sender: Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Outlet {
    /// Writes into a channel.
    #[must_use]
    pub fn new(sender: Sender<Bytes>) -> Outlet {
        Outlet { sender, buffer: Vec::with_capacity(CHUNK) }
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(chunk.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Prints entries one after the other.
struct Printer<'a> {
    style: Style,
    fields: Vec<Arc<[u8]>>,
    left: u64,
    out: &'a mut Outlet,
}

impl Printer<'_> {
    fn print(&mut self, source: &mut Source, entry: &Entry) -> io::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        self.fields.clear();
        self.fields.extend(entry.items.iter().filter_map(|item| source.objects.data(*item).ok()));
        let seqnum_id = source.objects.header().seqnum_id;
        Row { entry, seqnum_id, fields: &self.fields, found: None, before: None }.print(&self.style, self.out)
    }
}

/// Writes the entries that are asked for.
///
/// # Errors
/// The client is gone.
pub fn entries(journal: &Journal, wanted: &Entries, out: &mut Outlet) -> io::Result<()> {
    let mut sources = open(&journal.paths());
    let mut expression = wanted.expression.clone();
    if wanted.boot {
        expression = Expression::All(vec![expression, pick::boot(&place::boot_id())]);
    }
    let start = wanted.cursor.clone().map(|cursor| Start { cursor, after: false });
    let mut range = Range { start, ..Range::all(expression) };
    let mut skip = u64::try_from(wanted.skip).unwrap_or(0);
    if wanted.skip < 0 {
        range.start = earlier(&mut sources, &range, wanted.skip.unsigned_abs());
        skip = 0;
    }
    let mut follow = if wanted.follow { Some(Follow::begin(&sources, &journal.directories)?) } else { None };
    let left = wanted.count.unwrap_or(u64::MAX);
    let mut printer = Printer { style: Style::plain(wanted.format), fields: Vec::new(), left, out };
    let mut merged = Merged::new(&mut sources, &range);
    let mut passed = None;
    while printer.left > 0 {
        let Some((index, entry)) = merged.advance() else { break };
        if skip > 0 {
            skip -= 1;
            passed = Some((index, entry.clone()));
            continue;
        }
        passed = None;
        let Some((source, entry)) = merged.current(index) else { break };
        if wanted.discrete && !is_at(wanted.cursor.as_ref(), source, entry) {
            break;
        }
        printer.print(source, entry)?;
    }
    // Who skips more than there is gets the last one, as from the original.
    if let Some((index, entry)) = passed
        && let Some(source) = sources.get_mut(index)
    {
        printer.print(source, &entry)?;
    }
    if let Some(follow) = &mut follow {
        follow.go_on(sources);
        while printer.left > 0 && !printer.out.is_closed() {
            let paths = journal.paths();
            follow.news(&paths, &range.expression, &mut |source, entry| printer.print(source, entry))?;
            printer.out.flush()?;
            follow.wait()?;
        }
    }
    printer.out.flush()
}

/// The place so many entries, and one, before the start or the end, as the original counts.
fn earlier(sources: &mut [Source], range: &Range, skip: u64) -> Option<Start> {
    let mut merged = Merged::new(sources, &Range { reverse: true, ..range.clone() });
    let mut name = None;
    for _ in 0..=skip {
        let Some(index) = merged.advance().map(|(index, _)| index) else { break };
        name = merged
            .current(index)
            .map(|(source, entry)| cursor::of(&source.objects.header().seqnum_id, entry));
    }
    let cursor = Cursor::parse(&name?).ok()?;
    Some(Start { cursor, after: false })
}

/// Whether a cursor is that of an entry.
fn is_at(cursor: Option<&Cursor>, source: &Source, entry: &Entry) -> bool {
    cursor.is_some_and(|cursor| {
        cursor.seqnum.is_none_or(|seqnum| seqnum == (source.objects.header().seqnum_id, entry.seqnum))
            && cursor.realtime.is_none_or(|realtime| realtime == entry.time.realtime)
            && cursor.monotonic.is_none_or(|monotonic| monotonic == (entry.boot_id, entry.time.monotonic))
            && cursor.xor_hash.is_none_or(|hash| hash == entry.xor_hash)
    })
}

/// Writes the values of a field.
///
/// # Errors
/// The client is gone.
pub fn field(journal: &Journal, name: &str, format: Format, out: &mut Outlet) -> io::Result<()> {
    let mut sources = open(&journal.paths());
    for value in pick::values(name, &mut sources) {
        if format == Format::Json {
            let value = match std::str::from_utf8(&value) {
                Ok(text) if is_printable(&value) => serde_json::Value::from(text),
                _ => serde_json::Value::from(value),
            };
            writeln!(out, "{{ {} : {value} }}", serde_json::Value::from(name))?;
        } else {
            out.write_all(&value)?;
            out.write_all(b"\n")?;
        }
    }
    out.flush()
}

/// Writes a line a boot, the oldest first.
///
/// # Errors
/// The client is gone.
pub fn boots(journal: &Journal, out: &mut Outlet) -> io::Result<()> {
    let boots = boots::list(&mut open(&journal.paths()));
    for (index, boot) in boots.iter().enumerate() {
        let line = serde_json::json!({
            "index": index as i64 + 1 - boots.len() as i64,
            "boot_id": format_id(&boot.id),
            "first_entry": boot.first,
            "last_entry": boot.last,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()
}

/// The description of the machine.
#[must_use]
pub fn machine(journal: &Journal) -> String {
    let sources = open(&journal.paths());
    let usage: u64 = sources.iter().map(|source| source.objects.disk_usage().unwrap_or(0)).sum();
    let times = sources.iter().map(|source| source.objects.header()).filter(|header| header.n_entries > 0);
    let from = times.clone().map(|header| header.head_entry_realtime).min().unwrap_or(0);
    let to = times.map(|header| header.tail_entry_realtime).max().unwrap_or(0);
    let root = Place::new("/".as_ref());
    let name = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches(['"', '\'']).to_owned())
    });
    let mut object = String::from("{ ");
    for (number, (key, value)) in [
        ("machine_id", format_id(&root.machine_id())),
        ("boot_id", format_id(&place::boot_id())),
        ("hostname", Place::hostname()),
        ("os_pretty_name", name.unwrap_or_else(|| "Linux".to_owned())),
        ("virtualization", virtualization().to_owned()),
        ("usage", usage.to_string()),
        ("cutoff_from_realtime", from.to_string()),
        ("cutoff_to_realtime", to.to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        let comma = if number > 0 { "," } else { "" };
        object += &format!("{comma}\"{key}\" : {}", serde_json::Value::from(value));
    }
    object + " }\n"
}

/// On what the machine runs, as far as its firmware says.
fn virtualization() -> &'static str {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/class/dmi/id/{name}")).unwrap_or_default();
    let text = format!("{} {}", read("sys_vendor"), read("product_name"));
    [
        ("QEMU", "qemu"),
        ("KVM", "kvm"),
        ("VMware", "vmware"),
        ("VirtualBox", "oracle"),
        ("Amazon EC2", "amazon"),
        ("Google", "google"),
        ("Microsoft", "microsoft"),
        ("Xen", "xen"),
    ]
    .iter()
    .find(|(word, _)| text.contains(word))
    .map_or("bare", |(_, name)| name)
}
