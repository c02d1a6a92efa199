//! What the engine does in the world, one thing at a time, in a thread of its own: asking a server, installing a
//! release, telling how it went.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};

use http_client::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_client::{Content, Http, HttpError, Method, StatusCode, Url};
use omaha::{Answer as Told, Event, EventResult, EventType, Offer, Request, Response, Verdict};
use tokio::runtime::Builder;
use update_engine::boot::{BootPartition, Booted};
use update_engine::install::{Terms, install};
use update_engine::record::{self, Record};
use update_engine::trial;

use crate::configuration::{Configuration, FILES};
use crate::download::{Download, Patience};
use crate::engine::{Action, Answer, Ask, Input};
use crate::machine::Machine;

/// Why a server's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody to ask.
    #[error("no server is set: SERVER= in {} names one", FILES[1])]
    NoServer,
    /// No answer.
    #[error("{server}: {source}")]
    Http {
        /// Which server.
        server: String,
        /// What is wrong.
        source: HttpError,
    },
    /// A refusal.
    #[error("{server} answers {status}")]
    Status {
        /// Which server.
        server: String,
        /// Its answer.
        status: StatusCode,
    },
    /// Not in the protocol.
    #[error("{server}: what it answers is no Omaha: {source}")]
    Malformed {
        /// Which server.
        server: String,
        /// What is wrong.
        source: omaha::Malformed,
    },
    /// It knows nothing of our system.
    #[error("{server}: application {app}: {status:?}")]
    Unknown {
        /// Which server.
        server: String,
        /// The application.
        app: String,
        /// What the server says of it.
        status: String,
    },
    /// There are no threads, or what is asked cannot be written.
    #[error("{0}")]
    Local(String),
}

/// Sends a request, and returns what the server answers on its application.
///
/// # Errors
/// As [`AskError`] says.
pub fn ask(http: &Http, server: &str, request: &Request) -> Result<Told, AskError> {
    let failed = |source| AskError::Http { server: server.to_owned(), source };
    let url = Url::parse(server).map_err(failed)?;
    let text = request.to_xml().map_err(|error| AskError::Local(error.to_string()))?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AskError::Local(error.to_string()))?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    let content = Content::Whole(text.into_bytes().into());
    let answer = runtime.block_on(async {
        let response = http.send(&Method::POST, &url, &headers, &content).await.map_err(failed)?;
        match response.status() {
            StatusCode::OK => response.bytes(omaha::LONGEST).await.map_err(failed),
            status => Err(AskError::Status { server: server.to_owned(), status }),
        }
    })?;
    let response = Response::parse(&answer)
        .map_err(|source| AskError::Malformed { server: server.to_owned(), source })?;
    let app = request.apps.first().map(|app| app.id.as_str()).unwrap_or_default();
    let bare = |id: &str| id.trim_matches(['{', '}']).to_ascii_lowercase();
    let unknown = |status: &str| AskError::Unknown {
        server: server.to_owned(),
        app: app.to_owned(),
        status: status.to_owned(),
    };
    match response.answers.into_iter().find(|answer| bare(&answer.app) == bare(app)) {
        Some(answer) if answer.status == "ok" => Ok(answer),
        Some(answer) => Err(unknown(&answer.status)),
        None => Err(unknown("it is not in the answer")),
    }
}

/// What a server's answer means to a machine that remembers.
///
/// # Errors
/// The server says that it cannot tell.
pub fn judge(told: Told, record: &Record, force: bool) -> Result<(Answer, Option<u64>), String> {
    match told.verdict {
        None | Some(Verdict::None) => Ok((Answer::None, None)),
        Some(Verdict::Error(status)) => Err(format!("the server answers {status:?}")),
        Some(Verdict::Offer(offer)) => {
            let interval = offer.poll_interval;
            let answer = match record.failure(&offer.version, None).filter(|_| !force) {
                Some(failure) => Answer::Held { version: offer.version.clone(), why: failure.why.clone() },
                None => Answer::Offer(offer),
            };
            Ok((answer, interval))
        }
    }
}

/// What came of the last trial, as it is told to a server.
#[must_use]
pub fn verdict_event(verdict: &record::Verdict) -> Event {
    match verdict {
        record::Verdict::Good { previous, .. } => Event {
            previous_version: Some(previous.clone()),
            ..Event::new(EventType::Complete, EventResult::SuccessAfterReboot)
        },
        record::Verdict::WentBack { version, why } => Event {
            error_code: Some(Event::WENT_BACK),
            previous_version: Some(version.clone()),
            reason: Some(why.clone()),
            ..Event::new(EventType::Complete, EventResult::Error)
        },
    }
}

/// Where the payload of an offer is.
///
/// # Errors
/// One of the URLs is none.
pub fn payload_urls(offer: &Offer) -> Result<Vec<Url>, HttpError> {
    let name = offer.packages.first().map(|package| package.name.as_str()).unwrap_or_default();
    offer.urls.iter().map(|base| Url::parse(&format!("{base}{name}"))).collect()
}

/// A client that trusts what the configuration says beside what the system does (`SERVER_CERTIFICATES=`).
///
/// # Errors
/// The certificates cannot be read.
pub fn client(configuration: &Configuration) -> Result<Http, HttpError> {
    let own: Vec<PathBuf> = configuration.get("SERVER_CERTIFICATES").map(PathBuf::from).into_iter().collect();
    Http::new(&own)
}

/// Does what the engine wants, until it is gone.
pub fn run(actions: &Receiver<Action>, inputs: &Sender<Input>) {
    // The server that the last check was of, which is told how it went.
    let mut last = Ask::default();
    for action in actions {
        let input = match action {
            Action::Ask(ask) => {
                last = ask.clone();
                Input::Answered(check(&ask))
            }
            Action::Install(offer, ask) => Input::Installed(fetch(&offer, &ask, inputs)),
            Action::Tell(events) => {
                tell(&last, events);
                Input::Told
            }
            Action::Reset => {
                if let Err(error) = trial::withdraw(Path::new(record::FOLDER)) {
                    eprintln!("update-engine: {error}");
                }
                continue;
            }
        };
        if inputs.send(input).is_err() {
            return;
        }
    }
}

/// A conversation with the configured server, or the one that somebody named.
struct Talk {
    http: Http,
    server: String,
    request: Request,
}

impl Talk {
    fn new(ask: &Ask) -> Result<Talk, String> {
        let configuration = Configuration::read(&FILES).map_err(|error| error.to_string())?;
        let machine = Machine::this().map_err(|error| error.to_string())?;
        let machine = match &ask.version {
            Some(version) => machine.with_version(version),
            None => machine,
        };
        let server = ask.server.as_deref().or(configuration.server());
        let server = server.ok_or_else(|| AskError::NoServer.to_string())?.to_owned();
        let http = client(&configuration).map_err(|error| error.to_string())?;
        Ok(Talk { http, server, request: machine.request(&configuration, ask.on_demand) })
    }

    fn say(mut self, check: bool, events: Vec<Event>) -> Result<Told, String> {
        if let Some(app) = self.request.apps.first_mut() {
            app.ping = check;
            app.check = check.then(omaha::Check::default);
            app.events = events;
        }
        ask(&self.http, &self.server, &self.request).map_err(|error| error.to_string())
    }
}

fn check(ask: &Ask) -> Result<(Answer, Option<u64>), String> {
    let folder = Path::new(record::FOLDER);
    let mut record = remembered(folder);
    let events = record.verdict.as_ref().map(verdict_event).into_iter().collect();
    let told = Talk::new(ask)?.say(true, events)?;
    record.verdict = None;
    record.last_checked = crate::daemon::unix_time().unsigned_abs();
    if let Err(error) = record.write(folder) {
        eprintln!("update-engine: {error}");
    }
    judge(told, &record, ask.force)
}

/// The record, with what came of the last trial.
fn remembered(folder: &Path) -> Record {
    let settled = match Booted::now() {
        Ok(Booted::Slot(running)) => {
            BootPartition::mount(false).and_then(|boot| trial::settle(running, &boot, folder))
        }
        _ => return Record::read(folder),
    };
    settled.unwrap_or_else(|error| {
        eprintln!("update-engine: {error}");
        Record::read(folder)
    })
}

fn fetch(offer: &Offer, ask: &Ask, inputs: &Sender<Input>) -> Result<String, String> {
    let configuration = Configuration::read(&FILES).map_err(|error| error.to_string())?;
    let http = client(&configuration).map_err(|error| error.to_string())?;
    let urls = payload_urls(offer).map_err(|error| error.to_string())?;
    let size = offer.packages.first().map(|package| package.size).filter(|size| *size > 0);
    let tries = offer.failures_per_url.and_then(|tries| u32::try_from(tries).ok());
    let patience = Patience::default();
    let patience = Patience { tries: tries.unwrap_or(patience.tries).clamp(1, 100), ..patience };
    let download = Download::new(http, urls, size, patience).map_err(|error| error.to_string())?;
    tell(ask, vec![Event::new(EventType::DownloadStarted, EventResult::Success)]);
    let terms = Terms {
        downgrade: ask.force,
        even_failed: ask.force,
        announced: Some(offer.version.clone()).filter(|version| !version.is_empty()),
    };
    let mut progress = |done, all| {
        let _ = inputs.send(Input::Progress(done, all));
        if done == all {
            let _ = inputs.send(Input::Verified);
        }
    };
    let (version, _) = install(download, &terms, &mut progress).map_err(|error| error.to_string())?;
    let done = [EventType::DownloadFinished, EventType::Installed, EventType::Complete];
    tell(ask, done.map(|kind| Event::new(kind, EventResult::Success)).to_vec());
    Ok(version)
}

/// Tells the server; that it cannot be told is no reason to stop.
fn tell(ask: &Ask, events: Vec<Event>) {
    if let Err(error) = Talk::new(ask).and_then(|talk| talk.say(false, events)) {
        eprintln!("update-engine: the server could not be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use omaha::Package;

    use super::*;

    fn offer(version: &str) -> Offer {
        Offer {
            version: version.to_owned(),
            urls: vec!["https://a/b/".to_owned(), "http://c/?d=".to_owned()],
            packages: vec![Package { name: "e.payload".to_owned(), size: 7 }],
            poll_interval: Some(60),
            ..Offer::default()
        }
    }

    #[test]
    fn an_offer_is_judged_by_what_is_remembered() {
        let told = |verdict| Told { verdict, ..Told::default() };
        let offered = || told(Some(Verdict::Offer(Box::new(offer("2")))));
        let mut record = Record::default();
        let taken = (Answer::Offer(Box::new(offer("2"))), Some(60));
        assert_eq!(judge(offered(), &record, false), Ok(taken.clone()));
        record.fail("2", "ff", "no network");
        let held = Answer::Held { version: "2".to_owned(), why: "no network".to_owned() };
        assert_eq!(judge(offered(), &record, false), Ok((held, Some(60))));
        assert_eq!(judge(offered(), &record, true), Ok(taken));
        assert_eq!(judge(told(None), &record, false), Ok((Answer::None, None)));
        assert!(judge(told(Some(Verdict::Error("error-internal".to_owned()))), &record, false).is_err());
    }

    #[test]
    fn a_package_is_behind_each_url() {
        let urls: Vec<String> = payload_urls(&offer("2")).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["https://a/b/e.payload", "http://c/?d=e.payload"]);
        let bad = Offer { urls: vec!["file:///etc/".to_owned()], ..offer("2") };
        assert!(payload_urls(&bad).is_err());
    }

    #[test]
    fn what_came_of_a_trial_is_told_in_update_engines_numbers() {
        let good = record::Verdict::Good { version: "2".to_owned(), previous: "1".to_owned() };
        let event = verdict_event(&good);
        assert_eq!((event.kind.number(), event.result.number()), (3, 2));
        assert_eq!(event.previous_version.as_deref(), Some("1"));
        let back = record::Verdict::WentBack { version: "2".to_owned(), why: "x".to_owned() };
        let event = verdict_event(&back);
        assert_eq!((event.kind.number(), event.result.number(), event.error_code), (3, 0, Some(44)));
        assert_eq!(event.reason.as_deref(), Some("x"));
    }
}
