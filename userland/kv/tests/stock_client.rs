//! Debian's own `etcdctl` against our member, and ours beside it: the same words, the same answers.

mod cluster;

use std::process::Command;

use cluster::{Cluster, bad, good};

#[test]
fn keys_as_debians_etcdctl_asks_for_them() {
    let cluster = Cluster::start(1, &[]);
    assert_eq!(good(&cluster.stock(&["put", "foo", "bar"])), "OK\n");
    assert_eq!(good(&cluster.stock(&["put", "foo", "baz", "--prev-kv"])), "OK\nfoo\nbar\n");
    assert_eq!(good(&cluster.stock(&["get", "foo", "--rev=2"])), "foo\nbar\n");
    good(&cluster.stock(&["put", "fop", "1"]));
    assert_eq!(good(&cluster.stock(&["get", "--prefix", "fo", "--keys-only"])), "foo\n\nfop\n\n");
    assert_eq!(good(&cluster.stock(&["get", "fo", "--prefix", "--order=DESCEND", "--limit=1"])), "fop\n1\n");
    assert_eq!(good(&cluster.stock(&["del", "fo", "--prefix"])), "2\n");
    assert!(
        bad(&cluster.stock(&["get", "foo", "--rev=99"])).contains("required revision is a future revision")
    );
    assert_eq!(good(&cluster.stock(&["compaction", "4"])), "compacted revision 4\n");
    assert!(bad(&cluster.stock(&["get", "foo", "--rev=2"])).contains("required revision has been compacted"));
    assert!(bad(&cluster.stock(&["put", "a", "b", "--lease=123"])).contains("requested lease not found"));
    let health = cluster.stock(&["endpoint", "health"]);
    good(&health);
    // It says so among its complaints.
    assert!(String::from_utf8_lossy(&health.stderr).contains("is healthy"));
    assert!(good(&cluster.stock(&["endpoint", "status"])).contains("3.4.23"));
    assert!(good(&cluster.stock(&["defrag"])).contains("Finished"));
}

#[test]
fn both_clients_print_the_same() {
    let cluster = Cluster::start(1, &[]);
    good(&cluster.own(&["put", "a", "1"]));
    good(&cluster.own(&["put", "b", "2"]));
    for args in [
        &["get", "a"][..],
        &["get", "", "--prefix"],
        &["get", "a", "z", "--limit=1"],
        &["get", "a", "--print-value-only"],
        &["get", "a", "--hex"],
        &["get", "--from-key", "b"],
        &["get", "a", "-w", "json"],
        &["member", "list"],
        &["member", "list", "-w", "table"],
        &["alarm", "list"],
        &["lease", "list"],
        &["user", "list"],
        &["endpoint", "status"],
    ] {
        assert_eq!(good(&cluster.own(args)), good(&cluster.stock(args)), "{args:?}");
    }
    for args in [&["get", "a", "--rev=50"][..], &["lease", "revoke", "77"], &["user", "get", "nobody"]] {
        let (ours, theirs) = (bad(&cluster.own(args)), bad(&cluster.stock(args)));
        let line = ours.lines().last().unwrap_or_default();
        assert!(theirs.contains(line), "{args:?}: {ours} is not in {theirs}");
    }
}

#[test]
fn a_lease_ends_its_keys() {
    let cluster = Cluster::start(1, &[]);
    // Long enough for the next two commands on a slow machine.
    let granted = good(&cluster.stock(&["lease", "grant", "15"]));
    let id = granted.split_whitespace().nth(1).expect("a number").to_owned();
    good(&cluster.stock(&["put", "mine", "1", &format!("--lease={id}")]));
    let left = good(&cluster.stock(&["lease", "timetolive", &id, "--keys"]));
    assert!(left.contains("attached keys([mine])"), "{left}");
    cluster.until("the key has gone", |cluster| good(&cluster.stock(&["get", "mine"])).is_empty());
    assert!(good(&cluster.stock(&["lease", "timetolive", &id])).contains("already expired"));
}

#[test]
fn users_may_what_their_roles_may() {
    let cluster = Cluster::start(1, &[]);
    good(&cluster.stock(&["user", "add", "root:secret"]));
    good(&cluster.stock(&["user", "add", "alice:apple"]));
    good(&cluster.stock(&["role", "add", "reader"]));
    good(&cluster.stock(&["role", "grant-permission", "reader", "read", "--prefix", "pub/"]));
    good(&cluster.stock(&["user", "grant-role", "alice", "reader"]));
    good(&cluster.own(&["auth", "enable"]));
    assert!(bad(&cluster.stock(&["get", "pub/a"])).contains("user name is empty"));
    good(&cluster.stock(&["--user=root:secret", "put", "pub/a", "1"]));
    good(&cluster.stock(&["--user=root:secret", "put", "sec/a", "1"]));
    assert_eq!(good(&cluster.stock(&["--user=alice:apple", "get", "pub/a"])), "pub/a\n1\n");
    assert_eq!(good(&cluster.own(&["--user=alice:apple", "get", "pub/", "--prefix"])), "pub/a\n1\n");
    for denied in [&["get", "sec/a"][..], &["put", "pub/a", "2"], &["get", "p", "--prefix"]] {
        let args = [&["--user=alice:apple"], denied].concat();
        assert!(bad(&cluster.stock(&args)).contains("permission denied"), "{denied:?}");
    }
    assert!(bad(&cluster.stock(&["--user=alice:pear", "get", "pub/a"])).contains("authentication failed"));
    good(&cluster.stock(&["--user=root:secret", "auth", "disable"]));
    good(&cluster.stock(&["get", "sec/a"]));
}

#[test]
fn a_snapshot_goes_both_ways_between_ours_and_debians() {
    let cluster = Cluster::start(1, &[]);
    // Enough for several levels of pages, and one value larger than a page.
    for number in 0..40 {
        good(&cluster.own(&["put", &format!("key{number:04}"), &"x".repeat(1000)]));
    }
    good(&cluster.own(&["put", "large", &"y".repeat(20_000)]));
    good(&cluster.stock(&["snapshot", "save", "ours.db"]));
    let status = good(&cluster.stock(&["snapshot", "status", "ours.db"]));
    assert!(status.contains(", 42, "), "{status}");
    good(&cluster.stock(&["snapshot", "restore", "ours.db", "--data-dir", "theirs"]));
    assert!(cluster.folder.path().join("theirs/member/snap/db").exists());
    // Ours reads what Debian's has written, without a checksum.
    let database = cluster.folder.path().join("theirs/member/snap/db");
    let database = database.to_str().expect("text");
    good(&cluster.own(&["snapshot", "restore", database, "--skip-hash-check", "--data-dir", "back"]));
    let verified = good(&cluster.own(&["verify", "--data-dir", "back"]));
    assert!(verified.contains("can be started"), "{verified}");
}

#[test]
fn locks_wait_for_each_other() {
    let cluster = Cluster::start(1, &[]);
    let script = "echo begin >> lock.log\nsleep 0.3\necho end >> lock.log\n";
    std::fs::write(cluster.folder.path().join("script"), script).expect("written");
    std::thread::scope(|scope| {
        scope.spawn(|| good(&cluster.stock(&["lock", "l", "sh", "script"])));
        scope.spawn(|| good(&cluster.own(&["lock", "l", "sh", "script"])));
        scope.spawn(|| good(&cluster.stock(&["lock", "l", "sh", "script"])));
    });
    let log = std::fs::read_to_string(cluster.folder.path().join("lock.log")).expect("they ran");
    assert_eq!(log, "begin\nend\n".repeat(3));
}

#[test]
fn the_v2_api_as_debians_etcdctl_asks_for_it() {
    let cluster = Cluster::start(1, &[]);
    let v2 = |program: &str, args: &[&str]| {
        Command::new(program)
            .env("ETCDCTL_API", "2")
            .args(["--endpoints", &cluster.endpoints()])
            .args(args)
            .output()
            .expect("it starts")
    };
    let own = cluster::applet("etcdctl", cluster.folder.path());
    for (number, program) in ["/usr/bin/etcdctl", own.to_str().expect("text")].into_iter().enumerate() {
        let key = |name: &str| format!("/d{number}/{name}");
        assert_eq!(good(&v2(program, &["set", &key("a"), "1"])), "1\n");
        assert_eq!(good(&v2(program, &["get", &key("a")])), "1\n");
        assert!(bad(&v2(program, &["mk", &key("a"), "2"])).contains("105: Key already exists"));
        assert!(bad(&v2(program, &["get", &key("none")])).contains("100: Key not found"));
        assert!(
            bad(&v2(program, &["set", &key("a"), "3", "--swap-with-value", "9"]))
                .contains("101: Compare failed")
        );
        assert_eq!(good(&v2(program, &["set", &key("a"), "3", "--swap-with-value", "1"])), "3\n");
        good(&v2(program, &["mkdir", &key("sub")]));
        good(&v2(program, &["set", &key("_hidden"), "1"]));
        let listed = good(&v2(program, &["ls", "--recursive", "--sort", &format!("/d{number}")]));
        assert_eq!(listed, format!("{}\n{}\n", key("a"), key("sub")));
        assert!(bad(&v2(program, &["rm", &format!("/d{number}")])).contains("102: Not a file"));
        good(&v2(program, &["rm", "--recursive", &format!("/d{number}")]));
        assert!(good(&v2(program, &["cluster-health"])).contains("cluster is healthy"));
        assert!(good(&v2(program, &["member", "list"])).contains("isLeader=true"));
    }
}

#[test]
fn the_quota_stops_puts_and_only_those() {
    let cluster = Cluster::start(1, &["--quota-backend-bytes=30000"]);
    let value = "z".repeat(9000);
    let mut last = cluster.own(&["put", "a0", &value]);
    for number in 1..6 {
        last = cluster.own(&["put", &format!("a{number}"), &value]);
    }
    assert!(bad(&last).contains("database space exceeded"));
    assert!(good(&cluster.stock(&["alarm", "list"])).contains("alarm:NOSPACE"));
    assert!(good(&cluster.stock(&["get", "a0", "--keys-only"])).starts_with("a0"));
    assert_eq!(good(&cluster.stock(&["del", "a", "--prefix"])), "3\n");
    let json = good(&cluster.own(&["get", "a", "-w", "json"]));
    let revision =
        json.split("\"revision\":").nth(1).and_then(|rest| rest.split(',').next()).expect("a revision");
    good(&cluster.own(&["compaction", revision]));
    good(&cluster.stock(&["alarm", "disarm"]));
    good(&cluster.stock(&["put", "b", "1"]));
}

/// Debian's etcd, alone, on free ports; it ends with this.
struct Debian(std::process::Child, String);

impl Debian {
    fn start(cluster: &Cluster) -> Debian {
        let free = |_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let ports = [0, 1].map(free).map(|listener| listener.local_addr().expect("an address").port());
        let [client, peer] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let process = std::process::Command::new("/usr/bin/etcd")
            .args(["--name", "debian", "--data-dir", "debian", "--log-level=error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("debian={peer}")])
            .current_dir(cluster.folder.path())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("ci/packages has etcd-server");
        Debian(process, client)
    }
}

impl Debian {
    fn ask(&self, args: &[&str]) -> std::process::Output {
        let mut command = std::process::Command::new("/usr/bin/etcdctl");
        command.env("ETCDCTL_API", "3").args(["--dial-timeout=20s", "--command-timeout=30s"]);
        command.args(["--endpoints", &self.1]).args(args).output().expect("ci/packages has etcd-client")
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_same_history_has_the_same_hash_as_in_debians_etcd() {
    let cluster = Cluster::start(1, &[]);
    let debian = Debian::start(&cluster);
    let both = |args: &[&str]| [good(&cluster.stock(args)), good(&debian.ask(args))];
    cluster.until("Debian's etcd serves", |_| debian.ask(&["endpoint", "health"]).status.success());
    let hashes = |revision: &str| {
        both(&["endpoint", "hashkv", "--rev", revision])
            .map(|text| text.trim().rsplit(", ").next().expect("a number").to_owned())
    };
    let same = |revision: &str| {
        let [ours, theirs] = hashes(revision);
        assert_eq!(ours, theirs, "at revision {revision}");
        ours
    };
    same("0");
    for number in 0..12 {
        both(&["put", &format!("k{}", number % 5), &format!("v{number}")]);
    }
    both(&["del", "k1"]);
    both(&["put", "k1", "again"]);
    both(&["del", "k2"]);
    let before = same("0");
    assert_ne!(same("9"), before);
    both(&["compact", "10", "--physical"]);
    for revision in ["11", "14", "0"] {
        same(revision);
    }
    both(&["compact", "16", "--physical"]);
    same("0");
}
