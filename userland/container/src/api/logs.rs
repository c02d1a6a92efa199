//! `containers/ID/logs`: what the supervisor wrote down, again, and on as it comes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::answer::{Answer, Content, Failure, typed};
use super::request::{Request, blocking};
use super::settings::Settings;
use super::supervisor::log_path;
use super::{Api, frame};
use crate::state::{Container, Status};

/// How often a reader that follows looks for more.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
}

/// What of the log is wanted, and how.
#[derive(Clone, Debug)]
struct Wanted {
    stdout: bool,
    stderr: bool,
    timestamps: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    tail: Option<usize>,
    terminal: bool,
}

impl Wanted {
    /// The entry as it is sent; none if it is not wanted.
    fn shown(&self, entry: &Entry) -> Option<Vec<u8>> {
        let kind = if entry.stream == "stderr" { frame::STDERR } else { frame::STDOUT };
        let asked = if kind == frame::STDERR { self.stderr } else { self.stdout };
        let time = super::time::parse(&entry.time);
        let early = self.since.zip(time).is_some_and(|(since, time)| time < since);
        let late = self.until.zip(time).is_some_and(|(until, time)| time > until);
        if !asked || early || late {
            return None;
        }
        let text = if self.timestamps { format!("{} {}", entry.time, entry.log) } else { entry.log.clone() };
        Some(if self.terminal { text.into_bytes() } else { frame::encode(kind, text.as_bytes()) })
    }
}

/// Reads entries in their order, from files that are turned over meanwhile.
struct Reader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    line: String,
}

impl Reader {
    fn open(path: &Path) -> Self {
        Self { path: path.to_owned(), file: File::open(path).ok().map(BufReader::new), line: String::new() }
    }

    fn next(&mut self) -> Option<Entry> {
        loop {
            let file = self.file.as_mut()?;
            // What has no newline yet is still being written.
            if file.read_line(&mut self.line).ok()? == 0 || !self.line.ends_with('\n') {
                return None;
            }
            let entry = serde_json::from_str(&self.line).ok();
            self.line.clear();
            if entry.is_some() {
                return entry;
            }
        }
    }

    /// Goes on with the file that took the place of ours; false if none did.
    fn turned(&mut self) -> bool {
        use std::os::unix::fs::MetadataExt;
        let inode = |file: fs::Metadata| file.ino();
        let ours = self.file.as_ref().and_then(|file| file.get_ref().metadata().ok()).map(inode);
        let now = fs::metadata(&self.path).ok().map(inode);
        if now.is_none() || ours == now {
            return false;
        }
        self.file = File::open(&self.path).ok().map(BufReader::new);
        self.line.clear();
        true
    }
}

/// `containers/ID/logs`
pub async fn logs(api: &Arc<Api>, name: &str, request: &Request) -> Answer {
    let found = name.to_owned();
    let container = blocking(api, move |api| Ok(api.containers().find(&found)?)).await?;
    let time = |name: &str| {
        let bad = |text| Failure::bad(format!("invalid value for {name:?}: {text:?} is no time"));
        let given = request.value(name).filter(|text| *text != "0");
        given.map(|text| super::time::parse(text).ok_or_else(|| bad(text))).transpose()
    };
    let wanted = Wanted {
        stdout: request.flag("stdout"),
        stderr: request.flag("stderr"),
        timestamps: request.flag("timestamps"),
        since: time("since")?,
        until: time("until")?,
        tail: request.value("tail").and_then(|text| text.parse().ok()),
        terminal: container.record.tty,
    };
    if !wanted.stdout && !wanted.stderr {
        return Err(Failure::bad("Bad parameters: you must choose at least one stream"));
    }
    let path = readable(api, &container)?;
    let (send, receive) = mpsc::channel(16);
    let kind = if container.record.tty {
        "application/vnd.docker.raw-stream"
    } else {
        "application/vnd.docker.multiplexed-stream"
    };
    let follow = request.flag("follow");
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let (whole, past) = (wanted.clone(), path.clone());
        let read = tokio::task::spawn_blocking(move || tell_past(&past, &whole)).await;
        let Ok((pieces, mut reader)) = read else { return };
        for piece in pieces {
            if send.send(piece.into()).await.is_err() {
                return;
            }
        }
        while follow && !send.is_closed() {
            // Asked before reading: what is written before the end is then read after the answer.
            let ended = !goes_on(&api, &container.record.id);
            loop {
                while let Some(entry) = reader.next() {
                    if let Some(piece) = wanted.shown(&entry)
                        && send.send(Bytes::from(piece)).await.is_err()
                    {
                        return;
                    }
                }
                if !reader.turned() {
                    break;
                }
            }
            if ended || wanted.until.is_some_and(|until| Timestamp::now() > until) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    Ok(typed(StatusCode::OK, kind, Content::Stream(receive)))
}

fn goes_on(api: &Api, id: &str) -> bool {
    let containers = api.containers();
    // Its supervisor writes to the very end; until then it has the lock.
    containers.is_looked_after(id)
        || containers.find(id).is_ok_and(|one| one.status == Status::Running || one.state.restarting)
}

fn readable(api: &Api, container: &Container) -> Result<PathBuf, Failure> {
    let containers = api.containers();
    let dir = containers.dir(&container.record.id);
    let (_, host) = Settings::of(&containers, &container.record).typed();
    let kind = host.log_config.kind.as_str();
    if matches!(kind, "none" | "journald") || (!dir.join("docker.json").exists()) {
        return Err(Failure::new(
            StatusCode::NOT_IMPLEMENTED,
            format!(
                "configured logging driver does not support reading: see journalctl -t {}",
                container.record.name
            ),
        ));
    }
    Ok(log_path(&dir, &container.record.id))
}

/// What is there already, the last `tail` of it, and a reader that goes on from there.
fn tell_past(path: &Path, wanted: &Wanted) -> (Vec<Vec<u8>>, Reader) {
    let mut pieces = std::collections::VecDeque::new();
    let mut keep = |entry: &Entry| {
        if let Some(piece) = wanted.shown(entry) {
            pieces.push_back(piece);
            if wanted.tail.is_some_and(|tail| pieces.len() > tail) {
                pieces.pop_front();
            }
        }
    };
    let numbered = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    let oldest = (1..100).take_while(|number| numbered(*number).exists()).last().unwrap_or(0);
    for number in (1..=oldest).rev() {
        let mut reader = Reader::open(&numbered(number));
        while let Some(entry) = reader.next() {
            keep(&entry);
        }
    }
    let mut reader = Reader::open(path);
    while let Some(entry) = reader.next() {
        keep(&entry);
    }
    (pieces.into(), reader)
}

/// All of it, for a client that attaches and wants what was before.
pub fn all(api: &Api, container: &Container) -> Result<Vec<Vec<u8>>, Failure> {
    let wanted = Wanted {
        stdout: true,
        stderr: true,
        timestamps: false,
        since: None,
        until: None,
        tail: None,
        terminal: container.record.tty,
    };
    Ok(tell_past(&readable(api, container)?, &wanted).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_told_as_asked_and_the_rest_is_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x-json.log");
        let line = |second: u32, stream: &str, text: &str| {
            format!(
                "{{\"log\":\"{text}\\n\",\"stream\":\"{stream}\",\"time\":\"2026-01-01T00:00:{second:02}Z\"}}\n"
            )
        };
        fs::write(path.with_extension("log.1"), line(0, "stdout", "old")).unwrap();
        fs::write(&path, line(1, "stderr", "bad") + "rubbish\n" + &line(2, "stdout", "new") + "{\"log\":")
            .unwrap();
        let wanted = |tail, since: Option<&str>| Wanted {
            stdout: true,
            stderr: true,
            timestamps: false,
            since: since.map(|text| text.parse().unwrap()),
            until: None,
            tail,
            terminal: true,
        };
        let told = |wanted: &Wanted| {
            let pieces = tell_past(&path, wanted).0;
            pieces.into_iter().map(|piece| String::from_utf8(piece).unwrap()).collect::<String>()
        };
        assert_eq!(told(&wanted(None, None)), "old\nbad\nnew\n");
        assert_eq!(told(&wanted(Some(1), None)), "new\n");
        assert_eq!(told(&wanted(Some(0), None)), "");
        assert_eq!(told(&wanted(None, Some("2026-01-01T00:00:01Z"))), "bad\nnew\n");
        assert_eq!(told(&Wanted { stdout: false, ..wanted(None, None) }), "bad\n");

        let mut reader = tell_past(&path, &wanted(None, None)).1;
        let rest = "\"more\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:03Z\"}\n";
        fs::write(&path, fs::read_to_string(&path).unwrap() + rest).unwrap();
        assert_eq!(reader.next().unwrap().log, "more\n");
        fs::rename(&path, path.with_extension("log.1")).unwrap();
        fs::write(&path, line(4, "stdout", "turned")).unwrap();
        assert!(reader.next().is_none() && reader.turned());
        assert_eq!(reader.next().unwrap().log, "turned\n");
        assert!(!reader.turned());
    }
}
