//! The state machine of a timer, systemd.timer(5) and systemd 252's timer.c by behaviour.
//!
//! waiting → running (its unit is at work) → waiting … → elapsed. A time of the calendar is kept by the wall clock and
//! computed anew when that jumps; all others go by the monotonic clock.

use serde::{Deserialize, Serialize};

use super::{Life, Stage, Step, Wish, Word};
use crate::load::STAMPS;
use crate::saved::word;
use crate::settings::{TimerBase, TimerSettings, TimerValue};
use crate::{Action, ActiveState, Level, LoadState, Stamp, Usec};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Dead,
    Waiting,
    Running,
    Elapsed,
    Failed,
}

impl State {
    fn names(self) -> (ActiveState, &'static str) {
        match self {
            State::Dead => (ActiveState::Inactive, "dead"),
            State::Waiting => (ActiveState::Active, "waiting"),
            State::Running => (ActiveState::Active, "running"),
            State::Elapsed => (ActiveState::Active, "elapsed"),
            State::Failed => (ActiveState::Failed, "failed"),
        }
    }
}

/// A timer's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default = "Timer::new")]
pub(crate) struct Timer {
    state: State,
    #[serde(deserialize_with = "word")]
    pub(crate) result: Word,
    pub(crate) last_trigger: Stamp,
    /// The next time by either clock.
    pub(crate) next_monotonic: Option<Usec>,
    pub(crate) next_realtime: Option<Usec>,
    /// What each calendar value comes to, for D-Bus.
    pub(crate) next_of: Vec<Option<Usec>>,
    /// Values that have had their one time.
    spent: Vec<bool>,
    /// When to look, monotonic.
    wake: Option<Usec>,
}

const SUCCESS: &str = "success";

impl Timer {
    pub(crate) fn new() -> Timer {
        Timer {
            state: State::Dead,
            result: SUCCESS,
            last_trigger: Stamp::default(),
            next_monotonic: None,
            next_realtime: None,
            next_of: Vec::new(),
            spent: Vec::new(),
            wake: None,
        }
    }

    fn set_state(&mut self, stage: &mut Stage<'_>, state: State) {
        self.state = state;
        if state != State::Waiting {
            self.wake = None;
            self.next_monotonic = None;
            self.next_realtime = None;
        }
        let (active, sub) = state.names();
        stage.enter(active, sub);
    }

    fn enter_dead(&mut self, stage: &mut Stage<'_>, result: &'static str) {
        if self.result == SUCCESS {
            self.result = result;
        }
        let name = stage.name();
        if self.result == SUCCESS {
            stage.log(Level::Info, format!("{name}: Deactivated successfully."));
            self.set_state(stage, State::Dead);
        } else {
            stage.log(Level::Warning, format!("{name}: Failed with result '{}'.", self.result));
            self.set_state(stage, State::Failed);
        }
    }

    /// Computes the next time. `jumped`: the clock did, so that what has passed by it is not spent.
    fn enter_waiting(&mut self, stage: &mut Stage<'_>, jumped: bool) {
        let settings = settings(stage);
        let now = stage.stamp();
        let triggered = self.last_trigger != Stamp::default();
        self.spent.resize(settings.values.len(), false);
        self.next_of = vec![None; settings.values.len()];
        let (mut monotonic, mut realtime): (Option<Usec>, Option<Usec>) = (None, None);
        let mut leave_around = false;
        let earlier = |at: &mut Option<Usec>, next: Usec| *at = Some(at.map_or(next, |at| at.min(next)));
        for (index, value) in settings.values.iter().enumerate() {
            match value {
                TimerValue::Calendar(calendar) => {
                    let Some(zone) = stage.world.probe.time_zone(calendar.zone()) else {
                        let message = format!(
                            "No time zone {}, ignoring {calendar}.",
                            calendar.zone().unwrap_or("local")
                        );
                        stage.log(Level::Warning, message);
                        continue;
                    };
                    let up = stage.base.active.is_up();
                    let active_since = if up { stage.base.inactive_exit.realtime } else { 0 };
                    let since = [self.last_trigger.realtime, active_since]
                        .into_iter()
                        .find(|at| *at > 0 && *at <= now.realtime)
                        .unwrap_or(now.realtime);
                    if let Some(next) = calendar.next(since, &zone) {
                        if let Some(slot) = self.next_of.get_mut(index) {
                            *slot = Some(next);
                        }
                        earlier(&mut realtime, next);
                    }
                }
                TimerValue::After(base, span) => {
                    let peer = stage.peer.as_ref();
                    let since = match base {
                        TimerBase::Active if stage.base.active.is_up() => stage.base.inactive_exit.monotonic,
                        TimerBase::Active => now.monotonic,
                        TimerBase::Boot => 0,
                        TimerBase::Startup => stage.host.started,
                        TimerBase::UnitActive | TimerBase::UnitInactive => {
                            leave_around = true;
                            let stamp = peer.map(|peer| match base {
                                TimerBase::UnitActive => peer.inactive_exit.monotonic,
                                _ => peer.inactive_enter.monotonic,
                            });
                            let since = stamp.unwrap_or_default().max(self.last_trigger.monotonic);
                            if since == 0 {
                                continue;
                            }
                            since
                        }
                    };
                    let next = since.saturating_add(*span);
                    if let Some(slot) = self.next_of.get_mut(index) {
                        *slot = Some(next);
                    }
                    let once = matches!(base, TimerBase::Active | TimerBase::Boot | TimerBase::Startup);
                    let spent = self.spent.get(index).copied().unwrap_or_default();
                    let passed = triggered && !jumped && next <= now.monotonic;
                    if once && (spent || passed) {
                        if let Some(spent) = self.spent.get_mut(index) {
                            *spent = true;
                        }
                        continue;
                    }
                    earlier(&mut monotonic, next);
                }
            }
        }
        if monotonic.is_none()
            && realtime.is_none()
            && !settings.on_clock_change
            && !settings.on_timezone_change
        {
            return self.enter_elapsed(stage, leave_around);
        }
        let delay = random_delay(stage, &settings);
        self.set_state(stage, State::Waiting);
        self.next_monotonic = monotonic.map(|at| at.saturating_add(delay));
        self.next_realtime = realtime.map(|at| at.saturating_add(delay));
        self.arm(stage);
    }

    /// When to look next; the wall clock's times by how far off they are now.
    fn arm(&mut self, stage: &Stage<'_>) {
        let real =
            self.next_realtime.map(|at| stage.now().saturating_add(at.saturating_sub(stage.world.realtime)));
        self.wake = [self.next_monotonic, real].into_iter().flatten().min();
    }

    fn enter_elapsed(&mut self, stage: &mut Stage<'_>, leave_around: bool) {
        if settings(stage).remain_after_elapse || leave_around {
            self.set_state(stage, State::Elapsed);
        } else {
            self.enter_dead(stage, SUCCESS);
        }
    }

    fn enter_running(&mut self, stage: &mut Stage<'_>) {
        if stage.stop_pending {
            self.wake = None;
            return;
        }
        let Some(peer) = &stage.peer else { return self.enter_dead(stage, "resources") };
        let wish = Wish { by: stage.base.unit.name.clone(), unit: peer.name.clone(), connection: None };
        self.last_trigger = stage.stamp();
        if let Some(path) = stamp_path(stage) {
            let at = Some(self.last_trigger.realtime);
            stage.fx.actions.push(Action::Touch { unit: stage.base.unit.name.clone(), path, at });
        }
        self.set_state(stage, State::Running);
        stage.fx.wishes.push_back(wish);
    }

    /// The wall clock has jumped, or the time zone is another.
    pub(crate) fn clock_changed(&mut self, stage: &mut Stage<'_>, zone: bool) {
        if self.state != State::Waiting {
            return;
        }
        let settings = settings(stage);
        if (settings.on_clock_change && !zone) || (settings.on_timezone_change && zone) {
            return self.enter_running(stage);
        }
        // a last time in the future says nothing
        self.last_trigger.realtime = self.last_trigger.realtime.min(stage.world.realtime);
        self.enter_waiting(stage, true);
    }
}

impl Life for Timer {
    fn deadline(&self) -> Option<Usec> {
        self.wake
    }

    fn start(&mut self, stage: &mut Stage<'_>) -> Step {
        if !matches!(self.state, State::Dead | State::Failed) {
            return Step::Begun;
        }
        if !is_loaded(stage) {
            return Step::Failed;
        }
        stage.new_invocation();
        self.result = SUCCESS;
        self.spent.clear();
        self.last_trigger = Stamp::default();
        if let Some(path) = stamp_path(stage) {
            match stage.world.probe.modified(&path) {
                Some(at) if at > stage.world.realtime => {
                    let message = format!("Not using persistent file {path} as its time is in the future.");
                    stage.log(Level::Warning, message);
                }
                Some(at) => self.last_trigger.realtime = at,
                // the first time counts from now
                None => stage.fx.actions.push(Action::Touch {
                    unit: stage.base.unit.name.clone(),
                    path,
                    at: None,
                }),
            }
        }
        self.enter_waiting(stage, false);
        Step::Begun
    }

    fn stop(&mut self, stage: &mut Stage<'_>, _: bool) -> Step {
        if !matches!(self.state, State::Dead | State::Failed) {
            self.enter_dead(stage, SUCCESS);
        }
        Step::Begun
    }

    fn elapsed(&mut self, stage: &mut Stage<'_>) {
        if self.state != State::Waiting || self.wake.is_none_or(|at| at > stage.now()) {
            return;
        }
        let due = self.next_monotonic.is_some_and(|at| at <= stage.now())
            || self.next_realtime.is_some_and(|at| at <= stage.world.realtime);
        if due {
            self.enter_running(stage);
        } else {
            // the wall clock was slowed down
            self.arm(stage);
        }
    }

    /// The unit has changed, or its job is over.
    fn peer_changed(&mut self, stage: &mut Stage<'_>) {
        let Some(peer) = stage.peer.clone() else { return };
        if peer.load != LoadState::Loaded {
            return;
        }
        let relative = settings(stage).values.iter().any(|value| {
            matches!(value, TimerValue::After(TimerBase::UnitActive | TimerBase::UnitInactive, _))
        });
        match self.state {
            State::Waiting | State::Elapsed if relative => self.enter_waiting(stage, false),
            State::Running if peer.active.is_down() && !peer.has_job => self.enter_waiting(stage, false),
            _ => {}
        }
    }

    /// The unit could not be started.
    fn wish_refused(&mut self, stage: &mut Stage<'_>, _: Option<crate::ConnectionId>) {
        self.enter_dead(stage, "resources");
    }

    fn hit_start_limit(&mut self, stage: &mut Stage<'_>) {
        if matches!(self.state, State::Dead | State::Failed) {
            self.result = "start-limit-hit";
            self.set_state(stage, State::Failed);
        }
    }

    fn reset_failed(&mut self, stage: &mut Stage<'_>) {
        if self.state == State::Failed {
            self.set_state(stage, State::Dead);
        }
        self.result = SUCCESS;
    }
}

fn is_loaded(stage: &mut Stage<'_>) -> bool {
    match stage.peer.clone() {
        Some(peer) if peer.load == LoadState::Loaded => true,
        peer => {
            let name = peer.map_or_else(String::new, |peer| peer.name.to_string());
            let message = format!("{}: Unit to trigger not loaded: {name}", stage.name());
            stage.log(Level::Error, message);
            false
        }
    }
}

/// Persistent= with OnCalendar= remembers over a reboot when it last elapsed.
fn stamp_path(stage: &Stage<'_>) -> Option<String> {
    let settings = settings(stage);
    let calendar = settings.values.iter().any(|value| matches!(value, TimerValue::Calendar(_)));
    (settings.persistent && calendar).then(|| format!("{STAMPS}/stamp-{}", stage.base.unit.name))
}

/// RandomizedDelaySec=: each time another, or one for this timer on this machine.
fn random_delay(stage: &Stage<'_>, settings: &TimerSettings) -> Usec {
    if settings.randomized_delay == 0 {
        return 0;
    }
    let number = if settings.fixed_random_delay {
        // FNV-1a: spread well is all that it must be
        let bytes = stage.host.machine_id.bytes().chain(stage.base.unit.name.as_str().bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    } else {
        stage.world.probe.random_id() as u64
    };
    number % settings.randomized_delay
}

fn settings(stage: &Stage<'_>) -> TimerSettings {
    stage.base.unit.timer().cloned().unwrap_or_default()
}
