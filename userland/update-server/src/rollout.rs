//! Who gets a release now: pure, with the time from outside.
//!
//! A rollout is one version in one group. A machine that asks is granted the version when nothing in the group's
//! policy speaks against it, and counts as pending until it runs the version, reports a failure, or is not heard of in
//! time. Failures stop the rollout for everybody once they are too many; only an operator starts it again.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

const DAY: u64 = 24 * 3600;
/// So many machines have to be through before a rate of failures means something.
const FEWEST: usize = 3;

/// What an operator lays down for a group. Times are in seconds, parts in percent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Machines get releases at all.
    pub enabled: bool,
    /// One machine goes first, and no other before it runs the release.
    pub one_first: bool,
    /// Which part of the machines may have it, so long after the rollout began; none: all, at once.
    pub waves: Vec<Wave>,
    /// Only in these hours.
    pub hours: Option<Hours>,
    /// No more than so many in so long.
    pub rate: Option<Rate>,
    /// A machine that is not through after this has failed.
    pub timeout: u64,
    /// When so large a part of those that are through failed, the rollout stops; 0: at the first.
    pub stop_at: u8,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            enabled: true,
            one_first: false,
            waves: Vec::new(),
            hours: None,
            rate: None,
            timeout: 3600,
            stop_at: 20,
        }
    }
}

/// A part of the machines, and when it may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// Seconds since the rollout began.
    pub after: u64,
    /// Of all machines, with those of the waves before.
    pub percent: u8,
}

/// Hours of the day, by UTC and an offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// Minutes after midnight.
    pub from: u16,
    /// Minutes after midnight, later than `from`, or earlier: then it goes over midnight.
    pub to: u16,
    /// Days of the week, 0 is Monday; none: every day. Over midnight, the day it begins on counts.
    #[serde(default)]
    pub days: Vec<u8>,
    /// Minutes east of UTC.
    #[serde(default)]
    pub offset: i16,
}

impl Hours {
    fn hold(&self, now: u64) -> bool {
        let local = now.saturating_add_signed(i64::from(self.offset) * 60);
        let minute = u16::try_from(local % DAY / 60).unwrap_or(0);
        // 1970 began on a Thursday.
        let today = u8::try_from((local / DAY + 3) % 7).unwrap_or(0);
        let on = |day: u8| self.days.is_empty() || self.days.contains(&day);
        if self.from <= self.to {
            return on(today) && (self.from..self.to).contains(&minute);
        }
        (on(today) && minute >= self.from) || (on((today + 6) % 7) && minute < self.to)
    }
}

/// So many in so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Machines.
    pub machines: usize,
    /// In seconds.
    pub period: u64,
}

/// How far a machine is with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was granted, and not heard of since.
    Pending,
    /// It runs it.
    Done,
    /// It went back, could not install it, or was not heard of in time.
    Failed,
}

/// A machine that was granted the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// In seconds since 1970.
    pub at: u64,
    /// How far it is.
    pub outcome: Outcome,
}

/// One version in one group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// By machine.
    pub grants: BTreeMap<String, Grant>,
    /// Why it stopped.
    pub stopped: Option<String>,
}

/// What a machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It gets the version.
    Granted,
    /// Not now, and why.
    Refused(&'static str),
}

impl Rollout {
    /// One that begins now.
    #[must_use]
    pub fn new(now: u64) -> Rollout {
        Rollout { began: now, ..Rollout::default() }
    }

    /// A machine asks that does not run the version yet.
    pub fn ask(&mut self, policy: &Policy, version: &str, machine: &str, now: u64) -> Decision {
        self.expire(policy, now);
        if !policy.enabled {
            return Decision::Refused("updates are off in this group");
        }
        match self.grants.get(machine).map(|grant| grant.outcome) {
            Some(Outcome::Failed) => return Decision::Refused("it failed on this machine"),
            _ if self.stopped.is_some() => return Decision::Refused("the rollout is stopped"),
            // It asks again: its download was cut off, or its reboot is yet to come.
            Some(Outcome::Pending) => return Decision::Granted,
            // It ran the version, and runs another one now: somebody went back.
            Some(Outcome::Done) => return Decision::Refused("the machine has left this version"),
            None => {}
        }
        if !self.in_a_wave(policy, version, machine, now) {
            return Decision::Refused("its wave is yet to come");
        }
        if policy.hours.as_ref().is_some_and(|hours| !hours.hold(now)) {
            return Decision::Refused("it is out of hours");
        }
        if policy.one_first && self.count(Outcome::Done) == 0 && self.count(Outcome::Pending) > 0 {
            return Decision::Refused("the first machine is not through");
        }
        if let Some(rate) = &policy.rate {
            let since = now.saturating_sub(rate.period);
            if self.grants.values().filter(|grant| grant.at > since).count() >= rate.machines {
                return Decision::Refused("enough machines have it for now");
            }
        }
        self.grants.insert(machine.to_owned(), Grant { at: now, outcome: Outcome::Pending });
        Decision::Granted
    }

    /// A machine is through, one way or the other.
    pub fn tell(&mut self, policy: &Policy, machine: &str, well: bool) {
        let Some(grant) = self.grants.get_mut(machine) else { return };
        grant.outcome = if well { Outcome::Done } else { Outcome::Failed };
        self.judge(policy);
    }

    /// An operator lets it go on: what failed is forgotten.
    pub fn resume(&mut self) {
        self.stopped = None;
        self.grants.retain(|_, grant| grant.outcome != Outcome::Failed);
    }

    /// How many machines are so far.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.grants.values().filter(|grant| grant.outcome == outcome).count()
    }

    /// Machines that were not heard of in time have failed.
    fn expire(&mut self, policy: &Policy, now: u64) {
        let late = |grant: &Grant| {
            grant.outcome == Outcome::Pending && now.saturating_sub(grant.at) > policy.timeout
        };
        let mut any = false;
        for grant in self.grants.values_mut().filter(|grant| late(grant)) {
            grant.outcome = Outcome::Failed;
            any = true;
        }
        if any {
            self.judge(policy);
        }
    }

    fn judge(&mut self, policy: &Policy) {
        let (failed, done) = (self.count(Outcome::Failed), self.count(Outcome::Done));
        let through = failed + done;
        let first_failed = policy.one_first && done == 0;
        let too_many = through >= FEWEST && failed * 100 >= usize::from(policy.stop_at) * through;
        if failed > 0 && self.stopped.is_none() && (first_failed || too_many || policy.stop_at == 0) {
            self.stopped = Some(format!("{failed} of {through} machines failed"));
        }
    }

    fn in_a_wave(&self, policy: &Policy, version: &str, machine: &str, now: u64) -> bool {
        if policy.waves.is_empty() {
            return true;
        }
        let since = now.saturating_sub(self.began);
        let begun = policy.waves.iter().filter(|wave| wave.after <= since);
        let percent = begun.map(|wave| wave.percent).max().unwrap_or(0);
        place(version, machine) < u32::from(percent) * 100
    }
}

/// A machine's place in the order of a version's waves, of 10,000: another one for each version, so that it is not
/// always the same machines that go first.
fn place(version: &str, machine: &str) -> u32 {
    let hash = digest(&SHA256, format!("{version}\n{machine}").as_bytes());
    let four = hash.as_ref().first_chunk::<4>().copied().unwrap_or_default();
    u32::from_be_bytes(four) % 10_000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRANTED: Decision = Decision::Granted;

    fn machines(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("machine-{number}")).collect()
    }

    /// How many of these are granted the version now.
    fn granted(rollout: &mut Rollout, policy: &Policy, machines: &[String], now: u64) -> usize {
        machines.iter().filter(|name| rollout.ask(policy, "2", name, now) == GRANTED).count()
    }

    #[test]
    fn waves_widen_and_are_others_for_another_version() {
        let wave = |after, percent| Wave { after, percent };
        let policy = Policy { waves: vec![wave(0, 1), wave(3600, 10), wave(7200, 100)], ..Policy::default() };
        let policy = Policy { timeout: DAY, ..policy };
        let (mut rollout, machines) = (Rollout::new(1000), machines(2000));
        let first = granted(&mut rollout, &policy, &machines, 1000);
        assert!((5..60).contains(&first), "{first} of 2000 for 1 %");
        let second = granted(&mut rollout, &policy, &machines, 4600);
        assert!((120..280).contains(&second), "{second} of 2000 for 10 %");
        assert_eq!(granted(&mut rollout, &policy, &machines, 8200), 2000);
        let places: Vec<bool> = machines.iter().map(|name| place("2", name) < place("3", name)).collect();
        assert!(places.contains(&true) && places.contains(&false));
    }

    #[test]
    fn one_goes_first_and_stops_it_for_all_if_it_fails() {
        let policy = Policy { one_first: true, ..Policy::default() };
        let (mut rollout, names) = (Rollout::new(0), machines(10));
        assert_eq!(granted(&mut rollout, &policy, &names, 0), 1);
        assert_eq!(granted(&mut rollout, &policy, &names, 60), 1, "the same again");
        rollout.tell(&policy, &names[0], true);
        assert_eq!(granted(&mut rollout, &policy, &names[1..], 120), 9);
        let mut rollout = Rollout::new(0);
        assert_eq!(granted(&mut rollout, &policy, &names, 0), 1);
        // It is not heard of again.
        assert_eq!(granted(&mut rollout, &policy, &names, 3601), 0);
        assert_eq!(rollout.stopped.as_deref(), Some("1 of 1 machines failed"));
        rollout.resume();
        assert_eq!(granted(&mut rollout, &policy, &names, 3700), 1);
    }

    #[test]
    fn no_more_than_so_many_in_a_period() {
        let rate = Some(Rate { machines: 3, period: 600 });
        let policy = Policy { rate, ..Policy::default() };
        let (mut rollout, names) = (Rollout::new(0), machines(10));
        assert_eq!(granted(&mut rollout, &policy, &names, 10_000), 3);
        assert_eq!(granted(&mut rollout, &policy, &names[3..], 10_599), 0);
        assert_eq!(granted(&mut rollout, &policy, &names[3..], 10_600), 3);
    }

    #[test]
    fn failures_stop_it_when_they_are_too_many() {
        let (policy, names) = (Policy::default(), machines(20));
        let mut rollout = Rollout::new(0);
        assert_eq!(granted(&mut rollout, &policy, &names[..10], 0), 10);
        for name in &names[1..9] {
            rollout.tell(&policy, name, true);
        }
        rollout.tell(&policy, &names[0], false);
        assert_eq!(rollout.stopped, None, "1 of 9 is less than 20 %");
        assert_eq!(rollout.ask(&policy, "2", &names[0], 1), Decision::Refused("it failed on this machine"));
        rollout.tell(&policy, &names[9], false);
        assert_eq!(rollout.stopped.as_deref(), Some("2 of 10 machines failed"));
        assert_eq!(rollout.ask(&policy, "2", &names[11], 1), Decision::Refused("the rollout is stopped"));
        // Who says that it failed without having been granted anything counts for nothing.
        let mut rollout = Rollout::new(0);
        for name in &names {
            rollout.tell(&policy, name, false);
        }
        assert_eq!(rollout.stopped, None);
    }

    #[test]
    fn hours_are_of_the_place() {
        // Monday, 2026-01-05.
        let monday = 1_767_571_200;
        let at = |hour: u64, minute: u64| monday + hour * 3600 + minute * 60;
        let office = Hours { from: 9 * 60, to: 17 * 60, days: vec![0, 1, 2, 3, 4], offset: 60 };
        assert!(office.hold(at(8, 0)) && office.hold(at(15, 59)));
        assert!(!office.hold(at(7, 59)) && !office.hold(at(16, 0)) && !office.hold(at(12, 0) - 2 * DAY));
        let night = Hours { from: 22 * 60, to: 4 * 60, days: vec![0], offset: 0 };
        assert!(night.hold(at(23, 0)) && night.hold(at(3, 59) + DAY) && !night.hold(at(3, 0)));
        assert!(!night.hold(at(23, 0) + DAY) && !night.hold(at(4, 0) + DAY));
    }

    proptest! {
        /// Whatever happens: never more than the rate, and none after it has stopped.
        #[test]
        fn a_rollout_keeps_to_its_policy(
            steps in prop::collection::vec((0..8_usize, 0..3_u8, 0..400_u64), 1..80),
            one_first: bool,
        ) {
            let rate = Some(Rate { machines: 2, period: 600 });
            let policy = Policy { one_first, rate, timeout: 900, stop_at: 50, ..Policy::default() };
            let (mut rollout, names, mut now) = (Rollout::new(0), machines(8), 10_000);
            for (machine, what, passes) in steps {
                now += passes;
                let stopped = rollout.stopped.is_some();
                let before = rollout.grants.len();
                match what {
                    0 => {
                        let decision = rollout.ask(&policy, "2", &names[machine], now);
                        prop_assert!(!(stopped && decision == GRANTED));
                    }
                    1 => rollout.tell(&policy, &names[machine], true),
                    _ => rollout.tell(&policy, &names[machine], false),
                }
                prop_assert!(rollout.grants.len() <= before + 1);
                let recent = rollout.grants.values().filter(|grant| grant.at + 600 > now).count();
                prop_assert!(recent <= 2);
            }
        }
    }
}
