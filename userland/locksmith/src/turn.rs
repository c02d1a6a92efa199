//! A machine's turn to reboot: pure, with the time, the window and the store's answers from outside.
//!
//! A machine that comes back gives its place back before anything else, whatever it wants next. A place that is given
//! when the window has closed is given back. A place that somebody holds for very long raises an alarm, and is never
//! taken away: only an operator knows whether that machine is dead.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::semaphore::Refused;

/// Between two tries, at first and at most.
const WAITS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// A place that is held for longer raises an alarm, every so often.
const LONG: Duration = Duration::from_secs(3600);

/// How a machine reboots into a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// At once, or when its window opens.
    Reboot,
    /// When it has a place.
    EtcdLock,
    /// When a FleetLock server gives it a place.
    FleetLock,
    /// When it has a place; at once, where no store answers.
    BestEffort,
    /// Never by itself.
    Off,
}

impl Strategy {
    /// As `REBOOT_STRATEGY=` names it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Strategy> {
        Some(match name {
            "reboot" => Strategy::Reboot,
            "etcd-lock" => Strategy::EtcdLock,
            "fleet-lock" => Strategy::FleetLock,
            "best-effort" => Strategy::BestEffort,
            "off" => Strategy::Off,
            _ => return None,
        })
    }

    fn takes_turns(self) -> bool {
        matches!(self, Strategy::EtcdLock | Strategy::FleetLock | Strategy::BestEffort)
    }
}

/// What came of asking the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The semaphore says no.
    Refused(Refused),
    /// No store answers, and why.
    Unreachable(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take a place; [`Turn::locked`] hears of it.
    Lock,
    /// Give the place back; [`Turn::unlocked`] hears of it.
    Unlock,
    /// Reboot.
    Reboot,
    /// Say this.
    Say(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Its place is given back: the one it had for its last reboot, or that it cannot use now.
    GivingBack,
    Resting,
    Going,
}

/// A machine's turn.
#[derive(Debug)]
pub struct Turn {
    strategy: Strategy,
    phase: Phase,
    due: Duration,
    wait: Duration,
    /// Who stands in the way: since when, and when that was last said.
    held: BTreeMap<String, (Duration, Duration)>,
}

impl Turn {
    /// One that begins.
    #[must_use]
    pub fn new(strategy: Strategy, now: Duration) -> Turn {
        let phase = if strategy.takes_turns() { Phase::GivingBack } else { Phase::Resting };
        Turn { strategy, phase, due: now, wait: WAITS.0, held: BTreeMap::new() }
    }

    /// Time passes. `wanted`: a release waits for a reboot; `open`: the window is.
    pub fn time(&mut self, wanted: bool, open: bool, now: Duration) -> Option<Action> {
        if now < self.due {
            return None;
        }
        match (self.phase, self.strategy) {
            (Phase::GivingBack, _) => Some(Action::Unlock),
            (Phase::Resting, Strategy::Off) | (Phase::Going, _) => None,
            (Phase::Resting, _) if !wanted || !open => None,
            (Phase::Resting, Strategy::Reboot) => Some(self.go()),
            (Phase::Resting, _) => Some(Action::Lock),
        }
    }

    /// The place was asked for; the window may have closed meanwhile.
    pub fn locked(&mut self, answer: Answer, open: bool, now: Duration) -> Option<Action> {
        match answer {
            Answer::Done if open => Some(self.go()),
            Answer::Done => {
                (self.phase, self.due, self.wait) = (Phase::GivingBack, now, WAITS.0);
                Some(Action::Unlock)
            }
            Answer::Unreachable(_) if self.strategy == Strategy::BestEffort && open => Some(self.go()),
            Answer::Unreachable(why) => {
                self.later(now);
                Some(Action::Say(format!("the reboot lock cannot be asked for: {why}")))
            }
            Answer::Refused(refused) => {
                self.later(now);
                self.alarm(&refused, now).map(Action::Say)
            }
        }
    }

    /// The place was given back, or is not.
    pub fn unlocked(&mut self, answer: &Answer, now: Duration) {
        match answer {
            // Who holds none has nothing to give back.
            Answer::Done | Answer::Refused(_) => {
                (self.phase, self.due, self.wait) = (Phase::Resting, now, WAITS.0);
            }
            // Best effort does not wait for a store that is not there.
            Answer::Unreachable(_) if self.strategy == Strategy::BestEffort => self.phase = Phase::Resting,
            Answer::Unreachable(_) => self.later(now),
        }
    }

    fn go(&mut self) -> Action {
        self.phase = Phase::Going;
        Action::Reboot
    }

    fn later(&mut self, now: Duration) {
        self.due = now + self.wait;
        self.wait = (self.wait * 2).min(WAITS.1);
    }

    /// What is to be said of those who stand in the way for very long.
    fn alarm(&mut self, refused: &Refused, now: Duration) -> Option<String> {
        let Refused::Full { holders, .. } = refused else { return None };
        self.held.retain(|holder, _| holders.contains(holder));
        let mut long = Vec::new();
        for holder in holders {
            let (since, said) = self.held.entry(holder.clone()).or_insert((now, now));
            if now - *said >= LONG {
                *said = now;
                long.push(format!("{holder} for {} min", (now - *since).as_secs() / 60));
            }
        }
        (!long.is_empty()).then(|| {
            format!(
                "the reboot lock is held by {}; if such a machine is dead: locksmithctl unlock ID",
                long.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn full(holders: &[&str]) -> Answer {
        Answer::Refused(Refused::Full {
            max: 1,
            holders: holders.iter().map(|id| (*id).to_owned()).collect(),
        })
    }

    /// A machine of this strategy that has given its place back.
    fn rested(strategy: Strategy) -> Turn {
        let mut turn = Turn::new(strategy, at(0));
        if strategy.takes_turns() {
            assert_eq!(turn.time(true, true, at(0)), Some(Action::Unlock));
            turn.unlocked(&Answer::Done, at(0));
        }
        turn
    }

    #[test]
    fn each_strategy_does_what_it_is_called() {
        assert_eq!(rested(Strategy::Off).time(true, true, at(1)), None);
        let mut reboot = rested(Strategy::Reboot);
        assert_eq!(reboot.time(false, true, at(1)), None, "nothing waits");
        assert_eq!(reboot.time(true, false, at(1)), None, "out of its window");
        assert_eq!(reboot.time(true, true, at(1)), Some(Action::Reboot));
        assert_eq!(reboot.time(true, true, at(2)), None, "once");
        let mut lock = rested(Strategy::EtcdLock);
        assert_eq!(lock.time(true, true, at(1)), Some(Action::Lock));
        assert_eq!(lock.locked(Answer::Done, true, at(1)), Some(Action::Reboot));
        let gone = || Answer::Unreachable("no route".to_owned());
        let mut lock = rested(Strategy::EtcdLock);
        assert!(matches!(lock.locked(gone(), true, at(1)), Some(Action::Say(_))));
        assert_eq!(lock.time(true, true, at(5)), None, "it waits");
        assert_eq!(lock.time(true, true, at(6)), Some(Action::Lock));
        let mut best = rested(Strategy::BestEffort);
        assert_eq!(best.time(true, true, at(1)), Some(Action::Lock));
        assert_eq!(best.locked(gone(), true, at(1)), Some(Action::Reboot));
        assert_eq!(Strategy::parse("best-effort"), Some(Strategy::BestEffort));
        assert_eq!(Strategy::parse("sometimes"), None);
    }

    /// Flatcar#407: the lock was waited for, the window closed, and the machine rebooted outside it.
    #[test]
    fn a_place_that_comes_when_the_window_has_closed_is_given_back() {
        let mut turn = rested(Strategy::EtcdLock);
        assert_eq!(turn.time(true, true, at(1)), Some(Action::Lock));
        assert_eq!(turn.locked(Answer::Done, false, at(2)), Some(Action::Unlock));
        turn.unlocked(&Answer::Done, at(3));
        assert_eq!(turn.time(true, false, at(4)), None);
        assert_eq!(turn.time(true, true, at(5)), Some(Action::Lock));
    }

    /// Flatcar#408: a machine that came back and wanted to reboot again, outside its window, kept its place.
    #[test]
    fn a_machine_that_is_back_gives_its_place_back_first() {
        let mut turn = Turn::new(Strategy::EtcdLock, at(0));
        assert_eq!(turn.time(true, false, at(0)), Some(Action::Unlock));
        turn.unlocked(&Answer::Unreachable("x".to_owned()), at(0));
        assert_eq!(turn.time(true, true, at(4)), None);
        assert_eq!(turn.time(true, true, at(5)), Some(Action::Unlock), "until it is done");
        turn.unlocked(&Answer::Refused(Refused::NotHeld("a".to_owned())), at(5));
        assert_eq!(turn.time(true, true, at(5)), Some(Action::Lock));
    }

    /// A dead holder blocked all others without a word.
    #[test]
    fn a_place_that_is_held_for_long_raises_an_alarm_and_is_not_taken() {
        let mut turn = rested(Strategy::EtcdLock);
        let mut said = Vec::new();
        let mut now = 0;
        while now < 3 * 3600 {
            now += 60;
            if turn.time(true, true, at(now)) == Some(Action::Lock) {
                match turn.locked(full(&["dead"]), true, at(now)) {
                    Some(Action::Say(text)) => said.push(text),
                    None => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("dead for 6") && said[0].contains("locksmithctl unlock"), "{said:?}");
        // Another holder begins at nothing.
        assert_eq!(turn.locked(full(&["other"]), true, at(now + 300)), None);
    }
}
