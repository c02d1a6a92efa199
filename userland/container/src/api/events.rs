//! Events: what happened to containers, images, networks and volumes, in a small file of `/run`.
//!
//! Whoever does something writes a line: the server, and each container's supervisor. The file is appended to
//! in one write a line, and moved aside when it is large, so what is told reaches back a while, as Docker's
//! does (it keeps 256 events).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Api;
use super::answer::{Answer, Failure, stream};
use super::filters::Filters;
use super::request::Request;

const LARGE: u64 = 256 << 10;
/// How often a reader that follows looks for more.
const LOOK: Duration = Duration::from_millis(100);

/// The file of events.
#[derive(Clone, Debug)]
pub struct Events {
    path: PathBuf,
}

impl Events {
    /// The events of this directory.
    #[must_use]
    pub fn new(run: &Path) -> Self {
        Self { path: run.join("events.json") }
    }

    /// Tells that something happened. What cannot be told is not worth failing for.
    pub fn tell(&self, kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) {
        let now = Timestamp::now();
        let attributes: BTreeMap<&str, &str> = attributes.iter().copied().collect();
        let mut event = json!({
            "Type": kind, "Action": action, "Actor": { "ID": id, "Attributes": attributes }, "scope": "local",
            "time": now.as_second(), "timeNano": i64::try_from(now.as_nanosecond()).unwrap_or(0),
        });
        if kind == "container" || kind == "image" {
            super::system::set(&mut event, "status", json!(action));
            super::system::set(&mut event, "id", json!(id));
        }
        if kind == "container"
            && let Some(image) = attributes.get("image")
        {
            super::system::set(&mut event, "from", json!(image));
        }
        if fs::metadata(&self.path).is_ok_and(|file| file.len() > LARGE) {
            let _ = fs::rename(&self.path, self.path.with_extension("old"));
        }
        let file = fs::OpenOptions::new().append(true).create(true).open(&self.path);
        let _ = file.and_then(|mut file| file.write_all(format!("{event}\n").as_bytes()));
    }

    fn reader(&self) -> Reader {
        Reader { path: self.path.clone(), at: 0, inode: 0, begun: false }
    }
}

/// Reads on where it stopped, across files moved aside.
struct Reader {
    path: PathBuf,
    at: u64,
    inode: u64,
    begun: bool,
}

impl Reader {
    fn more(&mut self) -> Vec<Value> {
        use std::os::unix::fs::MetadataExt;
        let mut text = String::new();
        let old = self.path.with_extension("old");
        let inode = |path: &Path| fs::metadata(path).map_or(0, |file| file.ino());
        if !self.begun {
            text = fs::read_to_string(&old).unwrap_or_default();
            self.begun = true;
        } else if self.inode != 0 && inode(&self.path) != self.inode {
            if inode(&old) == self.inode {
                self.read(&old, &mut text);
            }
            self.at = 0;
        }
        self.inode = inode(&self.path);
        let path = self.path.clone();
        self.read(&path, &mut text);
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn read(&mut self, path: &Path, text: &mut String) {
        let Ok(mut file) = fs::File::open(path) else { return };
        if file.seek(SeekFrom::Start(self.at)).is_ok()
            && let Ok(read) = file.read_to_string(text)
        {
            self.at += read as u64;
        }
    }
}

const KNOWN: [&str; 10] =
    ["type", "event", "container", "image", "label", "network", "volume", "scope", "daemon", "name"];

/// `events`: from `since` on, and until `until`, or as long as the client listens.
pub fn follow(api: &Arc<Api>, request: &Request) -> Answer {
    let filters = Filters::read(request.value("filters"), &KNOWN)?;
    let time = |name: &str| {
        let bad = |text| Failure::bad(format!("{name}: {text:?} is no time"));
        request.value(name).map(|text| super::time::parse(text).ok_or_else(|| bad(text))).transpose()
    };
    let (since, until) = (time("since")?, time("until")?);
    let mut reader = api.events.reader();
    let (response, send) = stream("application/json");
    // Without a beginning it begins now.
    let since = since.unwrap_or_else(Timestamp::now);
    tokio::spawn(async move {
        loop {
            let now = Timestamp::now();
            for event in reader.more() {
                let nanos = event.get("timeNano").and_then(Value::as_i64).unwrap_or(0);
                let at = Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(now);
                if at < since || until.is_some_and(|until| at > until) || !wanted(&filters, &event) {
                    continue;
                }
                if send.send(Bytes::from(format!("{event}\n"))).await.is_err() {
                    return;
                }
            }
            if until.is_some_and(|until| now >= until) || send.is_closed() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    Ok(response)
}

fn wanted(filters: &Filters, event: &Value) -> bool {
    let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let kind = text("/Type");
    let about = |name: &str| {
        filters.any(name, |wanted| {
            let id = text("/Actor/ID");
            kind == name
                && (id == wanted || id.starts_with(wanted) || text("/Actor/Attributes/name") == wanted)
        })
    };
    let labels = super::images::labels_of(&json!({ "Labels": event.pointer("/Actor/Attributes") }));
    filters.any("type", |wanted| wanted == kind)
        && filters.any("event", |wanted| {
            let action = text("/Action");
            action == wanted || action.split(':').next() == Some(wanted)
        })
        && ["container", "image", "network", "volume"].into_iter().all(about)
        && filters.labels(&labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_once_also_across_a_full_file() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::new(dir.path());
        let mut reader = events.reader();
        let mut seen = 0;
        for at in 0..3000 {
            events.tell("container", "start", &format!("{at:064}"), &[("name", "x"), ("image", "busybox")]);
            if at % 100 == 99 {
                for event in reader.more() {
                    assert_eq!(event["id"], format!("{seen:064}"));
                    assert_eq!(event["from"], "busybox");
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 3000);
        let filters = |text| Filters::read(Some(text), &KNOWN).unwrap();
        let event = json!({ "Type": "container", "Action": "exec_start: sh", "Actor": { "ID": "abc",
            "Attributes": { "name": "box", "a": "b" } } });
        for yes in [r#"{"container":["box"]}"#, r#"{"event":["exec_start"]}"#, r#"{"label":["a=b"]}"#] {
            assert!(wanted(&filters(yes), &event), "{yes}");
        }
        for no in [r#"{"image":["box"]}"#, r#"{"event":["die"]}"#, r#"{"label":["a=c"]}"#] {
            assert!(!wanted(&filters(no), &event), "{no}");
        }
    }
}
