//! What a server knows: packages, channels, groups with their rollouts, machines; and its answers in Omaha. Pure, with
//! the time from outside; [`crate::store`] keeps it.

use std::collections::BTreeMap;

use omaha::{Answer, App, EventResult, EventType, Offer, Package as Listed, Verdict};
use serde::{Deserialize, Serialize};

use crate::rollout::{Decision, Policy, Rollout};

/// A payload that machines can be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Of which application.
    #[serde(default = "coreos")]
    pub app: String,
    /// The release in it.
    pub version: String,
    /// The root hash that it is the difference from; none: it is whole.
    #[serde(default)]
    pub from: Option<String>,
    /// Its length in bytes: the server finds it.
    #[serde(default)]
    pub size: u64,
    /// Its SHA-256 in base64: the server finds it.
    #[serde(default)]
    pub sha256: String,
}

/// What machines of a group get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Of which application.
    #[serde(default = "coreos")]
    pub app: String,
    /// The newest version.
    pub version: String,
    /// Versions that an older machine has to go through, the oldest first.
    #[serde(default)]
    pub floors: Vec<String>,
}

/// Machines that are treated alike. A machine names its group as its track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Of which application.
    #[serde(default = "coreos")]
    pub app: String,
    /// Where its releases come from.
    pub channel: String,
    /// Who gets them when.
    #[serde(default)]
    pub policy: Policy,
    /// By version: the server's own.
    #[serde(default)]
    pub rollouts: BTreeMap<String, Rollout>,
}

/// What a machine told last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its group.
    pub group: String,
    /// Its name, for people.
    pub alias: String,
    /// The version it runs.
    pub version: String,
    /// What it was told or told itself.
    pub state: String,
    /// In seconds since 1970.
    pub seen: u64,
}

/// Something that a machine told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// In seconds since 1970.
    pub at: u64,
    /// The machine.
    pub machine: String,
    /// Its group.
    pub group: String,
    /// The version that ran.
    pub version: String,
    /// The protocol's number.
    pub event: u32,
    /// The protocol's number.
    pub result: u32,
    /// The protocol's number.
    pub error: Option<u64>,
    /// For people.
    pub reason: Option<String>,
}

fn coreos() -> String {
    omaha::COREOS.to_owned()
}

/// Everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fleet {
    /// By file name.
    pub packages: BTreeMap<String, Package>,
    /// By name.
    pub channels: BTreeMap<String, Channel>,
    /// By name.
    pub groups: BTreeMap<String, Group>,
    /// By number.
    pub machines: BTreeMap<String, Machine>,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// What the machine is told.
    pub answer: Answer,
    /// What it told.
    pub told: Vec<Told>,
    /// The machine's number and its group's name: both have changed.
    pub changed: Option<(String, String)>,
}

/// A name is no longer, in characters: machines make theirs up.
const LONGEST_NAME: usize = 128;

impl Fleet {
    /// A machine asks and tells. `base` is the URL that packages are under.
    pub fn hear(&mut self, app: &App, base: &str, now: u64) -> Heard {
        let answer =
            Answer { app: app.id.clone(), ping: app.ping, events: app.events.len(), ..Answer::default() };
        let refuse = |status: &str| Heard {
            answer: Answer { app: app.id.clone(), status: status.to_owned(), ..Answer::default() },
            told: Vec::new(),
            changed: None,
        };
        let fits = |text: &str| !text.is_empty() && text.chars().count() <= LONGEST_NAME;
        if !fits(&app.machine_id) || !fits(&app.track) || app.version.chars().count() > LONGEST_NAME {
            return refuse("error-invalidAppId");
        }
        let Some(group) = self.groups.get_mut(&app.track).filter(|group| same_app(&group.app, &app.id))
        else {
            return refuse("error-unknownApplication");
        };
        let machine = self.machines.entry(app.machine_id.clone()).or_default();
        machine.group.clone_from(&app.track);
        machine.alias = app.machine_alias.chars().take(LONGEST_NAME).collect();
        machine.version.clone_from(&app.version);
        machine.seen = now;
        let told = listen(group, machine, app, now);
        let verdict = app.check.as_ref().map(|_| {
            match offer(&self.packages, &self.channels, group, machine, app, now) {
                Some(mut offer) => {
                    offer.urls = vec![base.to_owned()];
                    Verdict::Offer(Box::new(offer))
                }
                None => Verdict::None,
            }
        });
        let changed = Some((app.machine_id.clone(), app.track.clone()));
        Heard { answer: Answer { status: "ok".to_owned(), verdict, ..answer }, told, changed }
    }
}

/// Takes in what a machine tells of its updates.
fn listen(group: &mut Group, machine: &mut Machine, app: &App, now: u64) -> Vec<Told> {
    // It runs what it was granted: it came up, or else it would have gone back.
    let runs_for_good = app.events.iter().any(|event| event.result == EventResult::SuccessAfterReboot);
    if runs_for_good && let Some(rollout) = group.rollouts.get_mut(&app.version) {
        rollout.tell(&group.policy, &app.machine_id, true);
    }
    let mut told = Vec::new();
    for event in &app.events {
        if event.kind == EventType::Complete && event.result == EventResult::Error {
            let failed = event.previous_version.as_ref().filter(|version| **version != app.version);
            let pending = || {
                group.rollouts.iter().rev().find_map(|(version, rollout)| {
                    let grant = rollout.grants.get(&app.machine_id)?;
                    (grant.outcome == crate::rollout::Outcome::Pending).then_some(version)
                })
            };
            if let Some(version) = failed.or_else(pending).cloned()
                && let Some(rollout) = group.rollouts.get_mut(&version)
            {
                rollout.tell(&group.policy, &app.machine_id, false);
            }
        }
        machine.state = state(event.kind, event.result).to_owned();
        told.push(Told {
            at: now,
            machine: app.machine_id.clone(),
            group: app.track.clone(),
            version: app.version.clone(),
            event: event.kind.number(),
            result: event.result.number(),
            error: event.error_code,
            reason: event.reason.as_ref().map(|reason| reason.chars().take(1000).collect()),
        });
    }
    told
}

fn state(kind: EventType, result: EventResult) -> &'static str {
    match (kind, result) {
        (_, EventResult::Error) => "failed",
        (_, EventResult::SuccessAfterReboot) => "runs the release",
        (EventType::DownloadStarted, _) => "downloads",
        (EventType::DownloadFinished, _) => "has downloaded",
        (EventType::Installed | EventType::Complete, _) => "waits for a reboot",
        (EventType::Other(_), _) => "told something else",
    }
}

/// What a machine is offered, if anything.
fn offer(
    packages: &BTreeMap<String, Package>,
    channels: &BTreeMap<String, Channel>,
    group: &mut Group,
    machine: &mut Machine,
    app: &App,
    now: u64,
) -> Option<Offer> {
    let channel = channels.get(&group.channel).filter(|channel| same_app(&channel.app, &app.id))?;
    let version = channel.next(&app.version)?;
    let (name, package) = best(packages, app, version)?;
    let rollout = group.rollouts.entry(version.to_owned()).or_insert_with(|| Rollout::new(now));
    match rollout.ask(&group.policy, version, &app.machine_id, now) {
        Decision::Granted => {
            machine.state = format!("was offered {version}");
            Some(Offer {
                version: version.to_owned(),
                packages: vec![Listed { name: name.to_owned(), size: package.size }],
                sha256: package.sha256.clone(),
                is_delta: package.from.is_some(),
                ..Offer::default()
            })
        }
        Decision::Refused(why) => {
            machine.state = format!("waits: {why}");
            None
        }
    }
}

/// The smallest package that the machine can use.
fn best<'a>(
    packages: &'a BTreeMap<String, Package>,
    app: &App,
    version: &str,
) -> Option<(&'a str, &'a Package)> {
    let usable = |package: &Package| {
        same_app(&package.app, &app.id)
            && package.version == version
            && package.from.as_ref().is_none_or(|from| app.delta_okay && *from == app.root_hash)
    };
    let found = packages.iter().filter(|(_, package)| usable(package));
    found.min_by_key(|(_, package)| package.size).map(|(name, package)| (name.as_str(), package))
}

impl Channel {
    /// What a machine with this version goes to next; `None`: it is there, or ahead.
    fn next(&self, running: &str) -> Option<&str> {
        let steps = self.floors.iter().chain([&self.version]);
        // Versions that are no numbers have no order: then only the same one is there.
        match numbers(running) {
            Some(running) => steps
                .filter(|step| numbers(step).is_some_and(|step| step > running))
                .map(String::as_str)
                .next()
                .or_else(|| numbers(&self.version).is_none().then_some(self.version.as_str())),
            None => (running != self.version).then_some(self.version.as_str()),
        }
    }
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

fn same_app(one: &str, other: &str) -> bool {
    let bare = |id: &str| id.trim_matches(['{', '}']).to_ascii_lowercase();
    bare(one) == bare(other)
}

#[cfg(test)]
mod tests {
    use omaha::{COREOS, Check, Event};

    use super::*;

    fn package(version: &str, from: Option<&str>, size: u64) -> Package {
        let (version, from) = (version.to_owned(), from.map(str::to_owned));
        Package { app: coreos(), version, from, size, sha256: "x".to_owned() }
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        fleet.packages.insert("full-2".to_owned(), package("2.0", None, 1000));
        fleet.packages.insert("delta-2".to_owned(), package("2.0", Some("aa"), 10));
        fleet.packages.insert("full-1.5".to_owned(), package("1.5", None, 900));
        let channel = Channel { app: coreos(), version: "2.0".to_owned(), floors: vec!["1.5".to_owned()] };
        fleet.channels.insert("stable".to_owned(), channel);
        let group = Group {
            app: coreos(),
            channel: "stable".to_owned(),
            policy: Policy::default(),
            rollouts: BTreeMap::new(),
        };
        fleet.groups.insert("db".to_owned(), group);
        fleet
    }

    fn app(machine: &str, version: &str) -> App {
        App {
            id: COREOS.to_owned(),
            machine_id: machine.to_owned(),
            version: version.to_owned(),
            track: "db".to_owned(),
            delta_okay: true,
            ping: true,
            check: Some(Check::default()),
            ..App::default()
        }
    }

    fn offered(heard: &Heard) -> Option<(&str, &str)> {
        match heard.answer.verdict.as_ref()? {
            Verdict::Offer(offer) => Some((&offer.version, &offer.packages[0].name)),
            _ => None,
        }
    }

    #[test]
    fn machines_go_over_the_floor_to_the_newest_by_the_smallest_way() {
        let mut fleet = fleet();
        assert_eq!(offered(&fleet.hear(&app("a", "1.0"), "u", 1)), Some(("1.5", "full-1.5")));
        assert_eq!(offered(&fleet.hear(&app("b", "1.5"), "u", 1)), Some(("2.0", "full-2")));
        let near = App { root_hash: "aa".to_owned(), ..app("c", "1.9") };
        assert_eq!(offered(&fleet.hear(&near, "u", 1)), Some(("2.0", "delta-2")));
        let whole = App { delta_okay: false, ..near };
        assert_eq!(offered(&fleet.hear(&whole, "u", 1)), Some(("2.0", "full-2")));
        for there in ["2.0", "2.0.1", "10.0"] {
            assert_eq!(offered(&fleet.hear(&app("d", there), "u", 1)), None, "{there}");
        }
        assert_eq!(offered(&fleet.hear(&app("e", "next"), "u", 1)), Some(("2.0", "full-2")));
    }

    #[test]
    fn a_rollout_is_followed_by_what_machines_tell() {
        let mut fleet = fleet();
        if let Some(group) = fleet.groups.get_mut("db") {
            group.policy.one_first = true;
        }
        assert!(offered(&fleet.hear(&app("a", "1.9"), "u", 1)).is_some());
        let waits = fleet.hear(&app("b", "1.9"), "u", 2);
        assert_eq!((offered(&waits), waits.answer.verdict.as_ref()), (None, Some(&Verdict::None)));
        assert_eq!(fleet.machines["b"].state, "waits: the first machine is not through");
        let mut back = app("a", "2.0");
        back.events = vec![Event::new(EventType::Complete, EventResult::SuccessAfterReboot)];
        assert_eq!(fleet.hear(&back, "u", 3).told[0].result, 2);
        assert!(offered(&fleet.hear(&app("b", "1.9"), "u", 4)).is_some());
        // The next one goes back, and so does not get it again.
        let mut failed = app("b", "1.9");
        let mut event = Event::new(EventType::Complete, EventResult::Error);
        event.error_code = Some(Event::WENT_BACK);
        event.previous_version = Some("2.0".to_owned());
        event.reason = Some("no network".to_owned());
        failed.events = vec![event];
        let heard = fleet.hear(&failed, "u", 5);
        assert_eq!((offered(&heard), heard.told[0].reason.as_deref()), (None, Some("no network")));
        let rollout = &fleet.groups["db"].rollouts["2.0"];
        assert_eq!(rollout.count(crate::rollout::Outcome::Failed), 1);
    }

    #[test]
    fn strangers_are_told_so_and_leave_nothing_behind() {
        let mut fleet = fleet();
        let before = fleet.clone();
        let strangers = [
            App { track: "other".to_owned(), ..app("a", "1") },
            App { id: "{x}".to_owned(), ..app("a", "1") },
            app("", "1"),
            app(&"a".repeat(200), "1"),
        ];
        for stranger in strangers {
            let heard = fleet.hear(&stranger, "u", 1);
            assert!(heard.answer.status.starts_with("error-") && heard.answer.verdict.is_none());
        }
        assert_eq!(fleet, before);
    }
}
