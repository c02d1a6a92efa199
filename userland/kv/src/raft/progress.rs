//! What a leader knows of each other member.

/// How a member is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// Its log is not known: one message at a time.
    Probe,
    /// Entries are sent without waiting for replies.
    Stream,
    /// A snapshot at this index is on its way.
    Snapshot(u64),
}

/// One member as its leader sees it.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The member has everything up to here.
    pub matched: u64,
    /// What is sent next.
    pub next: u64,
    /// How it is fed.
    pub feed: Feed,
    /// Messages that were not answered yet.
    pub in_flight: u32,
    /// It was heard of since the last count.
    pub active: bool,
    /// The newest round of heartbeats that it answered.
    pub round: u64,
}

/// Unanswered messages at most, so that a slow member does not fill the memory of a fast one.
const IN_FLIGHT_MAX: u32 = 64;

impl Progress {
    /// A member of which nothing is known yet.
    pub fn new(next: u64) -> Progress {
        Progress { matched: 0, next, feed: Feed::Probe, in_flight: 0, active: true, round: 0 }
    }

    /// Whether nothing may be sent for now.
    pub fn is_paused(&self) -> bool {
        match self.feed {
            Feed::Probe => self.in_flight > 0,
            Feed::Stream => self.in_flight >= IN_FLIGHT_MAX,
            Feed::Snapshot(_) => true,
        }
    }

    /// The member has everything up to `index`.
    pub fn accept(&mut self, index: u64) -> bool {
        let moved = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(index + 1);
        match self.feed {
            Feed::Snapshot(at) if self.matched < at => {}
            Feed::Stream => self.in_flight = self.in_flight.saturating_sub(1),
            _ => {
                self.feed = Feed::Stream;
                self.next = self.matched + 1;
                self.in_flight = 0;
            }
        }
        moved
    }

    /// The member refused what follows `index`; it may agree at `hint`.
    pub fn refuse(&mut self, index: u64, hint: u64) {
        if index <= self.matched || matches!(self.feed, Feed::Snapshot(_)) {
            return;
        }
        self.feed = Feed::Probe;
        self.in_flight = 0;
        self.next = (hint + 1).min(index).max(self.matched + 1);
    }

    /// Goes back to asking.
    pub fn probe(&mut self) {
        self.feed = Feed::Probe;
        self.in_flight = 0;
        self.next = self.matched + 1;
    }
}
