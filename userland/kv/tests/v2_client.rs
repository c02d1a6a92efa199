//! The v2 API, letter for letter: Debian's `etcdctl` and ours, each on Debian's etcd and on ours, say the same.

mod cluster;

use cluster::v2::{check_script, clients, http, store, told};
use cluster::{Cluster, good};

/// What is done, one command after the other on a new store.
const SCRIPT: &[&str] = &[
    "set /a 1",
    "get /a",
    "-o extended get /a",
    "-o json get /a",
    "mk /a 2",
    "mk /b 2",
    "mk --in-order /q x",
    "-o json mk --in-order /q y",
    "mkdir /d",
    "mkdir /d",
    "-o extended mkdir /e",
    "-o json mkdir /f",
    "setdir /d2",
    "setdir /d",
    "setdir --ttl 5 /d",
    "update /a 3",
    "update /none 1",
    "-o extended update /a 4",
    "-o json update /a 5",
    "updatedir --ttl 1000 /d",
    "updatedir /none",
    "ls --sort",
    "ls --sort -p /",
    "ls --sort --recursive",
    "ls --quorum --sort /q",
    "ls /a",
    "ls /none",
    "-o json ls /d2",
    "-o extended ls /d2",
    "get /d",
    "get /none",
    "-o json get /none",
    "get --sort --quorum /a",
    "rm /none",
    "rm /d",
    "rm /q",
    "rmdir /q",
    "rm --dir /q",
    "rmdir /d",
    "rmdir /b",
    "rm --dir /d2",
    "rm -r /q",
    "rm --with-value 9 /a",
    "rm --with-index 1 /a",
    "set --swap-with-value 9 /a 6",
    "set --swap-with-value 5 /a 6",
    "set --swap-with-index 1 /a 7",
    "set --swap-with-index 1 --swap-with-value 1 /a 7",
    "-o extended set /a 8",
    "-o json set /a 9",
    "-o extended set --swap-with-value 9 /a 10",
    "rm --with-value 10 /a",
    "set /a 1",
    "-o extended rm /a",
    "set /a 1",
    "-o json rm /a",
    "rm /",
    "rm -r /",
    "set / 1",
    "set /x/y/z 1",
    "set /x 1",
    "set /x/y/z/deeper 1",
    "rm --dir /x",
    "set /_hidden 1",
    "get /_hidden",
    "ls /x",
    "watch --after-index 3 /a",
    "watch --after-index 25 -r /x",
    "-o extended watch --after-index 3 /b",
    "-o json watch --after-index 3 /a",
    "get /no/such/key",
    "get /x/y/z/w",
    "update /no/such 1",
    "rm /no/such",
    "set --swap-with-value 1 /no/such 2",
    "set /a",
    "set",
    "get",
    "mk",
    "mkdir",
    "update /a",
    "rm",
    "rmdir",
    "watch",
    "exec-watch",
    "exec-watch /a",
    "member add m2",
    "member remove 77",
    "member update 77 http://127.0.0.1:1",
];

#[test]
fn both_clients_say_the_same_of_both_stores() {
    check_script(SCRIPT);
}

#[test]
fn both_clients_say_the_same_of_members() {
    let folder = tempfile::tempdir().expect("a folder");
    for of in ["Debian's", "our"] {
        let mut cluster = store(of);
        for line in ["member list", "cluster-health", "member remove 77"] {
            let words: Vec<&str> = line.split(' ').collect();
            let [stock, own] =
                clients(folder.path()).map(|(_, client)| told(&cluster.ask(&client, "2", &words)));
            assert_eq!(own, stock, "{line} on {of} store");
        }
        cluster.kill(0);
        // Who listens no more: here a client that syncs first fails otherwise than one that does not.
        let [_, own] =
            clients(folder.path()).map(|(_, client)| told(&cluster.ask(&client, "2", &["get", "/a"])));
        assert!(
            own.contains("client: etcd cluster is unavailable or misconfigured; error #0: dial tcp"),
            "{own}"
        );
        assert!(own.contains("connect: connection refused") && own.ends_with("= Some(2)"), "{own}");
    }
}

#[test]
fn every_way_of_asking_wrongly_has_etcds_number() {
    let stores = [store("Debian's"), store("our")];
    for (method, path, form) in [
        ("PUT", "/v2/keys/a", "ttl=x"),
        ("PUT", "/v2/keys/a", "value=1&ttl=-1"),
        ("PUT", "/v2/keys/a", "value=1&prevExist=x"),
        ("PUT", "/v2/keys/a", "value=1&prevValue="),
        ("PUT", "/v2/keys/a", "value=1&prevIndex=x"),
        ("PUT", "/v2/keys/a", "value=1&dir=x"),
        ("PUT", "/v2/keys/a", "refresh=true&value=1"),
        ("PUT", "/v2/keys/a", "refresh=true"),
        ("PUT", "/v2/keys/a", "refresh=x"),
        ("PUT", "/v2/keys/a", "refresh=true&ttl=100"),
        ("GET", "/v2/keys/a?wait=true&waitIndex=x", ""),
        ("GET", "/v2/keys/a?wait=x", ""),
        ("GET", "/v2/keys/a?recursive=x", ""),
        ("GET", "/v2/keys/a?sorted=x", ""),
        ("GET", "/v2/keys/a?quorum=x", ""),
        ("GET", "/v2/keys/a?stream=x", ""),
        ("DELETE", "/v2/keys/a?prevValue=", ""),
        ("DELETE", "/v2/keys/a?recursive=x", ""),
        ("PUT", "/v2/keys/a", "dir=true&value=1"),
        ("PUT", "/v2/keys/a", "value=1"),
        ("PUT", "/v2/keys/a/b", "value=1"),
        ("PUT", "/v2/keys/a/b/c", "value=1"),
        ("PUT", "/v2/keys/a/b?value=fromtheaddress", ""),
        ("PUT", "/v2/keys/a/b?value=fromtheaddress", "value=fromtheform"),
        ("PUT", "/v2/keys/a/b", "value=2&prevValue=1&prevIndex=1"),
        ("POST", "/v2/keys/a/b", "value=1"),
        ("DELETE", "/v2/keys/a", ""),
        ("DELETE", "/v2/keys/a?dir=true", ""),
        ("DELETE", "/v2/keys/a?recursive=true", ""),
        ("PATCH", "/v2/keys/a", ""),
        ("PUT", "/v2/machines", ""),
        ("PUT", "/v2/stats/self", ""),
        ("GET", "/v2/nothing", ""),
        ("DELETE", "/v2/members/xyz", ""),
        ("DELETE", "/v2/members/abc", ""),
        ("GET", "/v2/members/abc", ""),
        ("PUT", "/v2/keys/quiet", "value=1&noValueOnSuccess=true"),
        ("PUT", "/v2/keys/quiet", "value=2&prevValue=1&noValueOnSuccess=true"),
        ("DELETE", "/v2/keys/quiet?noValueOnSuccess=true", ""),
    ] {
        let [theirs, ours] =
            stores.each_ref().map(|store| http(&store.members[0].client, method, path, form));
        assert_eq!(ours.0, theirs.0, "{method} {path} {form}: {} instead of {}", ours.1, theirs.1);
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        assert_eq!(json(&ours.1), json(&theirs.1), "{method} {path} {form}");
    }
}

#[test]
fn a_time_to_live_of_nothing_is_over_at_once() {
    for store in [store("Debian's"), store("our")] {
        let at = &store.members[0].client;
        assert_eq!(http(at, "PUT", "/v2/keys/brief", "value=1&ttl=0").0, "201");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while http(at, "GET", "/v2/keys/brief", "").0 != "404" {
            assert!(std::time::Instant::now() < deadline, "it stays");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

#[test]
fn history_has_an_end_and_operations_are_counted() {
    let stores = [store("Debian's"), store("our")];
    let answers = stores.each_ref().map(|store| {
        let at = &store.members[0].client;
        for number in 0..1010 {
            http(at, "PUT", "/v2/keys/n", &format!("value={number}"));
        }
        http(at, "PUT", "/v2/keys/short", "value=1&ttl=1");
        // Within the window, at its end, and beyond it.
        let within = http(at, "GET", "/v2/keys/n?wait=true&waitIndex=500", "");
        let beyond = http(at, "GET", "/v2/keys/n?wait=true&waitIndex=7", "");
        let gone = http(at, "GET", "/v2/keys/short?wait=true&waitIndex=1015", "");
        http(at, "GET", "/v2/keys/none", "");
        let stats = http(at, "GET", "/v2/stats/store", "").1;
        let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
        let number = |name: &str| stats.get(name).and_then(serde_json::Value::as_u64).expect(name);
        assert_eq!(number("watchers"), 0);
        assert_eq!(number("expireCount"), 1);
        assert!(number("getsFail") >= 1 && number("setsSuccess") >= 1011, "{stats}");
        let own = http(at, "GET", "/v2/stats/self", "").1;
        let own: serde_json::Value = serde_json::from_str(&own).expect("JSON");
        assert_eq!(own.pointer("/state"), Some(&"StateLeader".into()), "{own}");
        for place in
            ["/startTime", "/leaderInfo/startTime", "/leaderInfo/uptime", "/leaderInfo/leader", "/id"]
        {
            assert!(
                own.pointer(place).and_then(|text| text.as_str()).is_some_and(|text| !text.is_empty()),
                "{own}"
            );
        }
        let json = |(status, body): (String, String)| {
            // A wait's answer comes in chunks.
            let line = body.lines().find(|line| line.starts_with('{')).unwrap_or_default().to_owned();
            (status, serde_json::from_str::<serde_json::Value>(&line).ok())
        };
        let expired = gone.1.contains(r#""action":"expire""#);
        (json(within), json(beyond), gone.0, expired, stats.as_object().map(|all| all.len()))
    });
    let [theirs, ours] = answers;
    assert_eq!(ours, theirs);
    assert_eq!(ours.1.1.and_then(|error| error.get("errorCode")?.as_u64()), Some(401));
}

#[test]
fn a_leader_tells_how_fast_its_followers_answer() {
    let cluster = Cluster::start(3, &[]);
    for number in 0..20 {
        good(&cluster.own(&["put", &format!("k{number}"), "v"]));
    }
    let number = |value: &serde_json::Value, path: &str| {
        value.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path} of {value}"))
    };
    let mut led = 0;
    for member in &cluster.members {
        let (status, told) = http(&member.client, "GET", "/v2/stats/leader", "");
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        if status != "200" {
            // A follower has no followers.
            assert_eq!(
                (status.as_str(), told["message"].as_str()),
                ("403", Some("not current leader")),
                "{told}"
            );
            continue;
        }
        led += 1;
        let followers = told["followers"].as_object().expect("followers");
        assert_eq!(followers.len(), 2, "{told}");
        assert!(told["leader"].as_str().is_some_and(|leader| !followers.contains_key(leader)), "{told}");
        for follower in followers.values() {
            let [least, mean, most] =
                ["minimum", "average", "maximum"].map(|name| number(follower, &format!("/latency/{name}")));
            assert!(0.0 < least && least <= mean && mean <= most && most < 60_000.0, "{told}");
            assert!(number(follower, "/latency/standardDeviation") >= 0.0, "{told}");
            let current = number(follower, "/latency/current");
            assert!(least <= current && current <= most, "{told}");
            assert!(number(follower, "/counts/success") >= 10.0, "{told}");
        }
    }
    assert_eq!(led, 1);
}
