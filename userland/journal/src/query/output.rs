//! How an entry is printed. Each format is the real journalctl's, byte for byte where the file allows. Source:
//! journalctl(1), "--output=", and systemd's JOURNAL_EXPORT_FORMATS.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::file::{Entry, Id128};
use crate::place::format_id;
use crate::query::time;

/// A format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// As syslog does
    Short,
    /// With the weekday, the year and the zone
    ShortFull,
    /// With an ISO 8601 time
    ShortIso,
    /// The same with microseconds
    ShortIsoPrecise,
    /// With microseconds
    ShortPrecise,
    /// With seconds since boot
    ShortMonotonic,
    /// With seconds since 1970
    ShortUnix,
    /// With the unit in place of the program
    WithUnit,
    /// The message alone
    Cat,
    /// One object a line
    Json,
    /// One object, laid out
    JsonPretty,
    /// For transfer and backup
    Export,
    /// All fields
    Verbose,
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
    /// Colours, for a terminal.
    pub colour: bool,
    /// Only these fields, in formats that print all of them; empty is all.
    pub fields: Vec<String>,
}

/// An entry with its fields read.
#[derive(Debug, Clone)]
pub struct Row {
    /// The entry.
    pub entry: Entry,
    /// The numbering of its file.
    pub seqnum_id: Id128,
    /// Its fields, `FIELD=value`.
    pub fields: Vec<Vec<u8>>,
}

/// Fields longer than this are left out of JSON.
const JSON_FIELD_MAX: usize = 4096;

impl Row {
    /// The value of a field.
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

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The name of this place in the journal.
    #[must_use]
    pub fn cursor(&self) -> String {
        let entry = &self.entry;
        format!(
            "s={};i={:x};b={};m={:x};t={:x};x={:x}",
            format_id(&self.seqnum_id),
            entry.seqnum,
            format_id(&entry.boot_id),
            entry.time.monotonic,
            entry.time.realtime,
            entry.xor_hash
        )
    }

    /// Prints the entry.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn print(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        match style.format {
            Format::Cat => self.cat(style, out),
            Format::Json => writeln!(out, "{}", self.json(style)),
            Format::JsonPretty => writeln!(out, "{:#}", self.json(style)),
            Format::Export => self.export(style, out),
            Format::Verbose => self.verbose(style, out),
            _ => self.short(style, out),
        }
    }

    fn cat(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        if style.fields.is_empty() {
            if let Some(message) = self.get("MESSAGE") {
                out.write_all(message)?;
                out.write_all(b"\n")?;
            }
            return Ok(());
        }
        for (_, value) in self.pairs(&style.fields) {
            out.write_all(value)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    fn short(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        let mut head = self.time(style.format);
        if !style.no_hostname
            && let Some(hostname) = self.text("_HOSTNAME")
        {
            head.push(' ');
            head.push_str(&hostname);
        }
        let name = if style.format == Format::WithUnit {
            self.text("_SYSTEMD_UNIT").or_else(|| self.text("UNIT"))
        } else {
            None
        };
        let name = name.or_else(|| self.text("SYSLOG_IDENTIFIER")).or_else(|| self.text("_COMM"));
        head.push(' ');
        head.push_str(name.as_deref().unwrap_or("unknown"));
        if let Some(pid) = self.text("_PID").or_else(|| self.text("SYSLOG_PID")) {
            head.push_str(&format!("[{pid}]"));
        }
        head.push_str(": ");
        let Some(message) = self.get("MESSAGE") else { return Ok(()) };
        let message = match std::str::from_utf8(message) {
            Ok(text) if style.all => text.to_owned(),
            Ok(text) => match plain(text) {
                text if is_printable(&text) => text,
                _ => blob(message),
            },
            Err(_) if style.all => String::from_utf8_lossy(message).into_owned(),
            Err(_) => blob(message),
        };
        let (on, off) = if style.colour { self.colour() } else { ("", "") };
        let indent = " ".repeat(head.chars().count());
        for (index, line) in message.trim_end_matches('\n').split('\n').enumerate() {
            let head = if index == 0 { &head } else { &indent };
            writeln!(out, "{head}{on}{line}{off}")?;
        }
        Ok(())
    }

    fn colour(&self) -> (&'static str, &'static str) {
        let on = match self.get("PRIORITY") {
            Some(b"0" | b"1" | b"2" | b"3") => "\x1b[0;1;31m",
            Some(b"4") => "\x1b[0;1;33m",
            Some(b"5") => "\x1b[0;1;39m",
            Some(b"7") => "\x1b[0;90m",
            _ => return ("", ""),
        };
        (on, "\x1b[0m")
    }

    fn time(&self, format: Format) -> String {
        let realtime = self.entry.time.realtime;
        let directives = match format {
            Format::ShortFull | Format::WithUnit => "%a %Y-%m-%d %H:%M:%S UTC",
            Format::ShortIso => "%Y-%m-%dT%H:%M:%S+0000",
            Format::ShortIsoPrecise => "%Y-%m-%dT%H:%M:%S.%6f+0000",
            Format::ShortPrecise => "%b %d %H:%M:%S.%6f",
            Format::ShortUnix => return format!("{}.{:06}", realtime / 1_000_000, realtime % 1_000_000),
            Format::ShortMonotonic => {
                let time = self.entry.time.monotonic;
                return format!("[{:5}.{:06}]", time / 1_000_000, time % 1_000_000);
            }
            _ => "%b %d %H:%M:%S",
        };
        time::format(realtime, directives)
    }

    fn verbose(&self, style: &Style, out: &mut dyn Write) -> io::Result<()> {
        let time = time::format(self.entry.time.realtime, "%a %Y-%m-%d %H:%M:%S.%6f UTC");
        writeln!(out, "{time} [{}]", self.cursor())?;
        for (name, value) in self.pairs(&style.fields) {
            let text = match std::str::from_utf8(value) {
                Ok(text) if style.all || is_printable(text) => {
                    text.replace('\n', &format!("\n    {:1$}", "", name.len() + 1))
                }
                _ if style.all => String::from_utf8_lossy(value).into_owned(),
                _ => blob(value),
            };
            writeln!(out, "    {name}={text}")?;
        }
        Ok(())
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
            if std::str::from_utf8(value).is_ok_and(|text| is_printable(text) && !text.contains('\n')) {
                write!(out, "{name}=")?;
            } else {
                writeln!(out, "{name}")?;
                out.write_all(&(value.len() as u64).to_le_bytes())?;
            }
            out.write_all(value)?;
            out.write_all(b"\n")?;
        }
        out.write_all(b"\n")
    }

    fn json(&self, style: &Style) -> Value {
        let time = self.entry.time;
        let mut object = Map::new();
        object.insert("__CURSOR".to_owned(), self.cursor().into());
        object.insert("__REALTIME_TIMESTAMP".to_owned(), time.realtime.to_string().into());
        object.insert("__MONOTONIC_TIMESTAMP".to_owned(), time.monotonic.to_string().into());
        object.insert("_BOOT_ID".to_owned(), format_id(&self.entry.boot_id).into());
        for (name, value) in self.pairs(&style.fields).filter(|(name, _)| *name != "_BOOT_ID") {
            let value = match std::str::from_utf8(value) {
                _ if value.len() >= JSON_FIELD_MAX && !style.all => Value::Null,
                Ok(text) if is_printable(text) => text.into(),
                _ => Value::Array(value.iter().map(|byte| Value::from(*byte)).collect()),
            };
            match object.get_mut(name) {
                None => drop(object.insert(name.to_owned(), value)),
                // A second value makes it a list; a list of numbers is one binary value.
                Some(Value::Array(list)) if !list.iter().all(Value::is_number) => list.push(value),
                Some(first) => *first = Value::Array(vec![first.take(), value]),
            }
        }
        Value::Object(object)
    }
}

fn blob(value: &[u8]) -> String {
    format!("[{} blob data]", time::format_size(value.len() as u64))
}

/// Whether a terminal can show it: no control characters but tab and line break.
fn is_printable(text: &str) -> bool {
    text.chars().all(|c| matches!(c, '\t' | '\n') || !c.is_control())
}

/// Without ANSI sequences, tabs as spaces, trailing carriage returns gone.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' => out.push_str("        "),
            '\r' if chars.peek().is_none_or(|next| *next == '\n') => {}
            '\x1b' if chars.peek() == Some(&'[') => {
                chars.next();
                while chars.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {}
            }
            // OSC, up to BEL or ESC \.
            '\x1b' if chars.peek() == Some(&']') => {
                while let Some(c) = chars.next() {
                    if c == '\x07' || c == '\x1b' && chars.next_if_eq(&'\\').is_some() {
                        break;
                    }
                }
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text() {
        assert_eq!(plain("a\x1b[1;31mred\x1b[0m\tb\r"), "ared        b");
        assert_eq!(plain("\x1b]8;;http://x\x07link\x1b]8;;\x1b\\!"), "link!");
        assert!(!is_printable("\x07"));
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(text: String) {
            let _ = plain(&text);
        }
    }
}
