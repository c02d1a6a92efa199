//! A recent state at hand, and the plan for a crash that uses it.
//!
//! A state costs a moment to write, so it is written when PID 1 is about to wait, at most once a second, and never so
//! often that it takes more than a hundredth of the time.

use std::ffi::CString;
use std::fs::File;
use std::time::{Duration, Instant};

use super::order::{Order, RECOVERIES};
use super::{SELF, number, own, state};
use crate::event_loop::EventLoop;
use crate::log::{self, Level};
use crate::manager::Manager;

/// A state is at least as old as this before there is a new one.
const AGE: Duration = Duration::from_secs(1);
/// So many times as long as the writing took.
const SHARE: u32 = 100;
/// After this long without a crash, all is forgiven.
const FORGIVEN: Duration = Duration::from_secs(3600);

/// The plan and its state.
#[derive(Debug)]
pub struct Snapshots {
    latest: Option<File>,
    written: Instant,
    pause: Duration,
    /// Crashes that may still come.
    left: u32,
    /// After the last of them the machine restarts (CrashReboot=), else it stands still.
    restarts: bool,
    begun: Instant,
}

impl Snapshots {
    /// Catches crashes from now on. While there is no state yet, one leads to a boot from the beginning, or, if this
    /// program goes on with the state of another, to going on without.
    #[must_use]
    pub fn begin(order: &Order) -> Snapshots {
        let left = order.left.unwrap_or(RECOVERIES);
        let now = Instant::now();
        let snapshots =
            Snapshots { latest: None, written: now, pause: Duration::ZERO, left, restarts: true, begun: now };
        snapshots.plan(Order { without: order.goes_on(), ..Order::default() });
        linux::crash::catch();
        snapshots
    }

    /// How long the latest state may still serve; `None`: nothing has happened since.
    #[must_use]
    pub fn due_in(&self, manager: &Manager) -> Option<Duration> {
        manager.has_moved.then(|| self.pause.saturating_sub(self.written.elapsed()))
    }

    /// Writes a new one, if it is time.
    pub fn refresh(&mut self, manager: &mut Manager, events: &EventLoop) {
        if self.due_in(manager) != Some(Duration::ZERO) {
            return;
        }
        manager.has_moved = false;
        self.restarts = manager.configuration.crash_reboot;
        let begun = Instant::now();
        match state::write(manager, events) {
            Ok(file) => {
                if self.begun.elapsed() > FORGIVEN {
                    self.left = RECOVERIES;
                }
                self.plan(Order { state: Some(number(&file)), ..Order::default() });
                // the old one is closed only now: until here a crash would have led to it
                self.latest = Some(file);
            }
            Err(error) => {
                log::say(Level::Error, None, &format!("PID 1 cannot keep its state at hand: {error}"));
            }
        }
        // between events is the time to give back what they have left behind
        linux::memory::give_back();
        self.written = Instant::now();
        self.pause = AGE.max((self.written - begun) * SHARE);
    }

    /// The machine goes down: what crashes now restarts it.
    pub fn end(self) {
        Snapshots { left: 0, restarts: true, ..self }.plan(Order::default());
    }

    fn plan(&self, order: Order) {
        let again = self.left.checked_sub(1).map(|left| Order { left: Some(left), ..order });
        let place = |path: &str, head: &str| Some((CString::new(path).ok()?, CString::new(head).ok()?));
        // syslog's daemon.emerg, and the colour of alarm
        let places = [place("/dev/kmsg", "<24>systemd[1]: "), place("/dev/console", "\r\n*** ")];
        linux::crash::plan(linux::crash::Plan {
            places: places.into_iter().flatten().collect(),
            again: again.map(|order| (SELF.to_owned(), order.arguments(&own()))),
            restarts: self.restarts,
        });
    }
}
