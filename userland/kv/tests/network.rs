//! Members in network namespaces of their own, on one bridge: cut off from each other, killed, and paused, while
//! clients write and read. What the clients saw must be linearizable, and nothing that was acknowledged is lost.
//!
//! Needs root, iproute2 and nftables.

mod linear;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use linear::{Event, Operation};
use serde_json::Value;

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.ancestors().nth(2).expect("a target folder").join("examples").join(name)
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("ci/packages has it");
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Three members, each in a namespace, and a namespace with the bridge, where the clients are.
struct Net {
    name: String,
    folder: tempfile::TempDir,
    members: Vec<Option<Child>>,
}

impl Net {
    fn start(size: usize) -> Net {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kv{}x{count}", std::process::id());
        let net = Net {
            name,
            folder: tempfile::tempdir().expect("a folder"),
            members: (0..size).map(|_| None).collect(),
        };
        let hub = net.hub();
        run("ip", &["netns", "add", &hub]);
        net.within(&hub, &["ip", "link", "set", "lo", "up"]);
        net.within(&hub, &["ip", "link", "add", "br0", "type", "bridge"]);
        net.within(&hub, &["ip", "address", "add", "10.77.0.1/24", "dev", "br0"]);
        net.within(&hub, &["ip", "link", "set", "br0", "up"]);
        net.within(&hub, &["nft", "add table bridge faults"]);
        net.within(
            &hub,
            &["nft", "add chain bridge faults cut { type filter hook forward priority 0; policy accept; }"],
        );
        for number in 0..size {
            let (space, port) = (net.space(number), format!("m{number}"));
            run("ip", &["netns", "add", &space]);
            net.within(
                &hub,
                &["ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space],
            );
            net.within(&hub, &["ip", "link", "set", &port, "master", "br0", "up"]);
            net.within(&space, &["ip", "link", "set", "lo", "up"]);
            let address = format!("{}/24", net.address(number));
            net.within(&space, &["ip", "address", "add", &address, "dev", "eth0"]);
            net.within(&space, &["ip", "link", "set", "eth0", "up"]);
        }
        net
    }

    fn hub(&self) -> String {
        format!("{}h", self.name)
    }

    fn space(&self, number: usize) -> String {
        format!("{}m{number}", self.name)
    }

    fn address(&self, number: usize) -> String {
        format!("10.77.0.{}", number + 11)
    }

    fn within(&self, space: &str, args: &[&str]) {
        run("ip", &[&["netns", "exec", space], args].concat());
    }

    fn client(&self, number: usize) -> String {
        format!("http://{}:2379", self.address(number))
    }

    fn endpoints(&self) -> String {
        (0..self.members.len()).map(|number| self.client(number)).collect::<Vec<_>>().join(",")
    }

    fn run_member(&mut self, number: usize) {
        let peer = |number: usize| format!("http://{}:2380", self.address(number));
        let all: Vec<String> =
            (0..self.members.len()).map(|number| format!("m{number}={}", peer(number))).collect();
        let data = self.folder.path().join(format!("m{number}"));
        let log = fs::OpenOptions::new().create(true).append(true).open(data.with_extension("log"));
        let log = log.expect("a log");
        let (own, client) = (peer(number), self.client(number));
        let process = Command::new("ip")
            .args(["netns", "exec", &self.space(number)])
            .arg(example("kv_applets"))
            .args(["--name", &format!("m{number}"), "--data-dir"])
            .arg(&data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &own, "--initial-advertise-peer-urls", &own])
            .args(["--initial-cluster", &all.join(","), "--snapshot-count=200"])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        self.members[number] = Some(process);
    }

    fn signal(&self, number: usize, signal: &str) {
        // `ip netns exec` becomes the program itself.
        let pid = self.members[number].as_ref().expect("it runs").id().to_string();
        run("kill", &[signal, &pid]);
    }

    fn kill(&mut self, number: usize) {
        if let Some(mut process) = self.members[number].take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Nothing passes between this member and the others, one way or both.
    fn cut(&self, number: usize, both: bool) {
        let address = self.address(number);
        let hub = self.hub();
        self.within(&hub, &["nft", &format!("add rule bridge faults cut ip saddr {address} drop")]);
        if both {
            self.within(&hub, &["nft", &format!("add rule bridge faults cut ip daddr {address} drop")]);
        }
    }

    fn heal(&self) {
        self.within(&self.hub(), &["nft", "flush chain bridge faults cut"]);
    }

    fn ctl(&self, args: &[&str]) -> std::process::Output {
        Command::new("ip")
            .args(["netns", "exec", &self.hub(), "/usr/bin/etcdctl"])
            .args(["--dial-timeout=20s", "--command-timeout=30s", "--endpoints", &self.endpoints()])
            .args(args)
            .env("ETCDCTL_API", "3")
            .stdin(Stdio::null())
            .output()
            .expect("ci/packages has etcd-client")
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(120);
        while !holds() {
            assert!(Instant::now() < end, "{what}: not in time; {:#?}", self.logs());
            sleep(Duration::from_millis(100));
        }
    }

    fn logs(&self) -> Vec<String> {
        let log = |number| self.folder.path().join(format!("m{number}.log"));
        (0..self.members.len()).map(|number| fs::read_to_string(log(number)).unwrap_or_default()).collect()
    }

    fn leader(&self) -> Option<usize> {
        let output = self.ctl(&["endpoint", "status"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.split(", ").nth(4) == Some("true"))?.to_owned();
        (0..self.members.len()).find(|number| line.starts_with(&self.client(*number)))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|number| self.kill(number));
        for space in (0..self.members.len()).map(|number| self.space(number)).chain([self.hub()]) {
            let _ = Command::new("ip").args(["netns", "delete", &space]).status();
        }
    }
}

fn parse(line: &str) -> Event {
    let json: Value = serde_json::from_str(line).expect("a line of kv_history");
    let operation = &json["operation"];
    let operation = match (operation["put"].as_u64(), operation["from"].as_u64(), operation["to"].as_u64()) {
        (Some(value), ..) => Operation::Put(value),
        (None, Some(from), Some(to)) => Operation::Swap { from, to, done: json["answer"].as_bool() },
        _ => Operation::Get(json["answer"].as_u64()),
    };
    Event {
        key: json["key"].as_str().expect("a key").to_owned(),
        called: json["called"].as_u64().expect("a time"),
        answered: json["answered"].as_u64(),
        operation,
    }
}

#[test]
fn what_clients_see_is_linearizable_while_members_are_cut_off_killed_and_paused() {
    let mut net = Net::start(3);
    (0..3).for_each(|number| net.run_member(number));
    net.until("the cluster serves", || net.ctl(&["endpoint", "health"]).status.success());
    let clients = Command::new("ip")
        .args(["netns", "exec", &net.hub()])
        .arg(example("kv_history"))
        .args(["--endpoints", &net.endpoints(), "--seconds", "26"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let leader = |net: &Net| net.leader().unwrap_or(0);
    sleep(Duration::from_secs(2));
    // The leader can be asked, but hears nobody; then it only cannot be heard.
    for both in [true, false] {
        net.cut(leader(&net), both);
        sleep(Duration::from_secs(4));
        net.heal();
        sleep(Duration::from_secs(1));
    }
    // A leader that sleeps wakes up and thinks that it still leads.
    let paused = leader(&net);
    net.signal(paused, "-STOP");
    sleep(Duration::from_secs(4));
    net.signal(paused, "-CONT");
    sleep(Duration::from_secs(1));
    let killed = leader(&net);
    net.kill(killed);
    sleep(Duration::from_secs(2));
    net.run_member(killed);
    sleep(Duration::from_secs(1));
    // The power goes everywhere.
    (0..3).for_each(|number| net.kill(number));
    (0..3).for_each(|number| net.run_member(number));
    let output = clients.wait_with_output().expect("the clients end");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut events: Vec<Event> = text.lines().map(parse).collect();
    // Whoever asks afterwards, on each member, sees the same.
    net.until("the cluster serves again", || net.ctl(&["endpoint", "health"]).status.success());
    let keys: std::collections::BTreeSet<String> = events.iter().map(|event| event.key.clone()).collect();
    let end = events.iter().filter_map(|event| event.answered).max().unwrap_or(0) + 10_000_000_000;
    let all = net.ctl(&["get", "h", "--prefix"]);
    assert!(all.status.success(), "{}", String::from_utf8_lossy(&all.stderr));
    let all = String::from_utf8(all.stdout).expect("text");
    let lines: Vec<&str> = all.lines().collect();
    for key in &keys {
        let value = lines.chunks(2).find(|pair| pair[0] == key).and_then(|pair| pair.get(1)?.parse().ok());
        let (key, called) = (key.clone(), end);
        events.push(Event { key, called, answered: Some(end + 1), operation: Operation::Get(value) });
    }
    let answered = events.iter().filter(|event| event.answered.is_some()).count();
    println!("{} operations on {} keys, {answered} answered", events.len(), keys.len());
    assert!(answered > 100, "{answered} of {} answered", events.len());
    let told = linear::check(&events);
    assert!(told.is_ok(), "{}\n{:#?}", told.err().unwrap_or_default(), net.logs());
    let hashes = |net: &Net| {
        let output = net.ctl(&["endpoint", "hashkv"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| Some(line.split(", ").nth(1)?.to_owned())).collect::<Vec<_>>()
    };
    net.until("all members have the same", || {
        let hashes = hashes(&net);
        hashes.len() == 3 && hashes.iter().all(|hash| *hash == hashes[0])
    });
}
