//! A container's health: a command run inside it again and again, and what came of it.
//!
//! What is known lies beside the container's state as `health.json`, for whoever asks; changes are events. The
//! command is a `docker exec` of ours, so that it is in the container in every respect.
//! Source: Docker Engine API, "Health"; Dockerfile reference, HEALTHCHECK.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{Events, inspect};
use crate::bundle::image::Healthcheck;
use crate::cli::Places;
use crate::state::{Containers, Record};

const USUAL: Duration = Duration::from_secs(30);
const USUAL_AT_START: Duration = Duration::from_secs(5);
const USUAL_RETRIES: i64 = 3;
/// Bytes of a test's output that are kept, and tests that are remembered.
const KEPT_OUTPUT: u64 = 4096;
const REMEMBERED: usize = 5;

/// What is known, as `inspect` tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures since the last success.
    pub failing_streak: i64,
    /// The last tests, the oldest first.
    pub log: Vec<Test>,
}

/// One test.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Test {
    /// When it began, as RFC 3339.
    pub start: String,
    /// When it ended.
    pub end: String,
    /// 0: healthy.
    pub exit_code: i32,
    /// What it said.
    pub output: String,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watching {
    _until: Sender<()>,
}

fn path(containers: &Containers, id: &str) -> PathBuf {
    containers.run_dir(id).join("health.json")
}

/// What is known of a container's health; none if nobody looks.
#[must_use]
pub fn of(containers: &Containers, id: &str) -> Option<Health> {
    serde_json::from_slice(&std::fs::read(path(containers, id)).ok()?).ok()
}

/// Begins to watch, if there is something to run.
pub fn watch(
    places: &Places,
    events: &Events,
    record: &Record,
    check: Option<&Healthcheck>,
) -> Option<Watching> {
    let containers = places.containers();
    let _ = std::fs::remove_file(path(&containers, &record.id));
    let plan = Plan::of(check?)?;
    let (until, end) = channel();
    let watcher = Watcher { places: places.clone(), events: events.clone(), record: record.clone(), plan };
    watcher.keep(&Health { status: "starting".to_owned(), failing_streak: 0, log: Vec::new() });
    let spawned = std::thread::Builder::new().name("health".to_owned()).spawn(move || watcher.work(&end));
    match spawned {
        Ok(_) => Some(Watching { _until: until }),
        Err(error) => {
            eprintln!("container {}: health: {error}", record.id);
            None
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: i64,
}

impl Plan {
    fn of(check: &Healthcheck) -> Option<Self> {
        let command = match check.test.as_deref()? {
            [kind, rest @ ..] if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
            [kind, line] if kind == "CMD-SHELL" => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            _ => return None,
        };
        let or = |nanos: i64, usual: Duration| match u64::try_from(nanos) {
            Ok(nanos @ 1..) => Duration::from_nanos(nanos),
            _ => usual,
        };
        Some(Self {
            command,
            interval: or(check.interval, USUAL),
            timeout: or(check.timeout, USUAL),
            start_period: or(check.start_period, Duration::ZERO),
            start_interval: or(check.start_interval, USUAL_AT_START),
            retries: if check.retries > 0 { check.retries } else { USUAL_RETRIES },
        })
    }

    /// What a test's result makes of what was known. `early`: within the start period.
    fn judge(&self, mut health: Health, test: Test, early: bool) -> Health {
        if test.exit_code == 0 {
            health.failing_streak = 0;
            "healthy".clone_into(&mut health.status);
        } else if !(early && health.status == "starting") {
            health.failing_streak += 1;
            if health.failing_streak >= self.retries {
                "unhealthy".clone_into(&mut health.status);
            }
        }
        health.log.push(test);
        let surplus = health.log.len().saturating_sub(REMEMBERED);
        health.log.drain(..surplus);
        health
    }
}

struct Watcher {
    places: Places,
    events: Events,
    record: Record,
    plan: Plan,
}

impl Watcher {
    fn keep(&self, health: &Health) {
        let path = path(&self.places.containers(), &self.record.id);
        let new = path.with_extension("new");
        let text = serde_json::to_vec(health).unwrap_or_default();
        let _ = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path));
    }

    fn work(&self, end: &Receiver<()>) {
        let begin = Instant::now();
        let mut health = Health { status: "starting".to_owned(), failing_streak: 0, log: Vec::new() };
        loop {
            let starting = begin.elapsed() < self.plan.start_period && health.status == "starting";
            let pause =
                if starting { self.plan.start_interval.min(self.plan.interval) } else { self.plan.interval };
            match end.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) => {}
                _ => return,
            }
            let Some(test) = self.test(end) else { return };
            let before = health.status.clone();
            health = self.plan.judge(health, test, begin.elapsed() < self.plan.start_period);
            self.keep(&health);
            if health.status != before {
                let action = format!("health_status: {}", health.status);
                inspect::tell_by(&self.events, &self.record, &action, &[]);
            }
        }
    }

    /// One test; none if the container ended meanwhile.
    fn test(&self, end: &Receiver<()>) -> Option<Test> {
        let start = Timestamp::now().to_string();
        let (exit_code, output) = match self.run(end) {
            Ok(Some(told)) => told,
            Ok(None) => return None,
            Err(error) => (-1, error.to_string()),
        };
        Some(Test { start, end: Timestamp::now().to_string(), exit_code, output })
    }

    fn run(&self, end: &Receiver<()>) -> io::Result<Option<(i32, String)>> {
        let (read, write) = io::pipe()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("dockerd").arg("--store").arg(&self.places.store).arg("--state").arg(&self.places.state);
        command.args(["client", "exec", &self.record.id]).args(&self.plan.command);
        command.stdin(Stdio::null()).stdout(write.try_clone()?).stderr(write);
        let mut child = command.spawn()?;
        drop(command);
        // More than is kept is read and forgotten, so that the test can end.
        let reading = std::thread::spawn(move || {
            let mut kept = Vec::new();
            let mut read = read;
            let _ = (&mut read).take(KEPT_OUTPUT).read_to_end(&mut kept);
            let _ = io::copy(&mut read, &mut io::sink());
            String::from_utf8_lossy(&kept).into_owned()
        });
        let begin = Instant::now();
        let mut pause = Duration::from_millis(5);
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            let ended = !matches!(end.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
            if ended || begin.elapsed() >= self.plan.timeout {
                child.kill()?;
                child.wait()?;
                if ended {
                    return Ok(None);
                }
                break None;
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        };
        let Some(status) = status else {
            return Ok(Some((-1, format!("Health check exceeded timeout ({:?})", self.plan.timeout))));
        };
        let output = reading.join().unwrap_or_default();
        Ok(Some((status.code().unwrap_or(-1), output)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], retries: i64) -> Healthcheck {
        let test = Some(words.iter().map(|word| (*word).to_owned()).collect());
        Healthcheck { test, retries, ..Healthcheck::default() }
    }

    #[test]
    fn what_there_is_to_run() {
        assert_eq!(Plan::of(&check(&["CMD-SHELL", "true"], 0)).unwrap().command, ["/bin/sh", "-c", "true"]);
        assert_eq!(Plan::of(&check(&["CMD", "a", "b"], 0)).unwrap().command, ["a", "b"]);
        for none in [&["NONE"][..], &["CMD"], &[]] {
            assert_eq!(Plan::of(&check(none, 0)), None, "{none:?}");
        }
        let image = Healthcheck { interval: 7, ..check(&["CMD", "a"], 9) };
        let merged =
            Healthcheck::merged(Some(Healthcheck { retries: 2, ..Healthcheck::default() }), Some(image));
        assert_eq!(merged, Some(Healthcheck { interval: 7, ..check(&["CMD", "a"], 2) }));
    }

    #[test]
    fn failures_count_after_the_start() {
        let plan = Plan::of(&check(&["CMD", "x"], 2)).unwrap();
        let test =
            |exit_code| Test { start: String::new(), end: String::new(), exit_code, output: String::new() };
        let mut health = Health { status: "starting".to_owned(), failing_streak: 0, log: Vec::new() };
        let mut step = |code, early| {
            health = plan.judge(health.clone(), test(code), early);
            (health.status.clone(), health.failing_streak, health.log.len())
        };
        assert_eq!(step(1, true), ("starting".into(), 0, 1));
        assert_eq!(step(1, false), ("starting".into(), 1, 2));
        assert_eq!(step(1, false), ("unhealthy".into(), 2, 3));
        assert_eq!(step(0, false), ("healthy".into(), 0, 4));
        assert_eq!(step(1, true), ("healthy".into(), 1, 5));
        assert_eq!(step(0, false), ("healthy".into(), 0, 5));
    }
}
