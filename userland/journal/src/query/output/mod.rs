//! How an entry is printed. Each format is the real journalctl's, byte for byte where the file allows. Source:
//! journalctl(1), "--output=", and systemd's JOURNAL_EXPORT_FORMATS.

pub mod json;
mod short;
pub mod text;

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use crate::file::{Entry, Id128};
use crate::place::format_id;
use crate::query::{catalog, cursor, time};
use text::{Lines, blob, is_printable};

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As syslog does.
    Short,
    /// With the weekday, the year and the zone.
    ShortFull,
    /// With an ISO 8601 time.
    ShortIso,
    /// The same with microseconds.
    ShortIsoPrecise,
    /// With microseconds.
    ShortPrecise,
    /// With seconds since boot.
    ShortMonotonic,
    /// With seconds since boot, and since the entry before.
    ShortDelta,
    /// With seconds since 1970.
    ShortUnix,
    /// All fields.
    Verbose,
    /// For transfer and backup.
    Export,
    /// One object a line.
    Json,
    /// One object, laid out.
    JsonPretty,
    /// As server-sent events.
    JsonSse,
    /// As a JSON text sequence, RFC 7464.
    JsonSeq,
    /// The message alone.
    Cat,
    /// With the unit in place of the program.
    WithUnit,
}

impl Format {
    /// All formats by name, in journalctl's order.
    pub const NAMES: [(&'static str, Format); 16] = [
        ("short", Format::Short),
        ("short-full", Format::ShortFull),
        ("short-iso", Format::ShortIso),
        ("short-iso-precise", Format::ShortIsoPrecise),
        ("short-precise", Format::ShortPrecise),
        ("short-monotonic", Format::ShortMonotonic),
        ("short-delta", Format::ShortDelta),
        ("short-unix", Format::ShortUnix),
        ("verbose", Format::Verbose),
        ("export", Format::Export),
        ("json", Format::Json),
        ("json-pretty", Format::JsonPretty),
        ("json-sse", Format::JsonSse),
        ("json-seq", Format::JsonSeq),
        ("cat", Format::Cat),
        ("with-unit", Format::WithUnit),
    ];

    /// The format of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Format> {
        Format::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// Whether programs read it: then nothing that is no entry belongs into it.
    #[must_use]
    pub fn is_for_programs(self) -> bool {
        use Format::{Cat, Export, Json, JsonPretty, JsonSeq, JsonSse};
        matches!(self, Export | Json | JsonPretty | JsonSse | JsonSeq | Cat)
    }
}

/// How to print.
#[derive(Debug, Clone)]
pub struct Style {
    /// The format.
    pub format: Format,
    /// Leave out the machine's name.
    pub no_hostname: bool,
    /// Print unprintable bytes and long fields in full.
    pub all: bool,
    /// Lines end before this column.
    pub columns: Option<usize>,
    /// Colours, for a terminal.
    pub colour: bool,
    /// Explain messages that the catalog knows.
    pub catalog: bool,
    /// Only these fields, in formats that print all of them; empty is all.
    pub fields: Vec<String>,
}

impl Style {
    /// A format, and nothing special.
    #[must_use]
    pub fn plain(format: Format) -> Style {
        Style {
            format,
            no_hostname: false,
            all: false,
            columns: None,
            colour: false,
            catalog: false,
            fields: Vec::new(),
        }
    }
}

/// An entry with its fields read.
#[derive(Debug)]
pub struct Row<'a> {
    /// The entry.
    pub entry: &'a Entry,
    /// The numbering of its file.
    pub seqnum_id: Id128,
    /// Its fields, `FIELD=value`.
    pub fields: &'a [Arc<[u8]>],
    /// What of the message was looked for.
    pub found: Option<Range<usize>>,
    /// When the entry was that was printed before this one.
    pub before: Option<Moment>,
}

/// When an entry is shown to have happened.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// In which boot.
    pub boot: Id128,
    /// Microseconds since that boot began.
    pub monotonic: u64,
    /// Microseconds since 1970.
    pub realtime: u64,
}

impl Row<'_> {
    /// The first value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find_map(|field| field.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// The fields as name and value, those of `only` if it names any.
    fn pairs<'a>(&'a self, only: &'a [String]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.fields.iter().filter_map(move |field| {
            let end = field.iter().position(|byte| *byte == b'=')?;
            let name = std::str::from_utf8(field.get(..end)?).ok()?;
            let wanted = only.is_empty() || only.iter().any(|only| only == name);
            wanted.then_some((name, field.get(end + 1..)?))
        })
    }

    /// The name of this place in the journal.
    #[must_use]
    pub fn cursor(&self) -> String {
        cursor::of(&self.seqnum_id, self.entry)
    }

    /// When it happened: as the sender says if it does, else when it came.
    fn time(&self, field: &str, came: u64) -> u64 {
        let said = self.get(field).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        said.filter(|time| *time > 0 && *time < 1 << 55).unwrap_or(came)
    }

    /// When it is shown to have happened.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment {
            boot: self.entry.boot_id,
            monotonic: self.time("_SOURCE_MONOTONIC_TIMESTAMP", self.entry.time.monotonic),
            realtime: self.time("_SOURCE_REALTIME_TIMESTAMP", self.entry.time.realtime),
        }
    }

    /// Prints the entry.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn print(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        match style.format {
            Format::Cat => self.cat(style, out),
            Format::Json => writeln!(out, "{}", json::object(self, style)),
            Format::JsonSse => write!(out, "data: {}\n\n", json::object(self, style)),
            Format::JsonSeq => writeln!(out, "\x1e{}", json::object(self, style)),
            Format::JsonPretty => {
                json::pretty(&json::object(self, style), 0, out)?;
                out.write_all(b"\n")
            }
            Format::Export => self.export(style, out),
            Format::Verbose => self.verbose(style, out),
            _ => short::print(self, style, out),
        }
    }

    fn cat(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        if style.fields.is_empty() {
            return self.cat_field("MESSAGE", style, out);
        }
        style.fields.iter().try_for_each(|name| self.cat_field(name, style, out))
    }

    fn cat_field(&self, name: &str, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        let Some(value) = self.get(name) else { return Ok(()) };
        let colour = if style.colour { short::colour(self) } else { ("", "", "") };
        let inside = self.found.as_ref().filter(|_| style.colour && name == "MESSAGE").and_then(|range| {
            Some((value.get(..range.start)?, value.get(range.clone())?, value.get(range.end..)?))
        });
        out.write_all(colour.0.as_bytes())?;
        match inside {
            Some((before, found, after)) => {
                out.write_all(before)?;
                out.write_all(colour.2.as_bytes())?;
                out.write_all(found)?;
                out.write_all(if colour.0.is_empty() { colour.1 } else { colour.0 }.as_bytes())?;
                out.write_all(after)?;
            }
            None => out.write_all(value)?,
        }
        out.write_all(colour.1.as_bytes())?;
        out.write_all(b"\n")
    }

    fn verbose(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        let time = self.time("_SOURCE_REALTIME_TIMESTAMP", self.entry.time.realtime);
        let time = time::format(time, "%a %Y-%m-%d %H:%M:%S.%6f UTC");
        writeln!(out, "{time} [{}]", self.cursor())?;
        for (name, value) in self.pairs(&style.fields) {
            let (on, off) =
                if style.colour && name == "MESSAGE" { ("\x1b[0;1;39m", "\x1b[0m") } else { ("", "") };
            let long = style.columns.is_some() && name.len() + 1 + value.len() >= text::LONG;
            if style.all || !long && is_printable(value) {
                write!(out, "    {on}{name}=")?;
                let lines =
                    Lines { indent: 5 + name.len(), columns: None, colour: ("", "", ""), highlight: None };
                lines.print(value, out)?;
                out.write_all(off.as_bytes())?;
            } else {
                writeln!(out, "    {on}{name}={}{off}", blob(value.len()))?;
            }
        }
        if style.catalog { catalog::print(self, out) } else { Ok(()) }
    }

    fn export(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        let time = self.entry.time;
        writeln!(
            out,
            "__CURSOR={}\n__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={}",
            self.cursor(),
            time.realtime,
            time.monotonic,
            format_id(&self.entry.boot_id)
        )?;
        for (name, value) in self.pairs(&style.fields).filter(|(name, _)| *name != "_BOOT_ID") {
            out.write_all(name.as_bytes())?;
            if is_printable(value) && !value.contains(&b'\n') {
                out.write_all(b"=")?;
            } else {
                out.write_all(b"\n")?;
                out.write_all(&(value.len() as u64).to_le_bytes())?;
            }
            out.write_all(value)?;
            out.write_all(b"\n")?;
        }
        out.write_all(b"\n")
    }
}
