//! The stream protocol of /run/systemd/journal/stdout, what a service's output is connected to: seven lines, then
//! the output. Pure: bytes in, records out. Source: systemd's journald-stream.c and sd_journal_stream_fd(3).

use crate::intake::{INFO, split_priority};
use crate::place::{format_id, random_id};
use crate::record::Record;

/// Lines of the header.
const LINES: u8 = 7;
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
    forward: Forward,
}

/// Where the lines shall go besides the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forward {
    /// To the syslog socket.
    pub to_syslog: bool,
    /// To the kernel's log.
    pub to_kmsg: bool,
    /// To the console.
    pub to_console: bool,
}

/// A line of output.
#[derive(Debug)]
pub struct Line {
    /// Its fields, without the trusted ones.
    pub record: Record,
    /// 0 (worst) to 7.
    pub priority: u8,
    /// Who shall have it too.
    pub forward: Forward,
}

/// One stream.
pub struct Stream {
    header: Header,
    /// Lines of the header that have come.
    seen: u8,
    /// The beginning of a line.
    pending: Vec<u8>,
    id: String,
    /// A longer line is broken.
    line_max: usize,
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
    PidChange,
    Eof,
}

impl Stream {
    /// A stream whose header is still to come; longer lines than `line_max` are broken.
    #[must_use]
    pub fn new(line_max: usize) -> Stream {
        Stream {
            header: Header::default(),
            seen: 0,
            pending: Vec::new(),
            id: format_id(&random_id()),
            line_max: line_max.max(1),
        }
    }

    /// Whether the header has come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.seen == LINES
    }

    /// What has to be known to go on with the stream in another process, once it is open.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let Header { identifier, unit, priority, level_prefix, forward } = &self.header;
        let flag = |flag: bool| u8::from(flag);
        let mut text = format!(
            "{}\n{identifier}\n{unit}\n{priority}\n{}\n{}\n{}\n{}\n",
            self.id,
            flag(*level_prefix),
            flag(forward.to_syslog),
            flag(forward.to_kmsg),
            flag(forward.to_console)
        )
        .into_bytes();
        text.extend(&self.pending);
        text
    }

    /// A stream as it was saved.
    #[must_use]
    pub fn restore(saved: &[u8], line_max: usize) -> Option<Stream> {
        let end = saved.iter().position(|byte| *byte == b'\n')?;
        let id = std::str::from_utf8(saved.get(..end)?).ok()?;
        crate::place::parse_id(id)?;
        let mut stream = Stream { id: id.to_owned(), ..Stream::new(line_max) };
        let mut rest = saved.get(end + 1..)?;
        while !stream.is_open() {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            stream.header_line(rest.get(..end)?).ok()?;
            rest = rest.get(end + 1..)?;
        }
        stream.pending = rest.get(..rest.len().min(stream.line_max - 1))?.to_vec();
        Some(stream)
    }

    /// Whether the beginning of a line waits for its end.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Another process goes on: what is pending is a line of the one before.
    pub fn change_pid(&mut self, each: &mut dyn FnMut(&Stream, Line)) {
        if self.is_open() && self.has_pending() {
            let pending = std::mem::take(&mut self.pending);
            self.text(&pending, Break::PidChange, each);
        }
    }

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
        if self.seen < LINES && pending.len() > HEADER_MAX {
            return Err(Malformed(self.seen + 1));
        }
        if pending.len() >= self.line_max {
            let whole = pending.len() / self.line_max * self.line_max;
            let after = pending.split_off(whole);
            pending.chunks(self.line_max).for_each(|part| self.text(part, Break::LineMax, each));
            pending = after;
        }
        self.pending = pending;
        Ok(())
    }

    /// The stream has ended: what is pending is the last line.
    pub fn finish(&mut self, each: &mut dyn FnMut(&Stream, Line)) {
        let pending = std::mem::take(&mut self.pending);
        if self.is_open() {
            self.text(&pending, Break::Eof, each);
        }
    }

    fn line(
        &mut self,
        line: &[u8],
        reason: Break,
        each: &mut dyn FnMut(&Stream, Line),
    ) -> Result<(), Malformed> {
        if self.seen < LINES {
            return self.header_line(line);
        }
        let mut rest = line;
        while rest.len() > self.line_max {
            let (head, tail) = rest.split_at(self.line_max);
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
            5 => self.header.forward.to_syslog = flag().ok_or(malformed)?,
            6 => self.header.forward.to_kmsg = flag().ok_or(malformed)?,
            _ => self.header.forward.to_console = flag().ok_or(malformed)?,
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
            Break::PidChange => record.push("_LINE_BREAK", "pid-change"),
            Break::Eof => record.push("_LINE_BREAK", "eof"),
        }
        record.push("MESSAGE", text);
        each(self, Line { record, priority, forward: self.header.forward });
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

    const LINE_MAX: usize = 48 << 10;

    fn lines(chunks: &[&[u8]]) -> Result<Vec<(String, u8)>, Malformed> {
        let mut stream = Stream::new(LINE_MAX);
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

    #[test]
    fn another_process_goes_on() {
        let mut stream = Stream::new(LINE_MAX);
        let mut got = Vec::new();
        let mut each = |_: &Stream, line: Line| {
            let field = |name| line.record.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
            got.push((field("MESSAGE"), field("_LINE_BREAK")));
        };
        stream.feed(header("a", "a.service").as_bytes(), &mut each).unwrap();
        stream.feed(b"half", &mut each).unwrap();
        let saved = stream.save();
        stream.change_pid(&mut each);
        let mut other = Stream::restore(&saved, LINE_MAX).unwrap();
        assert_eq!((other.unit(), other.id.clone()), (Some("a.service"), stream.id.clone()));
        other.feed(b" a line\n", &mut each).unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(got, [(text("half"), text("pid-change")), (text("half a line"), None)]);
        assert!(Stream::restore(&saved[..45], LINE_MAX).is_none());
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>, line_max in 0_usize..100) {
            let _ = Stream::restore(&bytes, line_max);
            let head = header("a", "b.service");
            let mut stream = Stream::new(line_max);
            let mut size = 0;
            let mut each = |_: &Stream, line: Line| size += line.record.get("MESSAGE").unwrap().len();
            stream.feed(head.as_bytes(), &mut each).unwrap();
            stream.feed(&bytes, &mut each).unwrap();
            stream.finish(&mut each);
            proptest::prop_assert!(size <= bytes.len());
        }

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
