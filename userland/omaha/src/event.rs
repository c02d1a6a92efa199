//! What a machine tells of an update, and how it went.

use crate::element::{Element, Malformed};

/// What happened. The numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// 3: the update as a whole; before the reboot, and after it.
    Complete,
    /// 13: the download began.
    DownloadStarted,
    /// 14: the download ended.
    DownloadFinished,
    /// 800: it is installed, and waits for a reboot.
    Installed,
    /// One that this crate has no name for.
    Other(u32),
}

/// How it went. The numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventResult {
    /// 0.
    Error,
    /// 1.
    Success,
    /// 2: it went well, and the machine has been booted into it.
    SuccessAfterReboot,
    /// 9: not now, as a policy wants it.
    Deferred,
    /// One that this crate has no name for.
    Other(u32),
}

impl EventType {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            EventType::Complete => 3,
            EventType::DownloadStarted => 13,
            EventType::DownloadFinished => 14,
            EventType::Installed => 800,
            EventType::Other(number) => number,
        }
    }

    /// That of this number.
    #[must_use]
    pub fn of(number: u32) -> EventType {
        match number {
            3 => EventType::Complete,
            13 => EventType::DownloadStarted,
            14 => EventType::DownloadFinished,
            800 => EventType::Installed,
            other => EventType::Other(other),
        }
    }
}

impl EventResult {
    /// Its number.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            EventResult::Error => 0,
            EventResult::Success => 1,
            EventResult::SuccessAfterReboot => 2,
            EventResult::Deferred => 9,
            EventResult::Other(number) => number,
        }
    }

    /// That of this number.
    #[must_use]
    pub fn of(number: u32) -> EventResult {
        match number {
            0 => EventResult::Error,
            1 => EventResult::Success,
            2 => EventResult::SuccessAfterReboot,
            9 => EventResult::Deferred,
            other => EventResult::Other(other),
        }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventType,
    /// How it went.
    pub result: EventResult,
    /// Which error it was.
    pub error_code: Option<u64>,
    /// The version that ran before.
    pub previous_version: Option<String>,
    /// What went wrong, for people: ours, others pass over it.
    pub reason: Option<String>,
}

impl Event {
    /// The machine was booted into a release, and went back to the one before. The number is update_engine's.
    pub const WENT_BACK: u64 = 44;
    /// An error that has no number of its own.
    pub const ERROR: u64 = 1;

    /// One without details.
    #[must_use]
    pub fn new(kind: EventType, result: EventResult) -> Event {
        Event { kind, result, error_code: None, previous_version: None, reason: None }
    }

    pub(crate) fn element(&self) -> Element {
        Element::new("event")
            .with("eventtype", self.kind.number())
            .with("eventresult", self.result.number())
            .with_some("errorcode", self.error_code)
            .with_some("previousversion", self.previous_version.as_ref())
            .with_some("reason", self.reason.as_ref())
    }

    pub(crate) fn read(element: &Element) -> Result<Event, Malformed> {
        let number = |name: &str| -> Result<u32, Malformed> {
            let number = element.number(name)?.ok_or_else(|| element.wrong(format!("has no {name}")))?;
            u32::try_from(number).map_err(|_| element.wrong(format!("has {number} for its {name}")))
        };
        let text = |name: &str| element.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        Ok(Event {
            kind: EventType::of(number("eventtype")?),
            result: EventResult::of(number("eventresult")?),
            error_code: element.number("errorcode")?,
            previous_version: text("previousversion"),
            reason: text("reason"),
        })
    }
}
