//! The engine's states: pure, with the time, chance and what the world answers from outside.
//!
//! One thing is done at a time. What a release is worth is not decided here but where it is installed; this knows
//! when to ask, what to do with an answer, and what to say to those who watch.

use std::time::Duration;

use omaha::{Event, EventResult, EventType, Offer};

use crate::schedule::{Outcome, Schedule};

/// What the engine is doing, by update_engine's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Nothing.
    #[default]
    Idle,
    /// It asks a server.
    CheckingForUpdate,
    /// There is a release.
    UpdateAvailable,
    /// It fetches and writes it.
    Downloading,
    /// It reads back what it wrote.
    Verifying,
    /// It tells the boot loader.
    Finalizing,
    /// A release waits for the next boot.
    UpdatedNeedReboot,
    /// It tells the server what went wrong.
    ReportingErrorEvent,
}

impl Status {
    /// Every one.
    pub const ALL: [Status; 8] = [
        Status::Idle,
        Status::CheckingForUpdate,
        Status::UpdateAvailable,
        Status::Downloading,
        Status::Verifying,
        Status::Finalizing,
        Status::UpdatedNeedReboot,
        Status::ReportingErrorEvent,
    ];

    /// Its name on the bus and in `update_engine_client -status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Idle => "UPDATE_STATUS_IDLE",
            Status::CheckingForUpdate => "UPDATE_STATUS_CHECKING_FOR_UPDATE",
            Status::UpdateAvailable => "UPDATE_STATUS_UPDATE_AVAILABLE",
            Status::Downloading => "UPDATE_STATUS_DOWNLOADING",
            Status::Verifying => "UPDATE_STATUS_VERIFYING",
            Status::Finalizing => "UPDATE_STATUS_FINALIZING",
            Status::UpdatedNeedReboot => "UPDATE_STATUS_UPDATED_NEED_REBOOT",
            Status::ReportingErrorEvent => "UPDATE_STATUS_REPORTING_ERROR_EVENT",
        }
    }
}

/// What those who watch are told: `GetStatus` and `StatusUpdate`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// When a server last answered, in seconds since 1970; 0: never.
    pub last_checked: i64,
    /// Of the download, from 0 to 1.
    pub progress: f64,
    /// What is being done.
    pub status: Status,
    /// The release that is fetched or waits for a reboot.
    pub new_version: String,
    /// Of its payload, in bytes.
    pub new_size: i64,
    /// What last went wrong, for people.
    pub trouble: String,
}

/// Who asks for a check, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// A person does, not the timer.
    pub on_demand: bool,
    /// Of another server than the configured one.
    pub server: Option<String>,
    /// As if this version ran.
    pub version: Option<String>,
    /// A release that has failed here is taken too.
    pub force: bool,
}

/// A server's answer, with what this machine remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is nothing to do.
    None,
    /// There is a release.
    Offer(Box<Offer>),
    /// There is one, and it has failed here.
    Held {
        /// Its version.
        version: String,
        /// Why.
        why: String,
    },
}

/// What comes from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The time has come that [`Engine::due`] told.
    Time,
    /// Somebody wants a check now.
    Asked(Ask),
    /// What came of asking, and the interval that the server names, in seconds.
    Answered(Result<(Answer, Option<u64>), String>),
    /// So many bytes of so many are done.
    Progress(u64, u64),
    /// The release is written and read back.
    Verified,
    /// The installation ended: the version that is booted next, or what is wrong.
    Installed(Result<String, String>),
    /// The server was told, or cannot be.
    Told,
    /// Somebody wants the release that waits for a reboot not to be booted.
    Reset,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask a server.
    Ask(Ask),
    /// Install a release; when it has failed here, too.
    Install(Box<Offer>, Ask),
    /// Tell the server.
    Tell(Vec<Event>),
    /// Take the tries of the release that waits for a reboot.
    Reset,
}

/// The time, by two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Which never goes back.
    pub monotonic: Duration,
    /// Seconds since 1970.
    pub unix: i64,
    /// Between 0 and 1.
    pub chance: f64,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    report: Report,
    schedule: Schedule,
    ask: Ask,
    /// The version in the slot that is booted next, if another one runs.
    waiting: Option<String>,
}

impl Engine {
    /// One that begins, perhaps beside a release that waits for a reboot.
    #[must_use]
    pub fn new(now: Now, last_checked: i64, waiting: Option<String>) -> Engine {
        let mut engine = Engine {
            report: Report { last_checked, ..Report::default() },
            schedule: Schedule::new(now.monotonic, now.chance),
            ask: Ask::default(),
            waiting,
        };
        engine.rest();
        engine
    }

    /// What those who watch are told.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// When to come with [`Input::Time`]; `None`: something is being done.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.is_at_rest().then(|| self.schedule.due())
    }

    fn is_at_rest(&self) -> bool {
        matches!(self.report.status, Status::Idle | Status::UpdatedNeedReboot)
    }

    /// Nothing is being done any more.
    fn rest(&mut self) {
        self.report.progress = 0.0;
        match &self.waiting {
            Some(version) => {
                self.report.status = Status::UpdatedNeedReboot;
                self.report.new_version.clone_from(version);
            }
            None => {
                self.report.status = Status::Idle;
                self.report.new_version.clear();
                self.report.new_size = 0;
            }
        }
    }

    /// Takes what comes from outside, and says what is to be done.
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Action> {
        match input {
            Input::Time if self.due().is_some_and(|due| due <= now.monotonic) => self.check(Ask::default()),
            Input::Asked(ask) if self.is_at_rest() => self.check(ask),
            Input::Answered(answer) if self.report.status == Status::CheckingForUpdate => {
                self.answered(answer, now)
            }
            Input::Progress(done, all) if self.report.status == Status::Downloading => {
                self.report.progress = if all == 0 { 1.0 } else { done as f64 / all as f64 };
                Vec::new()
            }
            Input::Verified if self.report.status == Status::Downloading => {
                (self.report.status, self.report.progress) = (Status::Verifying, 1.0);
                Vec::new()
            }
            Input::Installed(result) if self.is_installing() => self.installed(result, now),
            Input::Told if self.report.status == Status::ReportingErrorEvent => {
                self.rest();
                Vec::new()
            }
            Input::Reset if self.is_at_rest() => {
                let waits = self.waiting.take().is_some();
                self.rest();
                if waits { vec![Action::Reset] } else { Vec::new() }
            }
            // Too late, or not now.
            _ => Vec::new(),
        }
    }

    fn is_installing(&self) -> bool {
        matches!(self.report.status, Status::Downloading | Status::Verifying | Status::Finalizing)
    }

    fn check(&mut self, ask: Ask) -> Vec<Action> {
        self.report.status = Status::CheckingForUpdate;
        self.report.trouble.clear();
        self.ask = ask.clone();
        vec![Action::Ask(ask)]
    }

    fn answered(&mut self, answer: Result<(Answer, Option<u64>), String>, now: Now) -> Vec<Action> {
        let (answer, interval) = match answer {
            Ok(answer) => answer,
            Err(trouble) => {
                self.report.trouble = trouble;
                self.end(Outcome::Unanswered, now);
                return Vec::new();
            }
        };
        self.report.last_checked = now.unix;
        self.schedule.told(interval);
        match answer {
            Answer::Offer(offer) if self.waiting.as_ref() != Some(&offer.version) => {
                // What waits is about to be overwritten.
                self.waiting = None;
                self.report.status = Status::Downloading;
                self.report.progress = 0.0;
                self.report.new_version.clone_from(&offer.version);
                let size = offer.packages.first().map_or(0, |package| package.size);
                self.report.new_size = i64::try_from(size).unwrap_or(i64::MAX);
                return vec![Action::Install(offer, self.ask.clone())];
            }
            Answer::Held { version, why } => {
                self.report.trouble = format!("release {version} has failed on this machine: {why}");
            }
            Answer::Offer(_) | Answer::None => {}
        }
        self.end(Outcome::Well, now);
        Vec::new()
    }

    fn installed(&mut self, result: Result<String, String>, now: Now) -> Vec<Action> {
        match result {
            Ok(version) => {
                self.waiting = Some(version);
                self.end(Outcome::Well, now);
                Vec::new()
            }
            Err(trouble) => {
                let mut event = Event::new(EventType::Complete, EventResult::Error);
                event.error_code = Some(Event::ERROR);
                event.reason = Some(trouble.clone());
                self.report.trouble = trouble;
                self.end(Outcome::Uninstalled, now);
                self.report.status = Status::ReportingErrorEvent;
                vec![Action::Tell(vec![event])]
            }
        }
    }

    fn end(&mut self, outcome: Outcome, now: Now) {
        self.schedule.asked(outcome, now.monotonic, now.chance);
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use omaha::Package;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Now {
        Now { monotonic: Duration::from_secs(seconds), unix: 1_000_000 + seconds as i64, chance: 0.5 }
    }

    fn offer(version: &str) -> Answer {
        let packages = vec![Package { name: "a".to_owned(), size: 1000 }];
        Answer::Offer(Box::new(Offer { version: version.to_owned(), packages, ..Offer::default() }))
    }

    /// An engine that has asked and got this answer.
    fn answered(engine: &mut Engine, answer: Answer, now: Now) -> Vec<Action> {
        assert!(matches!(engine.step(Input::Asked(Ask::default()), now)[..], [Action::Ask(_)]));
        engine.step(Input::Answered(Ok((answer, None))), now)
    }

    #[test]
    fn from_a_check_to_a_release_that_waits() {
        let mut engine = Engine::new(at(0), 0, None);
        assert_eq!(engine.due(), Some(Duration::from_secs(420)));
        assert_eq!(engine.step(Input::Time, at(419)), []);
        assert_eq!(engine.step(Input::Time, at(420)), [Action::Ask(Ask::default())]);
        assert_eq!((engine.report().status, engine.due()), (Status::CheckingForUpdate, None));
        assert_eq!(engine.step(Input::Asked(Ask::default()), at(421)), [], "one thing at a time");
        let actions = engine.step(Input::Answered(Ok((offer("2"), None))), at(422));
        assert!(matches!(&actions[..], [Action::Install(offer, _)] if offer.version == "2"));
        engine.step(Input::Progress(250, 1000), at(423));
        let expected = Report {
            last_checked: 1_000_422,
            progress: 0.25,
            status: Status::Downloading,
            new_version: "2".to_owned(),
            new_size: 1000,
            trouble: String::new(),
        };
        assert_eq!(*engine.report(), expected);
        engine.step(Input::Verified, at(424));
        assert_eq!(engine.report().status, Status::Verifying);
        assert_eq!(engine.step(Input::Installed(Ok("2".to_owned())), at(425)), []);
        assert_eq!(engine.report().status, Status::UpdatedNeedReboot);
        assert_eq!(engine.report().new_version, "2");
        // The same again is no news; a newer one takes its place.
        assert_eq!(answered(&mut engine, offer("2"), at(3600)), []);
        assert_eq!(engine.report().status, Status::UpdatedNeedReboot);
        assert!(matches!(answered(&mut engine, offer("3"), at(7200))[..], [Action::Install(..)]));
        assert_eq!(engine.report().new_version, "3");
    }

    #[test]
    fn what_goes_wrong_is_told_and_waited_for() {
        let mut engine = Engine::new(at(0), 7, None);
        engine.step(Input::Asked(Ask::default()), at(10));
        assert_eq!(engine.step(Input::Answered(Err("no route".to_owned())), at(11)), []);
        let report = engine.report();
        assert_eq!(
            (report.status, report.trouble.as_str(), report.last_checked),
            (Status::Idle, "no route", 7)
        );
        answered(&mut engine, offer("2"), at(20));
        let actions = engine.step(Input::Installed(Err("the disk is broken".to_owned())), at(30));
        let [Action::Tell(events)] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!(events[0].reason.as_deref(), Some("the disk is broken"));
        assert_eq!((events[0].kind, events[0].result), (EventType::Complete, EventResult::Error));
        assert_eq!((engine.report().status, engine.due()), (Status::ReportingErrorEvent, None));
        engine.step(Input::Told, at(40));
        assert_eq!((engine.report().status, engine.report().new_version.as_str()), (Status::Idle, ""));
        assert!(engine.due().unwrap() > Duration::from_secs(30 + 45 * 60 * 2 - 600));
    }

    #[test]
    fn a_release_that_failed_here_is_not_tried_again() {
        let mut engine = Engine::new(at(0), 0, None);
        let held = Answer::Held { version: "2".to_owned(), why: "no network".to_owned() };
        assert_eq!(answered(&mut engine, held, at(10)), []);
        assert_eq!(engine.report().status, Status::Idle);
        assert!(engine.report().trouble.contains("no network"));
    }

    #[test]
    fn a_release_that_waits_can_be_taken_back() {
        let mut engine = Engine::new(at(0), 0, Some("2".to_owned()));
        assert_eq!(engine.report().status, Status::UpdatedNeedReboot);
        assert_eq!(engine.step(Input::Reset, at(1)), [Action::Reset]);
        assert_eq!((engine.report().status, engine.step(Input::Reset, at(2))), (Status::Idle, vec![]));
    }

    fn any_input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Time),
            Just(Input::Asked(Ask::default())),
            prop_oneof![Just(Answer::None), Just(offer("2")), Just(offer("3"))]
                .prop_map(|answer| Input::Answered(Ok((answer, Some(60))))),
            Just(Input::Answered(Err("x".to_owned()))),
            (0..2000_u64, 0..1000_u64).prop_map(|(done, all)| Input::Progress(done, all)),
            Just(Input::Verified),
            Just(Input::Installed(Ok("2".to_owned()))),
            Just(Input::Installed(Err("x".to_owned()))),
            Just(Input::Told),
            Just(Input::Reset),
        ]
    }

    proptest! {
        /// Whatever comes in whatever order: one thing at a time, and at rest it knows when to go on.
        #[test]
        fn never_does_two_things_at_once(inputs in prop::collection::vec((any_input(), 0..4000_u64), 0..60)) {
            let mut engine = Engine::new(at(0), 0, None);
            let (mut time, mut busy) = (0, false);
            for (input, passes) in inputs {
                time += passes;
                let ends = matches!(
                    (&input, engine.report().status),
                    (Input::Answered(_), Status::CheckingForUpdate)
                        | (Input::Installed(_), Status::Downloading | Status::Verifying)
                        | (Input::Told, Status::ReportingErrorEvent)
                );
                let actions = engine.step(input, at(time));
                prop_assert!(actions.len() <= 1);
                busy &= !ends;
                let begins = actions.iter().any(|action| *action != Action::Reset);
                prop_assert!(!(busy && begins), "a second thing: {actions:?}");
                busy |= begins;
                prop_assert_eq!(engine.due().is_none(), busy);
            }
        }
    }
}
