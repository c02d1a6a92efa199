//! Clusters of processes: killed, joined, left, damaged.

mod cluster;

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cluster::{Cluster, bad, good};

#[test]
fn nothing_acknowledged_is_lost_when_members_are_killed() {
    let mut cluster = Cluster::start(3, &["--snapshot-count=60"]);
    let endpoints = cluster.endpoints();
    let own = cluster::applet("etcdctl", cluster.folder.path());
    let stop = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = Vec::new();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("k{number}");
                let output = std::process::Command::new(&own)
                    .args(["--endpoints", &endpoints, "put", &key, "v"])
                    .output()
                    .expect("it starts");
                if output.status.success() {
                    written.push(key);
                    count.store(written.len(), Ordering::Relaxed);
                }
            }
            written
        });
        for number in [0, 1, 2, 1] {
            // However slow the machine is: what is killed has done something.
            let before = count.load(Ordering::Relaxed);
            cluster.until("there are writes", |_| count.load(Ordering::Relaxed) >= before + 4);
            cluster.kill(number);
            std::thread::sleep(std::time::Duration::from_millis(300));
            cluster.run(number, "new");
            cluster.wait(number);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer")
    });
    assert!(written.len() > 10, "{} writes", written.len());
    let keys = good(&cluster.stock(&["get", "k", "--prefix", "--keys-only"]));
    for key in &written {
        assert!(keys.lines().any(|line| line == key), "{key} was acknowledged and is gone");
    }
    let json = good(&cluster.own(&["get", "k0", "-w", "json"]));
    let revision =
        json.split("\"revision\":").nth(1).and_then(|rest| rest.split(',').next()).expect("a revision");
    cluster.until("all members have the same keys", |cluster| {
        let hashes = good(&cluster.stock(&["endpoint", "hashkv", &format!("--rev={revision}")]));
        let mut all: Vec<&str> = hashes.lines().filter_map(|line| line.split(", ").nth(1)).collect();
        all.dedup();
        all.len() == 1
    });
}

#[test]
fn members_come_and_go() {
    let mut cluster = Cluster::start(3, &[]);
    good(&cluster.own(&["put", "a", "1"]));
    let new = cluster.add("m3");
    let url = cluster.members[new].peer.clone();
    let added = good(&cluster.stock(&["member", "add", "m3", "--learner", &format!("--peer-urls={url}")]));
    let id = added.split_whitespace().nth(1).expect("a number").to_owned();
    cluster.run(new, "existing");
    cluster.until("the learner is promoted", |cluster| {
        cluster.stock(&["member", "promote", &id]).status.success()
    });
    cluster.wait(new);
    let there = ["--endpoints", &cluster.members[new].client.clone(), "get", "a"];
    assert_eq!(good(&cluster.own(&there)), "a\n1\n");
    good(&cluster.stock(&["member", "remove", &id]));
    let list = good(&cluster.stock(&["member", "list"]));
    assert_eq!(list.lines().count(), 3, "{list}");
    cluster.until("the member knows that it was removed", |cluster| {
        cluster.log(new).contains("removed from the cluster")
    });
}

/// The newest file of a member's folder with this ending.
fn newest(cluster: &Cluster, folder: &str, ending: &str) -> std::path::PathBuf {
    let all = fs::read_dir(cluster.members[0].data.join("member").join(folder)).expect("a folder");
    let mut all: Vec<_> = all.flatten().map(|found| found.path()).collect();
    all.retain(|path| path.to_string_lossy().ends_with(ending));
    all.sort();
    all.pop().expect("a file")
}

#[test]
fn a_damaged_log_is_named_and_not_served() {
    let mut cluster = Cluster::start(1, &[]);
    for number in 0..10 {
        good(&cluster.own(&["put", &format!("k{number}"), "v"]));
    }
    cluster.kill(0);
    let file = newest(&cluster, "wal", ".wal");
    let damaged = fs::OpenOptions::new().write(true).open(&file).expect("the log");
    damaged.write_all_at(b"\xff\xff\xff", 300).expect("written");
    let verified = cluster.own(&["verify", "--data-dir", cluster.members[0].data.to_str().expect("text")]);
    assert!(!verified.status.success());
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(said.contains("BAD") && said.contains(file.to_str().expect("text")), "{said}");
    cluster.run(0, "new");
    cluster.until("the member refuses", |cluster| cluster.log(0).contains("is damaged at byte"));
}

#[test]
fn a_damaged_snapshot_is_named_and_an_older_one_serves() {
    let mut cluster = Cluster::start(1, &["--snapshot-count=10"]);
    for number in 0..40 {
        good(&cluster.own(&["put", &format!("k{number}"), "v"]));
    }
    cluster.kill(0);
    let file = newest(&cluster, "snap", ".snap");
    let damaged = fs::OpenOptions::new().write(true).open(&file).expect("the snapshot");
    damaged.write_all_at(b"damage", 5000).expect("written");
    // Without sled's copy there is only the other snapshot, and the log.
    let _ = fs::remove_dir_all(cluster.members[0].data.join("member/state"));
    cluster.run(0, "new");
    cluster.wait(0);
    assert!(cluster.log(0).contains(file.to_str().expect("text")), "{}", cluster.log(0));
    let keys = good(&cluster.stock(&["get", "k", "--prefix", "--keys-only"]));
    assert_eq!(keys.lines().filter(|line| line.starts_with('k')).count(), 40);
}

#[test]
fn a_damaged_copy_in_sled_is_made_anew() {
    let mut cluster = Cluster::start(1, &[]);
    good(&cluster.own(&["put", "a", "1"]));
    cluster.kill(0);
    let state = cluster.members[0].data.join("member/state");
    for file in fs::read_dir(&state).expect("a folder").flatten().filter(|file| file.path().is_file()) {
        fs::write(file.path(), b"this is no database").expect("written");
    }
    cluster.run(0, "new");
    cluster.wait(0);
    assert_eq!(good(&cluster.stock(&["get", "a"])), "a\n1\n");
}

/// A file system in memory, small enough to be filled; it goes with this.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(place: &std::path::Path, options: &str) -> SmallDisk {
        let mut command = std::process::Command::new("mount");
        let status = command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place).status();
        assert!(status.expect("mount starts").success(), "a mount needs root");
        SmallDisk(place.to_owned())
    }

    fn grow(&self, size: &str) {
        let mut command = std::process::Command::new("mount");
        let status = command.args(["-o", &format!("remount,size={size}")]).arg(&self.0).status();
        assert!(status.expect("mount starts").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_stops_puts_and_nothing_else_until_there_is_space() {
    let mut cluster = Cluster::prepare(1, &[], "http");
    let data = cluster.members[0].data.clone();
    fs::create_dir(&data).expect("a folder");
    let disk = SmallDisk::mount(&data, "size=72m");
    cluster.run(0, "new");
    cluster.wait(0);
    let value = "v".repeat(100_000);
    let mut written = 0;
    let refusal = loop {
        let put = cluster.own(&["put", &format!("k{written:04}"), &value]);
        if !put.status.success() {
            break bad(&put);
        }
        written += 1;
        assert!(written < 2000, "the disk is never full");
    };
    assert!(refusal.contains("database space exceeded"), "{refusal}\n{}", cluster.log(0));
    assert!(!cluster::self_health(&cluster.members[0].client), "it says that it is well");
    assert!(good(&cluster.stock(&["alarm", "list"])).contains("NOSPACE"));
    let keys = |cluster: &Cluster| {
        let keys = good(&cluster.stock(&["get", "k", "--prefix", "--keys-only"]));
        keys.lines().filter(|line| line.starts_with('k')).count()
    };
    assert_eq!(keys(&cluster), written, "reads go on");
    good(&cluster.stock(&["del", "k0000"]));
    disk.grow("400m");
    cluster.until("puts go on", |cluster| {
        good(&cluster.stock(&["alarm", "disarm"]));
        cluster.own(&["put", "k0000", "back"]).status.success()
    });
    cluster.kill(0);
    cluster.run(0, "new");
    cluster.wait(0);
    assert_eq!(keys(&cluster), written, "nothing is lost");
    assert_eq!(good(&cluster.stock(&["get", "k0000"])), "k0000\nback\n");
    cluster.kill(0);
}

#[test]
fn a_record_that_sled_lost_or_changed_is_not_served() {
    let mut cluster = Cluster::start(1, &[]);
    for number in 0..20 {
        good(&cluster.own(&["put", &format!("k{number:02}"), "v"]));
    }
    cluster.stop(0);
    let state = cluster.members[0].data.join("member/state");
    // A database that is sound for sled: only what it holds is not what was written.
    let db = sled::open(&state).expect("sled");
    let (key, _) = db
        .iter()
        .flatten()
        .find(|(_, value)| value.windows(3).any(|three| three == b"k07"))
        .expect("the record of k07");
    db.remove(key).expect("removed");
    db.flush().expect("flushed");
    drop(db);
    cluster.run(0, "new");
    cluster.wait(0);
    assert!(cluster.log(0).contains("not those that were written"), "{}", cluster.log(0));
    assert_eq!(good(&cluster.stock(&["get", "k07"])), "k07\nv\n");
}

#[test]
fn nonsense_on_the_ports_hurts_nobody() {
    use std::io::Write;
    let cluster = Cluster::start(1, &[]);
    for url in [&cluster.members[0].client, &cluster.members[0].peer] {
        for text in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff"[..],
            b"GET /corten/raft HTTP/1.1\r\nUpgrade: corten-raft\r\nX-Etcd-Cluster-ID: 1\r\n\r\n",
            b"POST /corten/snapshot HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nxx",
            b"POST /v3/kv/range HTTP/1.1\r\nContent-Length: 5\r\n\r\n{{{{{",
            b"PUT /v2/keys/a HTTP/1.1\r\nContent-Length: 9\r\n\r\nttl=%zz&&",
            b"\x16\x03\x01\x00\x05hello",
        ] {
            let address = url.trim_start_matches("http://");
            let mut stream = std::net::TcpStream::connect(address).expect("a connection");
            let _ = stream.write_all(text);
        }
    }
    assert!(bad(&cluster.own(&["get", ""])).contains("key is not provided"));
    good(&cluster.stock(&["put", "a", "1"]));
}
