//! The stream protocol of /run/systemd/journal/stdout, what a service's output is connected to: seven lines, then
//! the output. Pure: bytes in, records out. Source: systemd's journald-stream.c and sd_journal_stream_fd(3).

use crate::intake::{INFO, split_priority};
use crate::place::{format_id, random_id};
use crate::record::Record;

/// A longer line is broken: systemd's LineMax.
const LINE_MAX: usize = 48 << 10;
/// A header line may not be longer.
const HEADER_MAX: usize = 4096;

/// What the seven lines said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Header {
    identifier: String,
    unit: String,
    /// Facility and priority.
    priority: u16,
    level_prefix: bool,
    to_console: bool,
}

/// A line of output.
#[derive(Debug)]
pub struct Line {
    /// Its fields, without the trusted ones.
    pub record: Record,
    /// 0 (worst) to 7.
    pub priority: u8,
    /// Whether the console shall show it too.
    pub to_console: bool,
}

/// One stream.
pub struct Stream {
    header: Header,
    /// Lines of the header that have come.
    seen: u8,
    /// The beginning of a line.
    pending: Vec<u8>,
    id: String,
}

/// The peer does not speak the protocol.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {0} of a stream's header is malformed")]
pub struct Malformed(u8);

/// Why a line ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Break {
    Newline,
    Nul,
    LineMax,
    Eof,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream { header: Header::default(), seen: 0, pending: Vec::new(), id: format_id(&random_id()) }
    }
}

impl Stream {
    /// The unit, as the peer named it.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        Some(self.header.unit.as_str()).filter(|unit| !unit.is_empty())
    }

    /// Takes bytes and calls `each` with every line they complete.
    ///
    /// # Errors
    /// The header is malformed: close the stream.
    pub fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(&Stream, Line)) -> Result<(), Malformed> {
        let mut pending = std::mem::take(&mut self.pending);
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | 0)) {
            let reason = if rest.get(end) == Some(&0) { Break::Nul } else { Break::Newline };
            let line = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            if pending.is_empty() {
                self.line(line, reason, each)?;
            } else {
                pending.extend(line);
                let line = std::mem::take(&mut pending);
                self.line(&line, reason, each)?;
            }
        }
        pending.extend(rest);
        if self.seen < 7 && pending.len() > HEADER_MAX {
            return Err(Malformed(self.seen + 1));
        }
        while pending.len() >= LINE_MAX {
            let after = pending.split_off(LINE_MAX);
            self.text(&pending, Break::LineMax, each);
            pending = after;
        }
        self.pending = pending;
        Ok(())
    }

    /// The stream has ended: what is pending is the last line.
    pub fn finish(&mut self, each: &mut dyn FnMut(&Stream, Line)) {
        let pending = std::mem::take(&mut self.pending);
        if self.seen == 7 {
            self.text(&pending, Break::Eof, each);
        }
    }

    fn line(
        &mut self,
        line: &[u8],
        reason: Break,
        each: &mut dyn FnMut(&Stream, Line),
    ) -> Result<(), Malformed> {
        if self.seen < 7 {
            return self.header_line(line);
        }
        let mut rest = line;
        while rest.len() > LINE_MAX {
            let (head, tail) = rest.split_at(LINE_MAX);
            self.text(head, Break::LineMax, each);
            rest = tail;
        }
        self.text(rest, reason, each);
        Ok(())
    }

    fn header_line(&mut self, line: &[u8]) -> Result<(), Malformed> {
        self.seen += 1;
        let malformed = Malformed(self.seen);
        let text = std::str::from_utf8(line).map_err(|_| Malformed(self.seen))?.trim();
        let flag = || match text {
            "1" | "yes" | "true" | "on" => Some(true),
            "0" | "no" | "false" | "off" => Some(false),
            _ => None,
        };
        match self.seen {
            1 => text.clone_into(&mut self.header.identifier),
            2 => {
                // What is no unit's name is ignored, as systemd does.
                if text.len() < 256 && text.contains('.') && !text.contains('/') {
                    text.clone_into(&mut self.header.unit);
                }
            }
            3 => self.header.priority = text.parse().ok().filter(|value| *value < 192).ok_or(malformed)?,
            4 => self.header.level_prefix = flag().ok_or(malformed)?,
            7 => self.header.to_console = flag().ok_or(malformed)?,
            // To syslog and to the kernel's log: not ours to forward.
            _ => drop(flag().ok_or(malformed)?),
        }
        Ok(())
    }

    fn text(&self, line: &[u8], reason: Break, each: &mut dyn FnMut(&Stream, Line)) {
        let mut value = self.header.priority;
        let mut text = line;
        if self.header.level_prefix
            && let Some((prefix, rest)) = split_priority(text)
        {
            value = if prefix > 7 { prefix } else { value & !7 | prefix };
            text = rest;
        }
        let end = text.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
        text = text.get(..end).unwrap_or_default();
        if text.is_empty() {
            return;
        }
        let priority = (value & 7) as u8;
        let mut record = Record::default();
        record.push("_TRANSPORT", "stdout");
        record.push("_STREAM_ID", &self.id);
        record.push("PRIORITY", priority.to_string());
        if value > 7 {
            record.push("SYSLOG_FACILITY", (value >> 3).to_string());
        }
        if !self.header.identifier.is_empty() {
            record.push("SYSLOG_IDENTIFIER", &self.header.identifier);
        }
        match reason {
            Break::Newline => {}
            Break::Nul => record.push("_LINE_BREAK", "nul"),
            Break::LineMax => record.push("_LINE_BREAK", "line-max"),
            Break::Eof => record.push("_LINE_BREAK", "eof"),
        }
        record.push("MESSAGE", text);
        each(self, Line { record, priority, to_console: self.header.to_console });
    }
}

/// The header that asks for a priority of 6 and level prefixes, for programs that open a stream themselves.
#[must_use]
pub fn header(identifier: &str, unit: &str) -> String {
    format!("{identifier}\n{unit}\n{}\n1\n0\n0\n0\n", u16::from(INFO) | 3 << 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Result<Vec<(String, u8)>, Malformed> {
        let mut stream = Stream::default();
        let mut list = Vec::new();
        let mut each = |_: &Stream, line: Line| {
            let text = String::from_utf8_lossy(line.record.get("MESSAGE").unwrap()).into_owned();
            list.push((text, line.priority));
        };
        for chunk in chunks {
            stream.feed(chunk, &mut each)?;
        }
        stream.finish(&mut each);
        Ok(list)
    }

    #[test]
    fn header_and_lines() {
        let head = header("hello", "hello.service");
        let got = lines(&[head.as_bytes(), b"one\n\n<3>two  \nthr", b"ee\0four"]).unwrap();
        let expected = [("one", 6), ("two", 3), ("three", 6), ("four", 6)];
        assert_eq!(got, expected.map(|(text, priority)| (text.to_owned(), priority)));
    }

    #[test]
    fn long_lines_are_broken() {
        let head = header("a", "");
        let long = vec![b'x'; 2 * LINE_MAX + 10];
        let got = lines(&[head.as_bytes(), &long, b"\n"]).unwrap();
        assert_eq!(got.iter().map(|(text, _)| text.len()).collect::<Vec<_>>(), [LINE_MAX, LINE_MAX, 10]);
    }

    #[test]
    fn strangers_are_refused() {
        assert_eq!(lines(&[b"GET / HTTP/1.1\nHost: x\nfoo\n"]), Err(Malformed(3)));
        assert_eq!(lines(&[&[b'x'; 5000]]), Err(Malformed(1)));
        assert_eq!(lines(&[b"\xff\n"]), Err(Malformed(1)));
    }

    proptest::proptest! {
        #[test]
        fn chunks_do_not_matter(text: Vec<u8>, cut: proptest::sample::Index) {
            let head = header("a", "b.service");
            let whole = [head.as_bytes(), &text].concat();
            let at = cut.index(whole.len() + 1).min(whole.len());
            let (first, second) = whole.split_at(at);
            proptest::prop_assert_eq!(lines(&[first, second]), lines(&[&whole]));
        }
    }
}
