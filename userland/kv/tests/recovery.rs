//! A member that has lost its data, or whose data is damaged, is made anew by the others; and a cluster is restarted,
//! member by member, without a client noticing.

mod cluster;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cluster::{Cluster, good};

fn fill(cluster: &Cluster, prefix: &str, count: usize) {
    for number in 0..count {
        good(&cluster.own(&["put", &format!("{prefix}{number}"), "v"]));
    }
}

fn count(cluster: &Cluster, at: &str, prefix: &str) -> usize {
    let keys = good(&cluster.own_at(at, &["get", prefix, "--prefix", "--keys-only", "--consistency=s"]));
    keys.lines().filter(|line| line.starts_with(prefix)).count()
}

/// The number of a member.
fn id(cluster: &Cluster, name: &str) -> String {
    let list = good(&cluster.own(&["member", "list"]));
    let line = list.lines().find(|line| line.split(", ").nth(2) == Some(name));
    line.and_then(|line| line.split(", ").next()).expect(&list).to_owned()
}

/// The endpoints of the members but one.
fn others(cluster: &Cluster, without: usize) -> String {
    let all = cluster.members.iter().enumerate().filter(|(number, _)| *number != without);
    all.map(|(_, member)| member.client.clone()).collect::<Vec<_>>().join(",")
}

/// Takes a member out and in again, with nothing.
fn replace(cluster: &mut Cluster, number: usize) {
    let (name, url) = (cluster.members[number].name.clone(), cluster.members[number].peer.clone());
    let at = others(cluster, number);
    let old = id(cluster, &name);
    good(&cluster.own_at(&at, &["member", "remove", &old]));
    good(&cluster.own_at(&at, &["member", "add", &name, &format!("--peer-urls={url}")]));
    cluster.run(number, "existing");
    cluster.wait(number);
}

fn wipe(cluster: &Cluster, number: usize) {
    fs::remove_dir_all(&cluster.members[number].data).expect("removed");
}

#[test]
fn a_member_that_lost_its_data_does_not_vote_again_and_is_made_anew() {
    let mut cluster = Cluster::start(3, &["--snapshot-count=20"]);
    fill(&cluster, "k", 50);
    cluster.kill(2);
    wipe(&cluster, 2);
    // It has forgotten whom it voted for, and what it acknowledged: as who it was it must not come back.
    cluster.run(2, "new");
    cluster.until("the member refuses", |cluster| cluster.log(2).contains("has already been bootstrapped"));
    cluster.kill(2);
    let _ = fs::remove_dir_all(&cluster.members[2].data);
    replace(&mut cluster, 2);
    let at = cluster.members[2].client.clone();
    cluster.until("it has everything", |cluster| count(cluster, &at, "k") == 50);
    // It counts: with it alone beside one other there is a majority.
    cluster.kill(0);
    cluster.until("two go on", |cluster| cluster.own_at(&at, &["put", "more", "v"]).status.success());
}

/// The files of a member's folder with this ending.
fn files(cluster: &Cluster, number: usize, folder: &str, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(cluster.members[number].data.join("member").join(folder)).expect("a folder");
    let mut all: Vec<PathBuf> = all.flatten().map(|found| found.path()).collect();
    all.retain(|path| path.to_string_lossy().ends_with(ending));
    assert!(!all.is_empty(), "{folder} has files");
    all
}

fn damage(path: &PathBuf, at: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("the file");
    file.write_all_at(b"\xff\xfe\xfd\xfc", at).expect("written");
}

#[test]
fn what_is_damaged_is_named_and_comes_back_from_the_others() {
    let mut cluster = Cluster::start(3, &["--snapshot-count=20"]);
    fill(&cluster, "k", 60);
    for (folder, ending, at) in [("wal", ".wal", 200), ("snap", ".snap", 5000)] {
        cluster.kill(1);
        let damaged = files(&cluster, 1, folder, ending);
        damaged.iter().for_each(|path| damage(path, at));
        // sled's copy would stand in for the snapshots.
        let _ = fs::remove_dir_all(cluster.members[1].data.join("member/state"));
        let said = cluster.log(1).len();
        cluster.run(1, "new");
        cluster.until("the member names the file and refuses", |cluster| {
            let log = cluster.log(1);
            let log = log.get(said..).unwrap_or_default();
            damaged.iter().any(|path| log.contains(path.to_str().expect("text")))
                && log.contains("The data was left as it is")
        });
        assert!(!cluster::self_health(&cluster.members[1].client), "what is damaged is not served");
        cluster.kill(1);
        wipe(&cluster, 1);
        replace(&mut cluster, 1);
        let at = cluster.members[1].client.clone();
        cluster.until("it has everything", |cluster| count(cluster, &at, "k") == 60);
    }
    let hashes = good(&cluster.stock(&["endpoint", "hashkv"]));
    let mut hashes: Vec<&str> = hashes.lines().filter_map(|line| line.split(", ").nth(1)).collect();
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}

#[test]
fn a_rolling_restart_fails_no_request_of_a_client_that_tries_again() {
    let mut cluster = Cluster::start(3, &[]);
    let endpoints: Vec<String> = cluster.members.iter().map(|member| member.client.clone()).collect();
    let own = cluster::applet("etcdctl", cluster.folder.path());
    let stop = AtomicBool::new(false);
    let (done, longest) = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut done, mut longest) = (0, Duration::ZERO);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let (key, value) = (format!("k{done}"), done.to_string());
                let asked = |args: &[&str]| {
                    // Each member is tried; a request has failed only when it was given up.
                    (0..).map(|attempt| &endpoints[(done + attempt) % 3]).find_map(|at| {
                        assert!(began.elapsed() < Duration::from_secs(30), "{args:?} fails for 30 s");
                        let mut command = std::process::Command::new(&own);
                        command.args(["--endpoints", at, "--dial-timeout=2s", "--command-timeout=10s"]);
                        let output = command.args(args).output().expect("it starts");
                        output.status.success().then_some(output.stdout)
                    })
                };
                asked(&["put", &key, &value]);
                let told = asked(&["get", &key]).expect("an answer");
                assert_eq!(String::from_utf8_lossy(&told), format!("{key}\n{value}\n"));
                longest = longest.max(began.elapsed());
                done += 1;
            }
            (done, longest)
        });
        for number in [0, 1, 2, 0, 1, 2] {
            cluster.stop(number);
            cluster.run(number, "new");
            cluster.wait(number);
        }
        stop.store(true, Ordering::Relaxed);
        client.join().expect("no request fails")
    });
    println!("{done} puts and gets, the longest pair took {longest:?}");
    assert!(done > 5, "{done}");
    let at = endpoints.join(",");
    assert_eq!(count(&cluster, &at, "k"), done);
}
