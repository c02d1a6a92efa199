//! Clocks that jump: the time of day by hours, and the one that never goes back where a machine starts anew. No lease
//! ends before its time, nobody loses his place, and time goes on.

mod cluster;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::{Cluster, good};

const HOUR: i64 = 3600;
const FAKER: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// The time of day as one member sees it.
struct Clock(PathBuf);

impl Clock {
    /// A clock that is right, for a member that is started with the words that are returned.
    fn of(folder: &Path, name: &str) -> (Clock, Vec<String>) {
        assert!(Path::new(FAKER).exists(), "ci/packages has libfaketime");
        let clock = Clock(folder.join(format!("{name}.clock")));
        clock.set(0);
        let words = [
            "env".to_owned(),
            format!("LD_PRELOAD={FAKER}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", clock.0.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ];
        (clock, words.into())
    }

    /// Jumps to so many seconds from the right time.
    fn set(&self, seconds: i64) {
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{seconds:+}s\n")).expect("written");
        fs::rename(&new, &self.0).expect("renamed");
    }
}

/// How far a member's time of day is off, as its answers tell: when a key that lasts an hour will end.
fn offset(at: &str) -> i64 {
    let (_, told) = cluster::v2::http(at, "PUT", "/v2/keys/clock", "value=1&ttl=3600");
    let end = told.split("\"expiration\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let end: jiff::Timestamp = end.and_then(|end| end.parse().ok()).expect(&told);
    end.as_second() - jiff::Timestamp::now().as_second() - HOUR
}

/// How often each member has seen another leader.
fn changes(cluster: &Cluster) -> Vec<String> {
    let of = |at: &str| {
        let (_, metrics) = cluster::v2::http(at, "GET", "/metrics", "");
        let line = metrics.lines().find(|line| line.starts_with("etcd_server_leader_changes_seen_total "));
        line.expect(&metrics).to_owned()
    };
    cluster.members.iter().map(|member| of(&member.client)).collect()
}

fn grant(cluster: &Cluster, seconds: i64) -> String {
    let granted = good(&cluster.own(&["lease", "grant", &seconds.to_string()]));
    granted.split_whitespace().nth(1).expect("a number").to_owned()
}

/// Seconds that a lease has left.
fn left(cluster: &Cluster, lease: &str) -> i64 {
    let told = good(&cluster.own(&["lease", "timetolive", lease, "-w", "json"]));
    let ttl = told.split("\"ttl\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
    ttl.and_then(|ttl| ttl.parse().ok()).expect(&told)
}

#[test]
fn a_time_of_day_that_jumps_ends_no_lease_and_no_reign() {
    let mut cluster = Cluster::prepare(3, &[], "http");
    let folder = cluster.folder.path().to_owned();
    let mut clocks = Vec::new();
    for number in 0..3 {
        let (clock, launcher) = Clock::of(&folder, &cluster.members[number].name);
        cluster.launcher = launcher;
        cluster.run(number, "new");
        clocks.push(clock);
    }
    (0..3).for_each(|number| cluster.wait(number));
    let lease = grant(&cluster, 900);
    good(&cluster.own(&["put", "k", "v", &format!("--lease={lease}")]));
    let before = changes(&cluster);
    for jump in [HOUR, -HOUR, 24 * HOUR, 0] {
        for (number, clock) in clocks.iter().enumerate() {
            clock.set(jump);
            let at = cluster.members[number].client.clone();
            let off = offset(&at);
            assert!((off - jump).abs() < 60, "m{number} is {off} s off instead of {jump}");
            // Longer than an election would take.
            std::thread::sleep(Duration::from_millis(1200));
            good(&cluster.own_at(&at, &["put", "written", &format!("{number} {jump}")]));
            let left = left(&cluster, &lease);
            assert!((700..=900).contains(&left), "{left} s left where m{number} jumped by {jump} s");
        }
        // A lease that is granted now lasts as long as it says, and no longer.
        let short = grant(&cluster, 3);
        good(&cluster.own(&["put", "short", "v", &format!("--lease={short}")]));
        assert_eq!(good(&cluster.own(&["get", "short"])), "short\nv\n");
        let began = Instant::now();
        cluster.until("the short lease ends", |cluster| good(&cluster.own(&["get", "short"])).is_empty());
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
    assert_eq!(good(&cluster.own(&["get", "k"])), "k\nv\n");
    assert_eq!(changes(&cluster), before, "nobody lost his place");
}

#[test]
fn a_machine_whose_clock_begins_elsewhere_keeps_leases_and_place() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: a clock of its own needs root");
        return;
    }
    let mut cluster = Cluster::start(3, &[]);
    let lease = grant(&cluster, 900);
    good(&cluster.own(&["put", "k", "v", &format!("--lease={lease}")]));
    // As after a start of the machine: the clock that never goes back may begin anywhere.
    for (number, offset) in [(0, HOUR), (1, 1000 * HOUR), (2, -600), (0, 0)] {
        cluster.stop(number);
        let unshare = ["unshare", "--time", "--monotonic"].map(str::to_owned);
        cluster.launcher = unshare.into_iter().chain([offset.to_string()]).collect();
        cluster.run(number, "new");
        cluster.wait(number);
        let at = cluster.members[number].client.clone();
        good(&cluster.own_at(&at, &["put", "written", &number.to_string()]));
        let left = left(&cluster, &lease);
        assert!((600..=902).contains(&left), "{left} s left where m{number} is {offset} s off");
    }
    assert_eq!(good(&cluster.own(&["get", "k"])), "k\nv\n");
}
