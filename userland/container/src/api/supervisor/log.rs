//! A container's log: `ID-json.log` in Docker's format, which has a largest size, and the journal.
//!
//! A line is `{"log":"text\n","stream":"stdout","time":"…"}`; one that is longer than 16 KiB comes in pieces
//! without the newline. When the file is full it becomes `.1`, and what was `.1` goes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::api::settings::LogConfig;
use crate::api::{frame, time};
use crate::state::Record;

const LONGEST_LINE: usize = 16 << 10;
/// Where nothing else is said: a container that talks for years must not fill the disk.
const USUAL_SIZE: u64 = 16 << 20;
const USUAL_FILES: u32 = 2;
const JOURNAL: &str = "/run/systemd/journal/stdout";

/// The log of a running container.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    largest: u64,
    files: u32,
    journal: Option<Journal>,
    /// Begun lines of standard output and error.
    begun: [Vec<u8>; 2],
}

#[derive(Debug)]
struct Journal {
    stdout: UnixStream,
    stderr: UnixStream,
}

impl Log {
    /// Opens it, to be appended to.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(dir: &Path, record: &Record, config: &LogConfig) -> io::Result<Self> {
        let path = path(dir, &record.id);
        let options = config.config.as_ref();
        let (largest, files) = limits(options);
        let wants_file = !matches!(config.kind.as_str(), "none" | "journald");
        let file =
            if wants_file { Some(OpenOptions::new().append(true).create(true).open(&path)?) } else { None };
        let size = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |file| file.len());
        let journal = if config.kind == "none" { None } else { Journal::connect(record) };
        Ok(Self { path, file, size, largest, files, journal, begun: [Vec::new(), Vec::new()] })
    }

    /// Takes what the container has said.
    pub fn take(&mut self, kind: u8, mut bytes: &[u8]) {
        let at = usize::from(kind == frame::STDERR);
        while !bytes.is_empty() {
            let Some(begun) = self.begun.get_mut(at) else { return };
            let room = LONGEST_LINE.saturating_sub(begun.len());
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let take = end.map_or(room.min(bytes.len()), |end| end + 1);
            let (now, later) = bytes.split_at(take);
            begun.extend(now);
            bytes = later;
            if end.is_some() || begun.len() >= LONGEST_LINE {
                let line = std::mem::take(begun);
                self.line(kind, &line);
            }
        }
    }

    /// Writes lines that were begun and do not go on.
    pub fn finish(&mut self) {
        for kind in [frame::STDOUT, frame::STDERR] {
            let line = std::mem::take(&mut self.begun[usize::from(kind == frame::STDERR)]);
            if !line.is_empty() {
                self.line(kind, &line);
            }
        }
    }

    fn line(&mut self, kind: u8, line: &[u8]) {
        if let Some(journal) = &mut self.journal {
            journal.line(kind, line);
        }
        if self.file.is_none() {
            return;
        }
        let stream = if kind == frame::STDERR { "stderr" } else { "stdout" };
        let text = String::from_utf8_lossy(line);
        let mut entry = json!({ "log": text, "stream": stream, "time": time::now() }).to_string();
        entry.push('\n');
        let length = entry.len() as u64;
        if self.size > 0 && self.size + length > self.largest {
            self.turn();
        }
        // A full disk costs lines of the log, not the container.
        if let Some(file) = &mut self.file
            && file.write_all(entry.as_bytes()).is_ok()
        {
            self.size += length;
        }
    }

    fn turn(&mut self) {
        let numbered = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..self.files.saturating_sub(1)).rev() {
            let _ = fs::rename(numbered(number), numbered(number + 1));
        }
        let _ =
            if self.files > 1 { fs::rename(&self.path, numbered(1)) } else { fs::remove_file(&self.path) };
        if let Ok(file) = OpenOptions::new().append(true).create(true).open(&self.path) {
            self.file = Some(file);
            self.size = 0;
        }
    }
}

/// Where the log of a container is.
#[must_use]
pub fn path(dir: &Path, id: &str) -> PathBuf {
    dir.join(format!("{id}-json.log"))
}

/// `max-size` in bytes and `max-file`.
fn limits(options: Option<&BTreeMap<String, String>>) -> (u64, u32) {
    let option = |name: &str| options.and_then(|options| options.get(name));
    let size = option("max-size").and_then(|text| {
        let text = text.to_ascii_lowercase();
        let plain = text.trim_end_matches('b');
        let (number, unit) = match plain.char_indices().last() {
            Some((at, 'k')) => (plain.get(..at)?, 1 << 10),
            Some((at, 'm')) => (plain.get(..at)?, 1 << 20),
            Some((at, 'g')) => (plain.get(..at)?, 1 << 30),
            _ => (plain, 1),
        };
        number.parse::<u64>().ok()?.checked_mul(unit)
    });
    let files = option("max-file").and_then(|text| text.parse().ok()).filter(|files| *files > 0);
    // With a size alone Docker keeps one file.
    let usual = if size.is_some() { 1 } else { USUAL_FILES };
    (size.filter(|size| *size > 0).unwrap_or(USUAL_SIZE), files.unwrap_or(usual))
}

impl Journal {
    /// Connects under the container's name; none where there is no journal.
    fn connect(record: &Record) -> Option<Self> {
        let stream = |priority: u8| {
            let mut stream = UnixStream::connect(JOURNAL).ok()?;
            // Identifier, unit, priority, then: no level prefixes, nowhere else.
            stream.write_all(format!("{}\n\n{priority}\n0\n0\n0\n0\n", record.name).as_bytes()).ok()?;
            // A journal that does not keep up loses lines rather than stop the container.
            stream.set_nonblocking(true).ok()?;
            Some(stream)
        };
        Some(Self { stdout: stream(6)?, stderr: stream(4)? })
    }

    fn line(&mut self, kind: u8, line: &[u8]) {
        let stream = if kind == frame::STDERR { &mut self.stderr } else { &mut self.stdout };
        let _ = stream.write(line);
        if line.last() != Some(&b'\n') {
            let _ = stream.write(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(dir: &Path, largest: u64, files: u32) -> Log {
        let path = dir.join("x-json.log");
        let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        Log {
            path,
            file: Some(file),
            size: 0,
            largest,
            files,
            journal: None,
            begun: [Vec::new(), Vec::new()],
        }
    }

    #[test]
    fn lines_are_kept_whole_and_streams_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1 << 20, 2);
        log.take(frame::STDOUT, b"one\ntw");
        log.take(frame::STDERR, b"bad\n");
        log.take(frame::STDOUT, b"o\n\xff");
        log.take(frame::STDERR, &[b'x'; LONGEST_LINE + 1]);
        log.finish();
        let text = fs::read_to_string(dir.path().join("x-json.log")).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let told: Vec<(&str, usize)> = lines
            .iter()
            .map(|line| (line["stream"].as_str().unwrap(), line["log"].as_str().unwrap().len()))
            .collect();
        assert_eq!(
            told,
            [
                ("stdout", 4),
                ("stderr", 4),
                ("stdout", 4),
                ("stderr", LONGEST_LINE),
                ("stdout", 3),
                ("stderr", 1)
            ]
        );
        assert!(lines.iter().all(|line| time::parse(line["time"].as_str().unwrap()).is_some()));
    }

    #[test]
    fn a_full_log_turns_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = log(dir.path(), 1000, 3);
        for number in 0..200 {
            log.take(frame::STDOUT, format!("line {number}\n").as_bytes());
        }
        let size = |name: &str| fs::metadata(dir.path().join(name)).map_or(0, |file| file.len());
        for name in ["x-json.log", "x-json.log.1", "x-json.log.2"] {
            assert!((1..=1000).contains(&size(name)), "{name}");
        }
        assert_eq!(size("x-json.log.3"), 0);
        assert!(fs::read_to_string(dir.path().join("x-json.log")).unwrap().contains("line 199"));
    }

    #[test]
    fn limits_are_dockers() {
        let limits = |pairs: &[(&str, &str)]| {
            let options =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            super::limits(Some(&options))
        };
        assert_eq!(limits(&[("max-size", "10m"), ("max-file", "3")]), (10 << 20, 3));
        assert_eq!(limits(&[("max-size", "512k")]), (512 << 10, 1));
        assert_eq!(limits(&[("max-size", "-1")]), (USUAL_SIZE, USUAL_FILES));
    }
}
