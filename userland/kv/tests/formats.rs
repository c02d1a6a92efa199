//! `etcdctl` with the v3 API: Debian's and ours print the same in every format, on Debian's etcd and on ours; and those
//! who hold locks and lead elections make room for each other, whosever they are.

mod cluster;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cluster::{Cluster, applet, good};

const STOCK: &str = "/usr/bin/etcdctl";

/// What is done, one command after the other on a new store, each in one format.
const SCRIPT: &[&str] = &[
    "-w simple put a 1",
    "-w json put a 2",
    "-w json put a 3 --prev-kv",
    "-w fields put a 4",
    "-w fields put a 5 --prev-kv",
    "-w protobuf put a 6",
    "-w simple put a 7 --prev-kv",
    "-w simple put b 1",
    "-w simple get a",
    "-w json get a b",
    "-w fields get a c",
    "-w protobuf get a",
    "-w json get none",
    "-w fields get none",
    "-w fields get a --keys-only",
    "-w json get a --limit=1 --prefix",
    "-w json get a --rev=3",
    "-w simple del b --prev-kv",
    "-w json del none",
    "-w fields del none",
    "-w simple put b 1",
    "-w fields del b --prev-kv",
    "-w simple put b 1",
    "-w json del b --prev-kv",
    "-w json lease list",
    "-w fields lease list",
    "-w json lease timetolive 77",
    "-w simple lease timetolive 77",
    "-w simple member list",
    "-w json member list",
    "-w table member list",
    "-w json endpoint hashkv --rev=3",
    "-w json alarm list",
    "-w simple role add r1",
    "-w json role add r2",
    "-w simple role grant-permission r1 readwrite foo bar",
    "-w json role grant-permission r1 read pre --prefix",
    "-w simple role grant-permission r1 write open --from-key",
    "-w simple role get r1",
    "-w json role get r1",
    "-w json role list",
    "-w simple role list",
    "-w simple user add u1:pw",
    "-w json user add u2:pw",
    "-w simple user get u1",
    "-w simple user grant-role u1 r1",
    "-w json user grant-role u2 r2",
    "-w simple user get u1",
    "-w json user get u1",
    "-w simple user get u1 --detail",
    "-w json user list",
    "-w simple user list",
    "-w simple user revoke-role u1 r1",
    "-w json user revoke-role u2 r2",
    "-w simple user delete u1",
    "-w json user delete u2",
    "-w simple role revoke-permission r1 foo bar",
    "-w json role delete r2",
    "-w simple role delete r1",
    "-w simple compaction 4",
    "-w simple version",
];

fn clients(folder: &Path) -> [PathBuf; 2] {
    [STOCK.into(), applet("etcdctl", folder)]
}

/// A number in JSON, after its name.
fn number(json: &str, name: &str) -> u64 {
    let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
    json.pointer(name).and_then(serde_json::Value::as_u64).expect(name)
}

/// What the script prints, with the names of this very cluster taken out.
fn said(cluster: &Cluster, client: &Path) -> Vec<String> {
    let list = good(&cluster.ask(client, "3", &["-w", "json", "member", "list"]));
    let names = [("/header/cluster_id", "CLUSTER"), ("/header/member_id", "MEMBER")]
        .map(|(place, name)| (number(&list, place), name));
    SCRIPT
        .iter()
        .map(|line| {
            let output = cluster.ask(client, "3", &line.split(' ').collect::<Vec<_>>());
            // The message itself: its length says enough, for its numbers are the cluster's own.
            if line.contains("protobuf") {
                return format!("{} bytes", output.stdout.len());
            }
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            for (number, name) in names {
                text = text.replace(&number.to_string(), name).replace(&format!("{number:x}"), name);
            }
            let member = &cluster.members[0];
            text = text.replace(&member.client, "CLIENT").replace(&member.peer, "PEER");
            text.replace(member.client.trim_start_matches("http://"), "CLIENT")
                + &format!("= {:?}", output.status.code())
        })
        .collect()
}

#[test]
fn both_clients_print_the_same_in_every_format() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut faults = Vec::new();
    for of in ["Debian's", "our"] {
        let [stock, own] = clients(folder.path()).map(|client| {
            let cluster = if of == "our" { Cluster::start(1, &[]) } else { Cluster::of_debian() };
            said(&cluster, &client)
        });
        for ((line, own), stock) in SCRIPT.iter().zip(&own).zip(&stock) {
            // Lengths of numbers differ from cluster to cluster.
            if own != stock && !line.contains("protobuf") && !line.contains("table") {
                faults.push(format!("{line} on {of} store:\n{own}\ninstead of\n{stock}"));
            }
            if line.contains("protobuf") && own == "0 bytes" {
                faults.push(format!("{line} on {of} store: nothing"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));
}

/// A client that goes on until it is told to end.
struct Candidate {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Candidate {
    fn start(client: &Path, cluster: &Cluster, args: &[&str]) -> Candidate {
        let mut child = Command::new(client)
            .env("ETCDCTL_API", "3")
            .args(["--dial-timeout=20s", "--endpoints", &cluster.endpoints()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Candidate { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// As Ctrl-C does it.
    fn interrupt(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn locks_of_both_clients_exclude_each_other_on_both_stores() {
    let folder = tempfile::tempdir().expect("a folder");
    let [stock, own] = clients(folder.path());
    let script = "echo begin >> lock.log\nsleep 0.3\necho end >> lock.log\n";
    for cluster in [Cluster::of_debian(), Cluster::start(1, &[])] {
        std::fs::write(cluster.folder.path().join("script"), script).expect("written");
        std::thread::scope(|scope| {
            for client in [&stock, &own, &stock, &own] {
                scope.spawn(|| good(&cluster.ask(client, "3", &["lock", "l", "sh", "script"])));
            }
        });
        let log = std::fs::read_to_string(cluster.folder.path().join("lock.log")).expect("they ran");
        assert_eq!(log, "begin\nend\n".repeat(4));
        // A command's failure is the lock's.
        for client in [&stock, &own] {
            assert!(!cluster.ask(client, "3", &["lock", "l", "false"]).status.success());
        }
        // One that is killed loses the lock when its lease has run out.
        for [first, second] in [[&stock, &own], [&own, &stock]] {
            let mut holder = Candidate::start(first, &cluster, &["lock", "dead", "--ttl=2"]);
            assert!(holder.line().starts_with("dead/"));
            drop(holder);
            let mut next = Candidate::start(second, &cluster, &["lock", "dead"]);
            assert!(next.line().starts_with("dead/"));
            next.interrupt();
        }
    }
}

#[test]
fn candidates_of_both_clients_follow_each_other_on_both_stores() {
    let folder = tempfile::tempdir().expect("a folder");
    let [stock, own] = clients(folder.path());
    for cluster in [Cluster::of_debian(), Cluster::start(1, &[])] {
        for (name, [first, second]) in [("e1", [&stock, &own]), ("e2", [&own, &stock])] {
            let mut leader = Candidate::start(first, &cluster, &["elect", name, "one"]);
            let key = leader.line();
            assert!(key.starts_with(&format!("{name}/")), "{key}");
            assert_eq!(leader.line(), "one");
            let mut watcher = Candidate::start(second, &cluster, &["elect", "--listen", name]);
            assert_eq!([watcher.line(), watcher.line()], [key.clone(), "one".to_owned()]);
            let mut follower = Candidate::start(second, &cluster, &["elect", name, "two"]);
            // It is on the list, and does not lead: the oldest key does.
            cluster.until("both stand", |cluster| {
                let keys =
                    good(&cluster.ask(&stock, "3", &["get", &format!("{name}/"), "--prefix", "--keys-only"]));
                keys.lines().filter(|line| !line.is_empty()).count() == 2
            });
            leader.interrupt();
            let next = follower.line();
            assert!(next.starts_with(&format!("{name}/")) && next != key, "{next}");
            assert_eq!(follower.line(), "two");
            assert_eq!([watcher.line(), watcher.line()], [next, "two".to_owned()]);
            follower.interrupt();
        }
    }
}
