//! Text for a terminal: what can be shown as it is, what is taken out of it, and lines of bounded width. The rules
//! are journalctl's own.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

use crate::query::time::format_size;

/// Fields that are longer are not shown in front of a message, and lines are cut off there.
pub const LONG: usize = 300;
/// Lines of a message that are shown when not all is wanted.
const LINES: usize = 3;

/// Whether a terminal can show it: UTF-8 without control characters, but for tab and line break, and without what
/// Unicode says is no character.
#[must_use]
pub fn is_printable(bytes: &[u8]) -> bool {
    // Most text is plain.
    if bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n')) {
        return true;
    }
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.chars().all(|c| {
            let code = u32::from(c);
            let no_character = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
            matches!(c, '\t' | '\n') || !c.is_control() && !no_character
        })
    })
}

/// What stands in the place of bytes that cannot be shown.
#[must_use]
pub fn blob(size: usize) -> String {
    format!("[{} blob data]", format_size(size as u64))
}

/// Without the sequences that colour text or set a title, tabs as spaces, carriage returns gone at the ends of lines.
#[must_use]
pub fn plain(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'\t' | b'\r' | 0x1b)) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\t' => out.extend([b' '; 8]),
            b'\r' if matches!(after.first(), None | Some(b'\n')) => {}
            0x1b => match sequence(after) {
                Some(size) => rest = after.get(size..).unwrap_or_default(),
                None => out.push(*byte),
            },
            other => out.push(*other),
        }
    }
    Cow::Owned(out)
}

/// The length of what follows an escape character, if it is a colour (`[…m`) or an operating system command
/// (`]…` and a bell).
fn sequence(after: &[u8]) -> Option<usize> {
    let (kind, rest) = after.split_first()?;
    let inside = |byte: &u8| match kind {
        b'[' => byte.is_ascii_digit() || *byte == b';',
        b']' => (b' '..=b'~').contains(byte),
        _ => false,
    };
    let end = rest.iter().position(|byte| !inside(byte))?;
    let closing = if *kind == b'[' { b'm' } else { 0x07 };
    (rest.get(end) == Some(&closing)).then_some(end + 2)
}

/// How lines are printed.
pub struct Lines<'a> {
    /// Columns that stand before the first line, and are left free before the others.
    pub indent: usize,
    /// Lines end before this column; `None` is never.
    pub columns: Option<usize>,
    /// What turns a colour on and off, and a highlight within it on.
    pub colour: (&'a str, &'a str, &'a str),
    /// What is highlighted, of the whole text.
    pub highlight: Option<Range<usize>>,
}

impl Lines<'_> {
    /// Prints a text, each line with its line break.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn print(&self, text: &[u8], out: &mut dyn Write) -> io::Result<()> {
        if text.is_empty() {
            return out.write_all(b"\n");
        }
        let text_end = text.strip_suffix(b"\n").unwrap_or(text);
        let mut start = 0;
        for (number, line) in text_end.split(|byte| *byte == b'\n').enumerate() {
            let end = start + line.len();
            if number > 0 {
                write!(out, "{:1$}", "", self.indent)?;
            }
            let last = number + 1 == LINES || end + 1 >= LONG;
            match self.columns {
                Some(columns) if last || self.indent + line.len() + 1 >= columns => {
                    self.print_cut_off(line, columns, last, out)?;
                    if last {
                        break;
                    }
                }
                _ => self.print_whole(line, start, out)?,
            }
            start = end + 1;
        }
        Ok(())
    }

    fn print_whole(&self, line: &[u8], start: usize, out: &mut dyn Write) -> io::Result<()> {
        let (on, off, highlight_on) = self.colour;
        out.write_all(on.as_bytes())?;
        let inside = self.highlight.as_ref().and_then(|range| {
            let (from, to) = (range.start.checked_sub(start)?, range.end.checked_sub(start)?);
            Some((line.get(..from)?, line.get(from..to)?, line.get(to..)?))
        });
        match inside {
            Some((before, found, after)) => {
                out.write_all(before)?;
                out.write_all(highlight_on.as_bytes())?;
                out.write_all(found)?;
                out.write_all(if on.is_empty() { off.as_bytes() } else { on.as_bytes() })?;
                out.write_all(after)?;
            }
            None => out.write_all(line)?,
        }
        out.write_all(off.as_bytes())?;
        out.write_all(b"\n")
    }

    fn print_cut_off(&self, line: &[u8], columns: usize, last: bool, out: &mut dyn Write) -> io::Result<()> {
        let (on, off, _) = self.colour;
        let room = columns.saturating_sub(self.indent);
        if room < 3 {
            return out.write_all(b"...\n");
        }
        if room > line.len() + 3 {
            out.write_all(on.as_bytes())?;
            out.write_all(line)?;
            return writeln!(out, "...{off}");
        }
        let line = String::from_utf8_lossy(line);
        writeln!(out, "{on}{}{off}", ellipsize(&line, room, if last { 100 } else { 90 }))
    }
}

/// A text in so many columns, with a mark where something is missing, after so many percent of them.
fn ellipsize(text: &str, columns: usize, percent: usize) -> String {
    let count = text.chars().count();
    if count <= columns {
        return text.to_owned();
    }
    let rest = columns.saturating_sub(1);
    let before = (rest * percent + 50) / 100;
    let after = rest - before.min(rest);
    let head = text.chars().take(before);
    head.chain(['…']).chain(text.chars().skip(count - after)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text() {
        let plain = |text: &str| String::from_utf8(plain(text.as_bytes()).into_owned()).unwrap();
        assert_eq!(plain("a\x1b[1;31mred\x1b[0m\tb\r"), "ared        b");
        assert_eq!(plain("\x1b]0;title\x07link"), "link");
        assert_eq!(
            plain("\x1b[2Jcleared"),
            "\x1b[2Jcleared",
            "what moves the cursor stays, and is unprintable"
        );
        assert_eq!(plain("a\rb\r\nc"), "a\rb\nc");
        assert!(!is_printable(b"\x07") && !is_printable(b"\xff") && !is_printable("\u{fdd0}".as_bytes()));
        assert!(is_printable("ä\tb\n".as_bytes()));
    }

    #[test]
    fn lines_of_a_width() {
        let print = |text: &str, columns| {
            let mut out = Vec::new();
            let lines = Lines { indent: 4, columns, colour: ("", "", ""), highlight: None };
            lines.print(text.as_bytes(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(print("one\ntwo\n", None), "one\n    two\n");
        assert_eq!(print("", None), "\n");
        assert_eq!(print("abcdefghijklmnop", Some(14)), "abcdefgh…p\n");
        assert_eq!(print("a\nb\nc\nd", Some(40)), "a\n    b\n    c...\n");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(text: Vec<u8>, columns in 0_usize..50, indent in 0_usize..50) {
            let text = plain(&text);
            let lines = Lines { indent, columns: Some(columns), colour: ("", "", ""), highlight: Some(3..5) };
            lines.print(&text, &mut Vec::new()).unwrap();
        }
    }
}
